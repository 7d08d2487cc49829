r"""Multislice ptychography: an object too thick for its depth of focus, as slices with free space between them.

.. math::

    \psi_{jm,1} = O_1\, \mathcal S_{\delta_j} P_m, \qquad
    \psi_{jm,z+1} = O_{z+1}\, \mathcal P_{d_z} \psi_{jm,z}, \qquad
    I_j = s_j \sum_m |\mathcal D\, \psi_{jm,Z}|^2 + b

with the angular spectrum :math:`\mathcal P_d` over the slice spacings :math:`d_z` and the propagator :math:`\mathcal D`
from the last slice to the detector (Cowley & Moodie, Acta Cryst. 10, 609 (1957); Maiden, Humphry & Rodenburg, J. Opt.
Soc. Am. A 29, 1606 (2012)). Slices at a constant spacing describe a dense object; a few slices at given positions
describe a stack of thin layers, and their spacings may be refined.

**Tilt.** Where the object leans against the beam, by a small angle t, the wave lies :math:`d_z \tan t` further in each
next slice: :math:`\mathcal P_d` is multiplied by :math:`e^{-2\pi i d (q_y \tan t_y + q_x \tan t_x)}`.

**Memory.** The gradient needs the wave in front of every slice. Deep objects are divided into segments, and only the
waves between segments are stored; those within are recomputed in the backward pass (Griewank & Walther,
ACM Trans. Math. Softw. 26, 19 (2000)). Memory then grows as the square root of the depth. The fused operation works on
one pattern after the other, and so stores the waves of one pattern only: it needs segments for very deep objects alone.

**Steps.** The curvature of a slice is that of a thin object, :math:`q c \sum_m |P_{m,z}|^2` with the probe propagated
to that depth in free space, times the number of slices, since all slices contribute to the same pattern.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.forward.base import BoundModel
from adorym.forward.object import Settings, object_parameter
from adorym.forward.ptychography import Ptychography
from adorym.forward.thin import by_object, by_probe
from adorym.forward.time_course import TIME
from adorym.forward.variations import VARIATIONS, by_variations
from adorym.optics.geometry import Grid
from adorym.optics.propagation import critical_distance_m, propagate, transfer_function_angular_spectrum
from adorym.optics.shift import shift_kernel, shifted_modes
from adorym.parameters import OBJECT, Parameter, ParameterSettings
from adorym.preconditioners import Diagonal, Point
from adorym.registry import register
from adorym.units import Length
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.exit_wave_loss import KERNELS

# With fewer slices, recomputing waves does not pay.
SHALLOW = 8
TILT, TILTS = "object_tilt", "object_tilts"


def _spacing(bound: BoundModel[Any], settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return bound.model.spacing_m(bound.dataset)  # type: ignore[attr-defined]


def _smallest_spacing(bound: BoundModel[Any]) -> float:
    return float(np.min(bound.model.spacing_m(bound.dataset)))  # type: ignore[attr-defined]


def _pixel_of_walk(bound: BoundModel[Any]) -> float:
    """Angle by which the wave walks one pixel in the whole object."""
    spacing = bound.model.spacing_m(bound.dataset)  # type: ignore[attr-defined]
    depth = float(spacing.sum()) * (bound.shape[2] - 1 if len(spacing) == 1 else 1)
    return min(bound.geometry.pixel_size_m(bound.model.regime)) / depth  # type: ignore[attr-defined]


def _tilt(**more: Any) -> Parameter:
    """The lean of the object as a parameter."""
    return Parameter(
        optional=True,
        unit="rad",
        optimizer={"kind": "adam", "learning_rate": 0.2},
        scale=_pixel_of_walk,
        **more,
    )


@register("forward_model", "multislice")
class Multislice(Ptychography):
    """Scanning diffraction of a thick object in slices, by one or several incoherent probe modes.

    Attributes:
        slices: Number of slices, ``spacing`` apart.
        spacing: Distance between slices, the same for all; the pixel size along x if absent.
        slice_positions: Instead of both: position of each slice along the beam. Those of the data if nothing is given.
        binning: Number of slices that are multiplied before each propagation; saves time where the object changes
            slowly along the beam.
    """

    slices: Annotated[int, Field(ge=2)] | None = None
    spacing: Annotated[Length, Field(gt=0)] | None = None
    slice_positions: tuple[Length, ...] | None = None
    binning: int = Field(1, ge=1)

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **{name: spec for name, spec in Ptychography.refinable.items() if name != TIME},
        "object": object_parameter(help="complex transmission of every slice"),
        "slice_spacing": Parameter(
            unit="m",
            help="distance from each slice to the next; one number where it is the same for all",
            start=_spacing,
            optimizer={"kind": "adam", "learning_rate": 0.01, "beta2": 0.99},
            scale=_smallest_spacing,
            bounds=(0.0, None),
        ),
        TILT: _tilt(
            help="(y, x) angle by which the beam leans against the object's columns",
            start=lambda bound, settings, rng: np.zeros((1, 2)),
        ),
        TILTS: _tilt(
            help="the same, of each pattern",
            start=lambda bound, settings, rng: np.zeros((bound.dataset.n_patterns, 2)),
            per="pattern",
        ),
    }

    _through: ClassVar[Mapping[str, str]] = {
        **Ptychography._through,
        **dict.fromkeys(("slice_spacing", TILT), KERNELS),
    }
    _curved: ClassVar[frozenset[str]] = Ptychography._curved - {OBJECT}
    _axes: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.slice_positions is None:
            return
        for name in ("slices", "spacing"):
            if getattr(self, name) is not None:
                raise ConfigError(name, "has no effect beside 'slice_positions'", remedy="leave one of them out")
        _check_positions("slice_positions", self.slice_positions)

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Any]:
        """As of a thin object, with the slices as the object's last axis."""
        if TILT in settings and TILTS in settings:
            what = f"cannot be told from the mean of '{TILTS}'"
            raise ConfigError(f"parameters.{TILT}", what, remedy="leave one of them out")
        bound, depth = super().bind(dataset, settings), self.depth(dataset)
        grid = bound.geometry.grid(self.regime)  # refuses where energy or pixel size are not known
        farthest, steps = min(critical_distance_m(grid)), self.spacing_m(dataset) * self.binning
        if steps.max() > farthest:
            raise ConfigError(
                "forward_model.spacing", "slices are too far apart for propagation in this window",
                expected=f"at most {farthest:.4g} m, N pixel^2 / wavelength", found=f"{steps.max():.4g} m",
                remedy="more slices, a smaller binning or a larger window",
            )  # fmt: skip
        of_slices = {"probe": Diagonal(_probe_curvature), VARIATIONS: Diagonal(_variation_curvature)}
        preconditioners = {**bound.preconditioners, **of_slices}
        return bound.with_(shape=(*bound.shape, depth), waves=bound.waves * depth, preconditioners=preconditioners)

    def depth(self, dataset: Dataset) -> int:
        """Number of slices."""
        given = self._positions(dataset)
        return self.slices if given is None and self.slices is not None else len(given)  # type: ignore[arg-type]

    def spacing_m(self, dataset: Dataset) -> np.ndarray:
        """``(1,)`` where it is the same for all, else ``(slices - 1,)``.

        Raises:
            ConfigError: Neither configuration nor data say how many slices there are.
        """
        given = self._positions(dataset)
        if given is not None:
            return np.diff(given)
        constant = self.spacing or self.geometry(dataset).grid(self.regime).pixel_size_m[1]
        return np.array([float(constant)])

    def _positions(self, dataset: Dataset) -> np.ndarray | None:
        if self.slice_positions is not None:
            return np.array(self.slice_positions)
        if self.slices is not None:
            return None
        if dataset.slice_positions_m is None:
            raise ConfigError(
                "forward_model.slices", "the number of slices is not known",
                remedy="give 'slices' and 'spacing', or 'slice_positions'",
            )  # fmt: skip
        _check_positions("data: metadata/slice_pos_cm", dataset.slice_positions_m)
        return np.asarray(dataset.slice_positions_m, float)

    # -- the wave ------------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any]) -> Array:
        """Intensities ``(n, y, x)`` in photons from object windows ``obj`` ``(n, y, x, z)`` complex."""
        offsets = self.offsets(params)
        wave = shifted_modes(xp, self.probe_at_object(xp, params, batch), offsets)
        slopes = self._slopes_px(xp, params, batch)
        wave = self.through(xp, wave, xp.unstack(obj, -1), params["slice_spacing"], batch, slopes)
        if slopes is not None and self.regime == "near_field":  # beam and detector stand still
            spacing, steps = params["slice_spacing"], self.binning * ((obj.shape[-1] - 1) // self.binning)
            offsets = offsets + slopes * (steps * spacing[0] if spacing.shape[0] == 1 else xp.sum(spacing[:steps]))
        return self.detected(xp, wave, offsets, params, batch)

    def _slopes_px(self, xp: Backend, params: Mapping[str, Array], batch: Batch[Any]) -> Array | None:
        """``(1 or n, 2)`` pixels per meter of depth by which the wave walks; ``None`` without a tilt."""
        tilt = params.get(TILT, params.get(TILTS))
        if tilt is None:
            return None
        return xp.sin(tilt) / xp.cos(tilt) / xp.asarray(np.array(batch.geometry.pixel_size_m(self.regime)))

    def through(
        self,
        xp: Backend,
        wave: Array,
        slices: Sequence[Array],
        spacing: Array,
        batch: Batch[Any],
        slopes: Array | None = None,
    ) -> Array:
        """Wave behind the last of ``slices`` ``(n, y, x)`` each, from ``wave`` ``(n, m, y, x)`` before the first."""
        grid, even = batch.geometry.grid(self.regime), spacing.shape[0] == 1
        starts = list(range(0, len(slices), self.binning))
        thick = [_product(slices[i : i + self.binning]) for i in starts]
        if even:
            steps = [_step(xp, grid, self.binning * spacing[0], slopes)] * (len(thick) - 1)
        else:
            steps = [xp.sum(spacing[a:b]) for a, b in pairwise(starts)]
        if slopes is not None and not even:
            steps, even = [_step(xp, grid, each, slopes) for each in steps], True

        def segment(wave: Array, *inputs: Array) -> Array:
            # One propagation per slice, except after the last slice of all.
            parts, after = inputs[: -(-len(inputs) // 2)], inputs[-(-len(inputs) // 2) :]
            for i, part in enumerate(parts):
                wave = wave * part[:, None]
                if i < len(after):
                    kernel = after[i] if even else transfer_function_angular_spectrum(xp, grid, after[i])
                    wave = propagate(xp, wave, kernel)
            return wave

        length = segment_length(len(thick), batch.checkpoint_slices)
        if length == len(thick):
            return segment(wave, *thick, *steps)
        kept = kept_slices(len(thick), length)
        again = len(thick) - kept
        for first in range(0, again, length):
            some = slice(first, min(first + length, again))
            wave = xp.checkpoint(segment, wave, *thick[some], *steps[some])
        return segment(wave, *thick[again:], *steps[again:])

    # -- the fused operation -------------------------------------------------------------------------------------------
    def _plain(self, obj: Array, params: Mapping[str, Array]) -> bool:
        walks_on = self.regime == "near_field" and TILT in params
        return TILTS in params or walks_on or super()._plain(obj, params)

    @property
    def _own_prediction(self) -> bool:
        own = type(self)
        return own.predict is Multislice.predict and own.through is Multislice.through

    def _inputs(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any]) -> tuple[Array, ...]:
        spacing, slopes = params["slice_spacing"], self._slopes_px(xp, params, batch)
        grid, starts = batch.geometry.grid(self.regime), range(0, obj.shape[-1], self.binning)
        gaps = [xp.sum(spacing[a:b]) for a, b in pairwise(starts)]
        if spacing.shape[0] == 1:
            gaps = [self.binning * spacing[0]] if len(starts) > 1 else []
        kernels = [xp.reshape(_step(xp, grid, gap, slopes), grid.window_px) for gap in gaps]
        if self.binning > 1:
            slices = xp.unstack(obj, -1)
            obj = xp.stack([_product(slices[i : i + self.binning]) for i in starts], axis=-1)
        return (*super()._inputs(xp, obj, params, batch), xp.stack(kernels) if kernels else xp.zeros((0,)))

    # -- curvatures ----------------------------------------------------------------------------------------------------
    def object_curvature(self, point: Point) -> Array:
        """Curvature by every slice: that of a thin object times the number of slices."""
        depth = point.obj.shape[-1]
        return depth * by_object(point, self.illumination(point.xp, point.params, depth, point.batch))

    def illumination(self, xp: Backend, params: Mapping[str, Array], depth: int, batch: Batch[Any]) -> Array:
        """``(y, x, z)`` or ``(n, y, x, z)`` intensity of all probe modes at each slice, in free space."""
        wave, slopes = self.probe_at_object(xp, params, batch), self._slopes_px(xp, params, batch)
        grid = batch.geometry.grid(self.regime)
        steps = [_step(xp, grid, gap, slopes) for gap in xp.unstack(params["slice_spacing"], 0)]
        planes = [xp.sum(xp.abs2(wave), axis=-3)]
        for z in range(depth - 1):
            wave = propagate(xp, wave, steps[z % len(steps)])
            planes.append(xp.sum(xp.abs2(wave), axis=-3))
        width = planes[-1].shape
        return xp.stack([xp.broadcast_to(plane, width) for plane in planes], axis=-1)


def _step(xp: Backend, grid: Grid, distance: Array, slopes: Array | None) -> Array:
    """Transfer function ``(y, x)`` to the next slice, or ``(1 or n, 1, y, x)`` where the wave walks on its way."""
    kernel = transfer_function_angular_spectrum(xp, grid, distance)
    return kernel if slopes is None else kernel * shift_kernel(xp, grid.window_px, distance * slopes)[:, None]


def _transmitted(point: Point) -> Array:
    """``(n, y, x)`` intensity that all slices together transmit."""
    xp = point.xp
    return xp.exp(xp.sum(xp.log(xp.abs2(point.obj) + 1e-12), axis=-1))


def _probe_curvature(point: Point) -> Array:
    """Curvature by the probe."""
    return by_probe(point, _transmitted(point))


def _variation_curvature(point: Point) -> Array:
    """Curvature by the variations of the probe."""
    return by_variations(point, _transmitted(point))


def segment_length(depth: int, wanted: int | None) -> int:
    r"""Slices per segment of which only the first wave is stored; 0 stores all waves.

    By default :math:`\sqrt{depth}`: the waves between segments and those within one then take the same memory.
    """
    if wanted is None:
        return depth if depth < SHALLOW else math.isqrt(depth)
    return min(wanted, depth) or depth


def kept_slices(depth: int, length: int) -> int:
    """Number of last slices whose waves are all stored.

    The backward pass starts with them and frees them before it needs memory for the others. Three segments therefore
    cost little memory and save their recomputation; never more than half of all slices.
    """
    return min(3 * length, depth // 2)


def _product(slices: Sequence[Array]) -> Array:
    result = slices[0]
    for each in slices[1:]:
        result = result * each
    return result


def _check_positions(where: str, positions: Sequence[float] | np.ndarray) -> None:
    if len(positions) < 2 or (np.diff(positions) <= 0).any():
        raise ConfigError(where, "not places of slices along the beam", expected="two or more, increasing",
                          found=list(positions))  # fmt: skip
