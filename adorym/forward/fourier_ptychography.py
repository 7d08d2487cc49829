r"""Fourier ptychography: pictures of a microscope of low resolution, each lit from another direction.

.. math:: I_j = s_j \left|\mathcal F^{-1}\big[P(q)\, \hat O(q + q_j)\big]\right|^2

with the spectrum :math:`\hat O` of the object's transmission, the pupil P of the objective, which is zero beyond its
numerical aperture, and the place :math:`q_j` of lamp j in the spectrum (`adorym.optics.microscope`; Zheng, Horstmeyer &
Yang, Nat. Photonics 7, 739 (2013)). Pupil, places and brightness of the lamps may be refined.

The unknown is the transmission in the plane of the sample, with pixels finer than the pictures' by a whole number, so
that constraints and regularizers act on the object itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.hdf5 import factor
from adorym.data.positions import read_positions
from adorym.errors import ConfigError, DataError
from adorym.forward.base import BoundModel, ForwardModel
from adorym.forward.object import Settings, WholeObjectSettings, object_parameter
from adorym.forward.ptychography import one_per_pattern
from adorym.forward.thin import STEP_PX, by_scale, times_scale, without_mean
from adorym.forward.views import WholeObject
from adorym.object_space import Transmission
from adorym.optics.geometry import Geometry
from adorym.optics.microscope import aperture, pupil_radius_px, spectrum_places, subdivision
from adorym.optics.shift import fourier_shift
from adorym.optics.windows import clip_corners
from adorym.parameters import OBJECT, Parameter, ParameterSettings
from adorym.paths import InputPath
from adorym.preconditioners import Blocks, Diagonal, Largest, Point
from adorym.registry import register
from adorym.units import Length
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend

MARGIN_PX = 2  # of the spectrum, around what the lamps reach


@dataclass(frozen=True)
class MicroscopeGeometry(Geometry):
    """The geometry of the object's pixels, with what lights them.

    Attributes:
        places_px: ``(n, 2)`` (y, x) of each lamp in the spectrum.
        aperture: ``(y, x)`` the open pupil, zero frequency in the middle, with pixels for a picture and its buffer.
        buffer_px: (y, x) width of that buffer.
        bright: Number of pictures in which the direct light of the lamp passes.
    """

    places_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)), repr=False, compare=False)
    aperture: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    buffer_px: tuple[int, int] = (0, 0)
    bright: int = 1


Bound = BoundModel[MicroscopeGeometry]


def _pupil(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    """Without aberrations; in front of vacuum the bright pictures have the counts of all."""
    level = bound.counts.per_pixel * bound.dataset.n_patterns / max(bound.geometry.bright, 1)
    return np.sqrt(level) * bound.geometry.aperture.astype(np.complex128)


@register("forward_model", "fourier_ptychography")
class FourierPtychography(ForwardModel):
    """A thin object of high resolution from pictures of a microscope under many lamps, one after the other.

    Attributes:
        numerical_aperture: That of the objective.
        leds: Places of the lamps, one a picture, y first: a file as ``data.positions`` takes; in lengths, with
            ``led_distance``, or in pixels (``px``) of the spectrum. Those of the data file if absent.
        led_distance: From the lamps' plane to the sample.
        buffer_px: Pixels of a picture by which the object exceeds the pictures on each side: light comes in from there.
            If absent, twice the resolution of the objective.
    """

    numerical_aperture: Annotated[float, Field(gt=0, lt=1)]
    leds: InputPath | None = None
    led_distance: Annotated[Length, Field(gt=0)] | None = None
    buffer_px: int | None = Field(None, ge=0)

    refinable: ClassVar[Mapping[str, Parameter]] = {
        OBJECT: object_parameter(
            settings=WholeObjectSettings,
            optimizer={"kind": "preconditioned", "learning_rate": 0.3, "regularization": 0.05, "momentum": 0.9},
        ),
        "pupil": Parameter(
            unit="sqrt(photon)",
            help="complex transmission of the objective, zero frequency in the middle",
            start=_pupil,
            refined=True,
            relative=True,
            # The direct light of the lamps falls on so few of its pixels that curvatures tell nothing of the others.
            optimizer={"kind": "adam", "learning_rate": 0.03},
        ),
        "led_places": Parameter(
            optional=True,
            unit="px",
            help="(y, x) of each lamp's light in the spectrum of the pictures",
            start=lambda bound, settings, rng: bound.geometry.places_px.copy(),
            per="pattern",
            optimizer={"kind": "adam", "learning_rate": "0.1 px"},
            schedule={"kind": "constant"},
            gauge=without_mean,
            preconditioner=Blocks(STEP_PX),
        ),
        "intensity_scale": Parameter(
            optional=True,
            help="factor on the intensity of each picture (brightness of its lamp)",
            start=one_per_pattern,
            per="pattern",
            optimizer={"kind": "preconditioned", "regularization": 0.0},
            bounds=(1e-3, None),
            preconditioner=Diagonal(by_scale),
        ),
    }

    def bind(self, dataset: Dataset, settings: Settings) -> Bound:
        """Bind the model; each batch needs the whole object."""
        self._check(dataset)
        plain = Geometry.of(dataset)
        grid = plain.grid("near_field")
        if max(grid.pixel_size_m) > (coarsest := grid.wavelength_m / (2 * self.numerical_aperture)):
            raise ConfigError(
                "forward_model.numerical_aperture", "the pixels of the pictures are too coarse for it",
                expected=f"pixels of at most {coarsest:.3g} m in the plane of the sample",
                found=f"{max(grid.pixel_size_m):.3g} m",
                remedy="correct one of them; 'data.pixel_size' is the camera's pixel divided by the magnification",
            )  # fmt: skip
        buffer = [self.buffer_px or 0] * 2
        if self.buffer_px is None:
            buffer = [math.ceil(2 * grid.wavelength_m / self.numerical_aperture / size) for size in grid.pixel_size_m]
        places, radius = self._places(dataset), pupil_radius_px(self.numerical_aperture, grid)
        wide = (grid.window_px[0] + 2 * buffer[0], grid.window_px[1] + 2 * buffer[1])
        more = np.divide(wide, grid.window_px)
        times = subdivision(places * more, wide, MARGIN_PX)
        pixel = (grid.pixel_size_m[0] / times, grid.pixel_size_m[1] / times)
        geometry = MicroscopeGeometry(
            **{**vars(plain), "given_pixel_size_m": pixel},
            places_px=places,
            aperture=aperture(wide, radius * more),
            buffer_px=(buffer[0], buffer[1]),
            bright=int((np.hypot(*(places / radius).T) < 1).sum()),
        )
        return BoundModel(
            model=self,
            dataset=dataset.with_(pixel_size_m=pixel),
            geometry=geometry,
            settings=settings,
            shape=(wide[0] * times, wide[1] * times),
            origin_px=(buffer[0] * times, buffer[1] * times),
            view=WholeObject(),
            space=Transmission(),
            updates=(FactorGauge("intensity_scale", "pupil"),),
            preconditioners={OBJECT: Largest(self._by_object)},
        )

    def _check(self, dataset: Dataset) -> None:
        if dataset.n_angles > 1:
            remedy, found = "choose one with 'data.angles'", f"{dataset.n_angles} angles"
            raise ConfigError("data.angles", "a thin object needs a single rotation angle", found=found, remedy=remedy)
        if dataset.probe_positions_px is not None:
            what, remedy = "has positions of a scan, but only lamps change here", "give 'forward_model.leds' instead"
            raise DataError(dataset.path, what, remedy=remedy)
        if dataset.pixel_size_m is None:
            remedy = "give 'data.pixel_size', the camera's pixel divided by the magnification"
            raise DataError(dataset.path, "the pixel size in the plane of the sample is not known", remedy=remedy)

    def _places(self, dataset: Dataset) -> np.ndarray:
        """``(n, 2)`` of each lamp in the spectrum, in its pixels."""
        n, known = dataset.n_patterns, {"m": dataset.extra.get("leds_m"), "px": dataset.extra.get("leds_px")}
        unit = "px" if known["m"] is None else "m"
        values = known[unit]
        if self.leds is not None:
            recorded = read_positions(self.leds, n)
            values, unit = recorded.values, recorded.unit or recorded.bare
        if values is None:
            what, remedy = "the places of the lamps are not known", "give them, 'leds: leds.csv'"
            raise ConfigError("forward_model.leds", what, remedy=remedy)
        if len(values) != n or not np.isfinite(values).all():
            what, found = "do not fit the pictures", f"{len(values)}"
            raise ConfigError("forward_model.leds", what, expected=f"{n} finite places", found=found)
        if (unit == "px") != (self.led_distance is None):
            what = "has no effect: places are in pixels" if unit == "px" else "absent, but places are lengths"
            remedy = "leave it out" if unit == "px" else "give the distance from the lamps to the sample, '80 mm'"
            raise ConfigError("forward_model.led_distance", what, remedy=remedy)
        if self.led_distance is None:
            return np.asarray(values, np.float64)
        grid = Geometry.of(dataset).grid("near_field")
        return spectrum_places(np.asarray(values, np.float64) * factor(unit, "m"), self.led_distance, grid)

    # -- physics -------------------------------------------------------------------------------------------------------
    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[MicroscopeGeometry]) -> Array:
        """Counts ``(n, y, x)`` from the transmission ``obj`` ``(1, Y, X)``."""
        pupil = params["pupil"] * xp.asarray(batch.geometry.aperture)
        seen, rest = _parts(xp, obj, params, batch)
        (y, x), (ny, nx) = batch.geometry.buffer_px, batch.geometry.window_px
        intensity = xp.abs2(xp.ifft2(fourier_shift(xp, pupil, rest) * seen))[:, y : y + ny, x : x + nx]
        if "intensity_scale" in params:
            intensity = intensity * xp.reshape(params["intensity_scale"], (-1, 1, 1))
        return intensity

    def _by_object(self, point: Point) -> Array:
        """Curvature ``(1, Y, X)`` by the frequencies, zero in the middle, with the lamps as stated; pixels share it."""
        xp, geometry, shape = point.xp, point.batch.geometry, tuple(point.obj.shape[1:])
        window = geometry.aperture.shape
        power = xp.abs2(point.params["pupil"]) * xp.asarray(geometry.aperture**2)
        stated = geometry.places_px[point.batch.patterns] * np.divide(window, geometry.window_px)
        whole = np.rint(stated).astype(np.int64)
        corners = clip_corners(whole + [n // 2 - k // 2 for n, k in zip(shape, window, strict=True)], shape, window)
        windows = times_scale(point, xp.broadcast_to(power[None], (len(corners), *window)))
        covered = xp.scatter_windows(xp.zeros(shape), corners, xp.copy(windows))
        return covered[None] * _share(window, shape)


def _places(xp: Backend, params: Mapping[str, Array], batch: Batch[MicroscopeGeometry]) -> Array:
    """``(n, 2)`` places of the lamps in pixels of the spectrum of a picture with its buffer."""
    geometry, refined = batch.geometry, params.get("led_places")
    places = xp.asarray(geometry.places_px[batch.patterns]) if refined is None else refined
    return places * xp.asarray(np.divide(geometry.aperture.shape, geometry.window_px))


def _share(window_px: tuple[int, ...], shape: tuple[int, ...]) -> float:
    """Pixels of a picture over those of the object."""
    return window_px[0] * window_px[1] / (shape[0] * shape[1])


def _parts(
    xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[MicroscopeGeometry]
) -> tuple[Array, Array]:
    """Parts ``(n, y, x)`` of the spectrum around whole pixels, of such a size that vacuum stays 1 in a picture.

    And what is left of the places ``(n, 2)``. Zero frequency is in the middle: a factor of modulus one in a picture.
    """
    shape, window = (int(obj.shape[1]), int(obj.shape[2])), batch.geometry.aperture.shape
    places = _places(xp, params, batch)
    whole = xp.rint(xp.stop_gradient(places))
    axes = []
    for axis, k in enumerate(window):
        row = xp.as_index(whole[:, axis])[:, None] + xp.asarray(np.arange(k) - k // 2, exact=True)
        axes.append(row % shape[axis])
    index = axes[0][:, :, None] * shape[1] + axes[1][:, None, :]
    spectrum = xp.reshape(xp.fft2(obj[0]) * float(np.sqrt(_share(window, shape))), (-1,))
    return xp.reshape(xp.take(spectrum, xp.reshape(index, (-1,))), tuple(index.shape)), places - whole
