r"""What models of Bragg coherent diffraction share: a crystal within a support, and what blurs and adds to its pattern.

The object is :math:`O = A e^{i\varphi}`, ``(y, x, z)`` complex in square root of photons, zero outside the crystal,
on the voxels that the detector's frame and the rocking axis z are conjugate to. Frames are ``(z, y, x)`` counts, the
Bragg peak near the middle of each axis.

**Support.** The object is multiplied by ``support``, which follows it by shrink-wrap every so many epochs and is
kept in the checkpoint and in the result.

**Partial coherence.** The mutual coherence of the beam over the crystal, here a Gaussian of its widths, multiplies the
crystal's autocorrelation: the pattern is convolved with a Gaussian of standard deviations :math:`\sigma` (Vartanyants &
Robinson, J. Phys.: Condens. Matter 13, 10593 (2001), eq. (16)),

.. math:: I = \mathcal F\!\left[\mathcal F^{-1}|\tilde O|^2 \; e^{-2\pi^2 \sum_i \sigma_i^2 f_i^2}\right] + b .
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError, DataError
from adorym.forward.base import FirstObject, ForwardModel, Initializer, object_parameter
from adorym.optics.geometry import Geometry
from adorym.parameters import Parameter, ParameterSettings
from adorym.registry import component, lookup
from adorym.schema import ComponentOf
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend

# A pattern of fewer frames is a two-dimensional one.
FEWEST_FRAMES = 4


@component
class CrystalObject(ParameterSettings):
    """How the crystal starts and is refined.

    Attributes:
        initial: Initial object; iterative phasing from a random start if absent.
    """

    initial: Annotated[Initializer | None, ComponentOf("initializer")] = None  # type: ignore[assignment]


@component
class SupportSettings(ParameterSettings):
    """How the support follows the object.

    Attributes:
        every: Epochs between updates.
        threshold: A voxel belongs to the support if its blurred amplitude is at least this fraction of the largest.
        sigma: Standard deviation of the blur.
        dilate: Voxels by which it is widened after each update.
    """

    every: int = Field(50, ge=1)
    threshold: float = Field(0.1, gt=0, lt=1)
    sigma: Pixels = Field(1.0, gt=0)
    dilate: int = Field(0, ge=0)

    def __post_init__(self) -> None:
        for key in ("optimizer", "schedule"):
            if getattr(self, key) is not None:
                raise ConfigError(key, "has no effect: the support follows the object", remedy="leave it out")

    def active(self, epoch: int) -> bool:
        # The support of the first epoch is that of the first object.
        return epoch > 0 and super().active(epoch)


def follow_object(settings: ParameterSettings, obj: np.ndarray, present: np.ndarray, epoch: int) -> np.ndarray:
    """The support ``(y, x, z)``, 0 or 1: at first where the object is not zero, later by shrink-wrap."""
    amplitude = np.abs(obj)
    if epoch == 0 or not isinstance(settings, SupportSettings):
        inside = amplitude > 0
    else:
        from scipy.ndimage import binary_dilation, gaussian_filter  # slow to import

        blurred = gaussian_filter(amplitude * (present > 0), settings.sigma, mode="wrap")
        inside = blurred >= settings.threshold * blurred.max()
        if settings.dilate:
            inside = binary_dilation(inside, iterations=settings.dilate)
        return inside.astype(present.dtype)
    return np.where(inside, present, 0).astype(present.dtype)


def _support(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.ones(model.object_frame(dataset, 0)[0])


def _background(model: Any, dataset: Dataset, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    counts = dataset.patterns.read(np.arange(min(dataset.n_patterns, 64))).astype(np.float64)
    counts = counts**2 if dataset.measured == "amplitude" else counts
    return np.array([max(float(np.percentile(np.nan_to_num(counts), 5)), 1e-4 * float(np.nanmean(counts)))])


class CrystalModel(ForwardModel):
    """One crystal, whole in every frame. Fill in `predict`; add to `refinable` what else may be refined."""

    whole_object: ClassVar[bool] = True
    empty: ClassVar[float] = 0.0
    refinable: ClassVar[Mapping[str, Parameter]] = {
        "object": object_parameter(
            help="complex amplitude of the crystal, in square root of photons",
            optimizer={"kind": "adam", "learning_rate": 0.01},
            relative=True,
            settings=CrystalObject,
        ),
        "support": Parameter(
            help="where the crystal is: 1 inside, 0 outside",
            start=_support,
            refined=True,
            settings=SupportSettings,
            rule=follow_object,
            masks_object=True,
            object_frame=True,
        ),
        "background": Parameter(
            optional=True,
            unit="photon",
            help="intensity that every voxel has besides the diffracted one",
            start=_background,
            optimizer={"kind": "adam", "learning_rate": 0.02},
            relative=True,
            bounds=(0.0, None),
        ),
        "coherence_blur": Parameter(
            optional=True,
            unit="px",
            help="(z, y, x) standard deviations of the Gaussian that partial coherence convolves the pattern with",
            start=lambda model, dataset, settings, rng: np.full(3, 0.3),
            optimizer={"kind": "adam", "learning_rate": "0.01 px"},
            bounds=(0.0, None),
        ),
    }

    def frames(self, dataset: Dataset) -> int:
        """Frames of one reflection."""
        return dataset.n_patterns

    def object_frame(self, dataset: Dataset, margin_px: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        return (*dataset.window_px, self.frames(dataset)), (0, 0)

    def to_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.fft.ifftshift(patterns, axes=(-2, -1)))

    def from_model_frame(self, patterns: np.ndarray) -> np.ndarray:
        return np.fft.fftshift(patterns, axes=(-2, -1))

    def check(self, dataset: Dataset, geometry: Geometry, names: Collection[str]) -> None:
        if self.frames(dataset) < FEWEST_FRAMES:
            raise DataError(
                dataset.path,
                "too few frames for a three-dimensional Bragg peak",
                expected=f">= {FEWEST_FRAMES} frames (z, y, x), the rocking axis first",
                found=self.frames(dataset),
            )

    def first_object(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        made: Initializer = lookup("initializer", "phasing")()
        return made.start(dataset, shape, rng)

    def crystal(self, xp: Backend, obj: Array, params: Mapping[str, Array]) -> Array:
        """``(z, y, x)`` object within its support, from the one window ``(1, y, x, z)``."""
        inside = obj[0] * params["support"] if "support" in params else obj[0]
        return xp.permute_dims(inside, (2, 0, 1))

    def measured(self, xp: Backend, intensity: Array, params: Mapping[str, Array]) -> Array:
        """``intensity`` ``(z, y, x)``, zero frequency at the corner, as a partly coherent beam makes it."""
        if "coherence_blur" not in params:
            return intensity
        exponent = sum(
            (params["coherence_blur"][i] ** 2) * xp.asarray(_square_frequency(n, i))
            for i, n in enumerate(intensity.shape)
        )
        blurred = xp.real(xp.ifftn(xp.fftn(intensity, (0, 1, 2)) * xp.exp(-2 * np.pi**2 * exponent), (0, 1, 2)))
        return xp.maximum(blurred, 0.0)  # rounding of the transforms

    def with_background(self, frames: Array, params: Mapping[str, Array]) -> Array:
        """``frames`` ``(n, y, x)`` and the background."""
        return frames + params["background"][0] if "background" in params else frames


def _square_frequency(n: int, axis: int) -> np.ndarray:
    return (np.fft.fftfreq(n) ** 2).reshape(tuple(-1 if i == axis else 1 for i in range(3)))


def corner_rows(frames: np.ndarray, n: int) -> np.ndarray:
    """Index along an axis of ``n`` with zero frequency at the corner, of frames counted with it at ``n // 2``."""
    return (np.asarray(frames) - n // 2) % n
