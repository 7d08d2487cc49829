r"""Shared by models of Bragg coherent diffraction: crystal and support, partial coherence, and background.

The object is :math:`O = A e^{i\varphi}`, ``(y, x, z)`` complex in square root of photons, zero outside the crystal, on
the grid conjugate to the detector's pixels and the rocking steps (z). Frames are ``(z, y, x)`` counts, with the Bragg
peak near the middle of each axis.

**Support.** The unknown is multiplied by ``support``, which shrink-wrap updates at intervals; checkpoint and result
hold it.

**Partial coherence.** The beam's mutual coherence function, here a Gaussian, multiplies the crystal's autocorrelation,
so the pattern is convolved with a Gaussian of standard deviations :math:`\sigma` (Vartanyants & Robinson, J. Phys.:
Condens. Matter 13, 10593 (2001), eq. (16)),

.. math:: I = \mathcal F\!\left[\mathcal F^{-1}|\tilde O|^2 \; e^{-2\pi^2 \sum_i \sigma_i^2 f_i^2}\right] + b .
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, cast

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.volume import UNEVEN, rocking_places, unevenness
from adorym.errors import DataError
from adorym.forward.base import BoundModel, ForwardModel
from adorym.forward.object import FirstObject, Initializer, Settings, object_parameter
from adorym.forward.views import WholeObjectAtOnce
from adorym.object_space import CrystalAmplitude
from adorym.optics.geometry import Geometry
from adorym.parameters import Parameter, ParameterSettings
from adorym.registry import component, lookup
from adorym.schema import ComponentOf
from adorym.updates import SupportSettings, SupportUpdate
from adorym.wrapper.base import Array, Backend

# With fewer frames there is no three-dimensional pattern.
FEWEST_FRAMES = 4


@component
class CrystalObject(ParameterSettings):
    """How the crystal starts and is refined.

    Attributes:
        initial: Initial object; iterative phasing from a random start if absent.
    """

    initial: Annotated[Initializer | None, ComponentOf("initializer")] = None  # type: ignore[assignment]


def _background(bound: BoundModel[Geometry], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    dataset = bound.dataset
    counts = dataset.patterns.read(np.arange(min(dataset.n_patterns, 64))).astype(np.float64)
    counts = counts**2 if dataset.measured == "amplitude" else counts
    good = np.isfinite(counts) & (True if dataset.mask is None else np.resize(dataset.mask, counts.shape))
    return np.array([max(float(np.percentile(counts[good], 5)), 1e-4 * float(counts[good].mean()), 0.0)])


def phased(dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
    """The start object of one peak by iterative phasing from random phases."""
    made: Initializer = lookup("initializer", "phasing")()
    return made.start(dataset, shape, rng)


class CrystalModel(ForwardModel):
    """One crystal that contributes to every frame. Implement `predict`; list further parameters in `refinable`.

    Attributes:
        uneven: Whether frames may be at uneven steps of the rocking angle.
    """

    uneven: ClassVar[bool] = False
    refinable: ClassVar[Mapping[str, Parameter]] = {
        "object": object_parameter(
            help="complex amplitude of the crystal, in square root of photons",
            optimizer={"kind": "adam", "learning_rate": 0.01},
            relative=True,
            settings=CrystalObject,
        ),
        "support": Parameter(
            help="where the crystal is: 1 inside, 0 outside",
            start=lambda bound, settings, rng: np.ones(bound.shape),
            refined=True,
            settings=SupportSettings,
            by_update=True,
            object_frame=True,
        ),
        "background": Parameter(
            optional=True,
            unit="photon",
            help="uniform intensity added to the diffracted one",
            start=_background,
            optimizer={"kind": "adam", "learning_rate": 0.02},
            relative=True,
            bounds=(0.0, None),
        ),
        "coherence_blur": Parameter(
            optional=True,
            unit="px",
            help="(z, y, x) standard deviations of the Gaussian blur of the pattern by partial coherence",
            start=lambda bound, settings, rng: np.full(3, 0.3),
            optimizer={"kind": "adam", "learning_rate": "0.01 px"},
            bounds=(0.0, None),
        ),
    }

    def frames(self, dataset: Dataset) -> int:
        """Frames of one reflection."""
        return dataset.n_patterns

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Geometry]:
        if self.frames(dataset) < FEWEST_FRAMES:
            raise DataError(
                dataset.path,
                "too few frames for a three-dimensional Bragg peak",
                expected=f">= {FEWEST_FRAMES} frames (z, y, x), the rocking axis first",
                found=self.frames(dataset),
            )
        away = 0.0 if self.uneven else unevenness(rocking_places(dataset))
        if away > UNEVEN:
            raise DataError(
                dataset.path, "the rocking angles are uneven", expected=f"even to {UNEVEN} steps",
                found=f"{away:.2g} steps root mean square",
                remedy="choose 'forward_model: rocking_curve', which takes frames where they are",
            )  # fmt: skip
        shape = (*dataset.window_px, self.frames(dataset))
        return BoundModel(
            model=self,
            dataset=dataset,
            geometry=Geometry.of(dataset),
            settings=settings,
            shape=shape,
            origin_px=(0, 0),
            view=WholeObjectAtOnce(),
            space=CrystalAmplitude(),
            zero_at_corner=True,
            first_object=lambda rng: phased(dataset, shape, rng),
            updates=(SupportUpdate("support", cast(SupportSettings, settings["support"])),),
        )

    def crystal(self, xp: Backend, obj: Array) -> Array:
        """``(z, y, x)`` from the one window ``(1, y, x, z)``."""
        return xp.permute_dims(obj[0], (2, 0, 1))

    def measured(self, xp: Backend, intensity: Array, params: Mapping[str, Array]) -> Array:
        """``intensity`` ``(z, y, x)``, zero frequency at the corner, blurred by partial coherence."""
        if "coherence_blur" not in params:
            return intensity
        exponent = sum(
            (params["coherence_blur"][i] ** 2) * xp.asarray(_square_frequency(n, i))
            for i, n in enumerate(intensity.shape)
        )
        blurred = xp.real(xp.ifftn(xp.fftn(intensity, (0, 1, 2)) * xp.exp(-2 * np.pi**2 * exponent), (0, 1, 2)))
        return xp.maximum(blurred, 0.0)  # negative only by rounding

    def with_background(self, frames: Array, params: Mapping[str, Array]) -> Array:
        """``frames`` ``(n, y, x)`` plus the background."""
        return frames + params["background"][0] if "background" in params else frames


def _square_frequency(n: int, axis: int) -> np.ndarray:
    return (np.fft.fftfreq(n) ** 2).reshape(tuple(-1 if i == axis else 1 for i in range(3)))


def corner_rows(frames: np.ndarray, n: int) -> np.ndarray:
    """Convert frame indices along an axis of ``n``: zero frequency from ``n // 2`` to the corner."""
    return (np.asarray(frames) - n // 2) % n
