r"""Several Bragg peaks of one crystal, which share its shape and its displacement field.

.. math:: I_p(\mathbf q) = s_p \left|\mathcal F\!\left[S A\, e^{-i \mathbf G_p \cdot \mathbf u}\right]\right|^2
          \otimes g_\sigma + b

with the support S, the amplitude A (the real part of the object), the displacement u of the lattice, the reciprocal
lattice vector of each reflection, :math:`\mathbf G = 2\pi (h, k, l) L^{-T}` for a lattice whose vectors are the rows of
L, and :math:`2\pi (h, k, l) / a` for a cubic one, partial coherence
:math:`g_\sigma` and the background b. Three non-coplanar reflections determine u; fewer determine its components along
them, and the others stay zero. All peaks must be on one grid with axes (z, y, x) along those of the crystal (Newton et
al., Nat. Mater. 9, 120 (2010); Wilkin et al., Phys. Rev. B 103, 214103 (2021)).

The data hold the frames of the reflections one after another. One of them may be left out as a control: what the others
tell of the crystal then predicts a pattern that had no say.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.errors import ConfigError, DataError
from adorym.forward.base import BoundModel
from adorym.forward.crystal import CrystalModel, corner_rows, phased
from adorym.forward.object import FirstObject, Settings
from adorym.optics.geometry import Geometry
from adorym.parameters import Parameter, ParameterSettings
from adorym.registry import register
from adorym.units import Length
from adorym.wrapper.base import Array, Backend

Bound = BoundModel[Geometry]
Vector = tuple[Length, Length, Length]
# Volume of a cell over the product of its edges: below, vectors count as lying in a plane.
FLATTEST = 1e-6


def _displacement(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    """The shortest displacement that gives the phase of the first reflection, along its vector."""
    model: Any = bound.model
    if settings.initial is not None:
        return np.zeros((3, *bound.shape))
    obj = first_reflection(bound.dataset, bound.shape).rows(0, bound.shape[0])
    g = model.vectors_per_m[0]
    phase = np.where(np.abs(obj) > 0, -np.angle(obj * np.exp(-1j * np.angle(obj.sum()))), 0)  # G u
    return phase * (g / (g @ g)).reshape(3, 1, 1, 1)


def _relative_counts(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    """``(p,)`` counts of each reflection divided by those of the first."""
    n = bound.shape[-1]
    sums = [_counts(bound.dataset, p, n).sum(dtype=np.float64) for p in range(bound.dataset.n_patterns // n)]
    return np.array(sums) / sums[0]


def _counts(dataset: Dataset, reflection: int, n: int) -> np.ndarray:
    """``(n, y, x)`` counts of one reflection, zero at masked pixels."""
    index = np.arange(reflection * n, (reflection + 1) * n)
    good = True if dataset.mask is None else dataset.mask[index] if dataset.mask.ndim == 3 else dataset.mask
    counts = dataset.patterns.read(index)
    counts = np.where(np.isfinite(counts) & good, counts, np.float32(0))
    return counts**2 if dataset.measured == "amplitude" else counts


@lru_cache(maxsize=1)
def first_reflection(dataset: Dataset, shape: tuple[int, ...]) -> FirstObject:
    """The first reflection phased alone: the start of the amplitude and the displacement."""
    n = shape[-1]
    mask = dataset.mask[:n] if dataset.mask is not None and dataset.mask.ndim == 3 else dataset.mask
    alone = dataset.with_(
        patterns=ArrayPatterns(_counts(dataset, 0, n)), measured="intensity", mask=mask, weights=None,
        angle_index=np.zeros(n, int), theta_rad=np.zeros(1),
    )  # fmt: skip
    return phased(alone, shape, np.random.default_rng(0))


@register("forward_model", "multi_peak")
class MultiPeak(CrystalModel):
    """Several reflections of one crystal.

    Attributes:
        reflections: Miller indices (h, k, l) of each reflection, along the axes (z, y, x) of a cubic crystal.
        lattice: Lattice constant of a cubic crystal, or the three vectors of any lattice, each along (z, y, x).
        control: A reflection, not the first, that is left out of the loss; the result has its misfit.
    """

    reflections: tuple[tuple[int, int, int], ...]
    lattice: Annotated[Length, Field(gt=0)] | tuple[Vector, Vector, Vector]
    control: tuple[int, int, int] | None = None

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **CrystalModel.refinable,
        "displacement": Parameter(
            unit="m",
            help="(z, y, x) components of the lattice displacement",
            start=_displacement,
            refined=True,
            optimizer={"kind": "adam", "learning_rate": "0.5 pm"},
            object_frame=True,
        ),
        "reflection_scale": Parameter(
            help="factor on the intensity of each reflection (structure factor, exposure)",
            start=_relative_counts,
            refined=True,
            optimizer={"kind": "adam", "learning_rate": 0.005},
            bounds=(1e-6, None),
        ),
    }

    def __post_init__(self) -> None:
        if len(set(self.reflections)) < 2 or (0, 0, 0) in self.reflections:
            raise ConfigError(
                "reflections", "expected at least two different reflections, none of them (0, 0, 0)",
                found=self.reflections, remedy="for one reflection choose the model 'bragg_cdi'",
            )  # fmt: skip
        edges = self._edges
        if abs(np.linalg.det(edges)) <= FLATTEST * np.prod(np.linalg.norm(edges, axis=1)):
            raise ConfigError(
                "lattice", "the vectors lie in a plane", expected="three that span a cell", found=edges.tolist()
            )
        if self.control is not None and self.control not in self.reflections[1:]:
            expected = f"one of {', '.join(map(str, self.reflections[1:]))}"
            raise ConfigError("control", "not a reflection that can be left out", expected=expected, found=self.control)

    @property
    def vectors_per_m(self) -> np.ndarray:
        """``(p, 3)`` reciprocal lattice vectors in rad/m."""
        return 2 * np.pi * np.array(self.reflections, float) @ np.linalg.inv(self._edges).T

    @property
    def _edges(self) -> np.ndarray:
        """``(3, 3)`` rows are the lattice vectors in meters."""
        given = np.asarray(self.lattice, float)
        return given * np.eye(3) if given.ndim == 0 else given

    def frames(self, dataset: Dataset) -> int:
        return dataset.n_patterns // len(self.reflections)

    def bind(self, dataset: Dataset, settings: Settings) -> Bound:
        if dataset.n_patterns % len(self.reflections):
            raise DataError(
                dataset.path, "the number of frames does not fit the number of reflections",
                expected=f"a multiple of {len(self.reflections)} frames", found=dataset.n_patterns,
            )  # fmt: skip
        n, left_out = self.frames(dataset), np.zeros(0, int)
        if self.control is not None:
            left_out = self.reflections.index(self.control) * n + np.arange(n)
            counted = np.ones((dataset.n_patterns, 1, 1))
            counted[left_out] = 0
            dataset = dataset.with_(weights=counted if dataset.weights is None else counted * dataset.weights)
        bound = super().bind(dataset, settings)

        def first_object(rng: np.random.Generator) -> FirstObject:
            found = first_reflection(dataset, bound.shape)
            return FirstObject.of(np.abs(found.rows(0, bound.shape[0])).astype(complex), found.diagnostics)

        return bound.with_(first_object=first_object, control=left_out)

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Geometry]) -> Array:
        """Intensities ``(n, y, x)`` in photons from the object window ``obj`` ``(1, y, x, z)``, whose real part
        counts.
        """
        amplitude = xp.real(self.crystal(xp, obj))
        moved = xp.permute_dims(params["displacement"], (0, 3, 1, 2))
        n = amplitude.shape[0]
        peaks = []
        for number, g in enumerate(self.vectors_per_m.tolist()):
            phase = g[0] * moved[0] + g[1] * moved[1] + g[2] * moved[2]
            wave = xp.fftn(amplitude * xp.complex(xp.cos(phase), -xp.sin(phase)), (0, 1, 2))
            peaks.append(params["reflection_scale"][number] * self.measured(xp, xp.abs2(wave), params))
        rows = batch.patterns // n * n + corner_rows(batch.patterns % n, n)
        return self.with_background(xp.take(xp.concat(peaks, axis=0), rows), params)
