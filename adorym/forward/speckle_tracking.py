r"""Speckle tracking: a picture of speckle with the sample in the beam is one without it, resampled.

A diffuser makes speckle. The sample bends rays, absorbs, and scatters at small angles. Of a ray that leaves the sample
in the pixel x and meets the detector in v,

.. math:: v = x + g(x), \qquad g = -\frac{\lambda z}{2\pi\Delta^2}\, \nabla\varphi, \qquad
          I_k(v) = \left|\frac{\partial x}{\partial v}\right|\, T(x)\,\big[(1 - s)\, R_k + s\, (G_\sigma * R_k)\big](x),

with the picture :math:`R_k` without the sample at the k-th position of the diffuser, the distance z to the detector,
the pixel :math:`\Delta`, the phase :math:`\varphi = k t \delta` by which matter advances the wave, the transmission T,
and the part s of the light that is scattered, the dark field. One object explains the pictures of all diffuser
positions, and its displacement is a gradient by construction: there is no window, and nothing to integrate afterwards.
(Compared by windows: Zdora et al., Phys. Rev. Lett. 118, 203903 (2017).)

The unknown is the exponent :math:`w = k t (\beta + i\delta)`, whose phase never wraps. Interpolation is by cubic
splines. Rays from beyond the edge are taken to bring what is at the edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.near_field import in_near_field
from adorym.data.pictures import read_fields
from adorym.errors import ConfigError, DataError
from adorym.forward.base import BoundModel, ForwardModel
from adorym.forward.object import Settings, WholeObjectSettings, object_parameter
from adorym.forward.ptychography import one_per_pattern
from adorym.forward.thin import by_scale
from adorym.forward.views import WholeObject
from adorym.object_space import VolumeExponent
from adorym.optics.affine import resample
from adorym.optics.geometry import Geometry
from adorym.parameters import OBJECT, Parameter
from adorym.paths import InputPath
from adorym.preconditioners import Blocks, Diagonal, Point, Preconditioner
from adorym.registry import register
from adorym.units import Pixels
from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class SpeckleGeometry(Geometry):
    """The geometry, with the pictures without the sample.

    Attributes:
        references: ``(n, y, x)`` counts without the sample.
        spread: The same after scattering.
        bend_px: (y, x) displacement on the detector for a phase that grows by 1 rad a pixel.
    """

    references: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)), repr=False, compare=False)
    spread: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)), repr=False, compare=False)
    bend_px: tuple[float, float] = (0.0, 0.0)


def _check(dataset: Dataset) -> None:
    """Refuse data that this model cannot describe.

    Raises:
        InputError: The first reason.
    """
    distances = dataset.propagation_distance_m
    if dataset.n_angles > 1 or (distances is not None and len(distances) > 1):
        found = f"{dataset.n_angles} angles, {1 if distances is None else len(distances)} distances"
        remedy = "choose with 'data.angles' and 'data.frames'"
        raise ConfigError("data", "speckle tracking needs one angle and one distance", found=found, remedy=remedy)
    if dataset.probe_positions_px is not None:
        what = "holds positions of a scan, but in speckle tracking only the diffuser moves"
        raise DataError(dataset.path, what, remedy="choose 'forward_model: {kind: ptychography, propagation: fresnel}'")
    if dataset.open_beam_counts is not None:
        what = "the pictures are divided by flat fields, whose speckle is what the model compares"
        remedy = "give the flat fields as 'forward_model.references', in a folder of their own, not as 'data.white'"
        raise DataError(dataset.path, what, remedy=remedy)


@dataclass(frozen=True)
class RayBending(Preconditioner):
    r"""Steps of equal relative length for all spatial frequencies of the phase.

    Rays follow its gradient, so that the curvature by it is that by the absorption times
    :math:`\epsilon + |b q|^2 (c + q^2 / 4)` with :math:`q = 2 \sin \pi f`, the displacement b for a unit gradient, and
    the largest relative slope c of the speckle. The gradient by the phase is divided by this.
    """

    diagonal: Preconditioner
    bend_px: tuple[float, float]
    slope: float
    floor: float

    needs_whole: ClassVar[bool] = True

    def curvature(self, name: str, point: Point) -> Array:
        return self.diagonal.curvature(name, point)

    def apply(self, xp: Backend, unknown: Array, gradient: Array) -> Array:
        shape = (int(gradient.shape[0]), int(gradient.shape[1]))
        phase = xp.imag(gradient[..., 0])
        even = xp.ifft2(xp.asarray(self.factors(shape)) * xp.fft2(xp.complex(phase, 0 * phase)))
        return xp.complex(xp.real(gradient), xp.real(even)[..., None])

    def factors(self, shape: tuple[int, int]) -> np.ndarray:
        """``(y, x)``, zero frequency at the corner."""
        square = [4 * np.sin(np.pi * np.fft.fftfreq(n)) ** 2 for n in shape]
        bent = self.bend_px[0] ** 2 * square[0][:, None] + self.bend_px[1] ** 2 * square[1]
        return 1 / (self.floor + bent * (self.slope + (square[0][:, None] + square[1]) / 4))


@register("forward_model", "speckle_tracking")
class SpeckleTracking(ForwardModel):
    """Phase, transmission and dark field from pictures of speckle with and without the sample.

    Attributes:
        references: Pictures without the sample, dark counts subtracted, one a pattern or one for all: a file, several
            (``ref_*.tif``), or ``file.h5:/path``; those of the data file if absent.
        scattering: Standard deviation, on the detector, of the Gaussian over which light of the dark field is spread.
        balance: Steps are scaled so that all spatial frequencies of the phase converge equally fast, except those with
            an effect on the pictures below this fraction of the absorption's; none for plain steps, for the stores
            ``do`` and ``h5``.
    """

    references: InputPath | None = None
    scattering: Annotated[Pixels, Field(gt=0)] = 5.0
    balance: Annotated[float, Field(gt=0, le=1)] | None = 1e-3

    refinable: ClassVar[Mapping[str, Parameter]] = {
        OBJECT: object_parameter(
            help="k t (beta + i delta) of the sample",
            settings=WholeObjectSettings,
        ),
        "dark_field": Parameter(
            optional=True,
            help="part of the light that the sample scatters at small angles, in each pixel",
            start=lambda bound, settings, rng: np.zeros((1, *bound.shape[:2])),
            optimizer={"kind": "adam", "learning_rate": 0.02},
            bounds=(0.0, 1.0),
            object_frame=True,
        ),
        "reference_shift": Parameter(
            optional=True,
            unit="px",
            help="(y, x) by which the speckle of each picture has moved since that without the sample",
            start=lambda bound, settings, rng: np.zeros((bound.dataset.n_patterns, 2)),
            per="pattern",
            optimizer={"kind": "preconditioned", "regularization": 1e-3, "maximum_step": 0.5},
            preconditioner=Blocks(),
        ),
        "intensity_scale": Parameter(
            optional=True,
            help="factor on the intensity of each picture (beam current, exposure)",
            start=one_per_pattern,
            per="pattern",
            optimizer={"kind": "preconditioned", "regularization": 0.0},
            bounds=(1e-3, None),
            preconditioner=Diagonal(by_scale),
        ),
    }

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[SpeckleGeometry]:
        """Bind the model; each batch needs the whole object."""
        _check(dataset)
        dataset = in_near_field(dataset)
        plain = Geometry.of(dataset)
        plain.check_pixel_size("near_field")
        pixel = plain.pixel_size_m("near_field")
        reach = plain.wavelength_m * plain.effective_distance_m / (2 * np.pi)
        references = self._references(dataset)
        geometry = SpeckleGeometry(
            **{**vars(plain), "given_pixel_size_m": pixel},
            references=references,
            spread=scipy.ndimage.gaussian_filter(references, (0, self.scattering, self.scattering), mode="nearest"),
            bend_px=(reach / pixel[0] ** 2, reach / pixel[1] ** 2),
        )
        return BoundModel(
            model=self,
            dataset=dataset.with_(pixel_size_m=pixel),
            geometry=geometry,
            settings=settings,
            shape=(*dataset.window_px, 1),
            origin_px=(0, 0),
            view=WholeObject(),
            space=VolumeExponent(pixel[1], plain.wavelength_m),
            preconditioners={OBJECT: self._steps(geometry)},
        )

    def _references(self, dataset: Dataset) -> np.ndarray:
        """``(n, y, x)`` float32, one a pattern."""
        given, n = dataset.extra.get("references"), dataset.n_patterns
        if self.references is not None:
            given = read_fields(self.references, "reference")
        if given is None:
            what, remedy = "there are no pictures without the sample", "give them, 'references: ref_*.tif'"
            raise ConfigError("forward_model.references", what, remedy=remedy)
        if given.shape[1:] != dataset.window_px or len(given) not in (1, n):
            expected = f"{n} of {dataset.window_px}, or one; crop and bin both alike"
            what = "pictures with and without the sample do not fit each other"
            raise ConfigError("forward_model.references", what, expected=expected, found=given.shape)
        if not np.isfinite(given).all() or given.min() < 0:
            remedy = "subtract dark counts, set what is then negative to 0, and repair dead pixels"
            raise ConfigError("forward_model.references", "hold values that are no counts", remedy=remedy)
        return np.broadcast_to(given, (n, *given.shape[1:])).astype(np.float32)

    def _steps(self, geometry: SpeckleGeometry) -> Preconditioner:
        """Twice the curvature by the absorption: phase and absorption act together. `RayBending` if balanced."""
        root = np.sqrt(geometry.references)
        steep = np.square(np.gradient(root, axis=(1, 2))).sum((0, 1))
        slope = float((steep / np.maximum((root**2).sum(0), 1)).max())
        # Central differences of the phase: at most 1 along each axis.
        steepest = sum(b**2 for b in geometry.bend_px)
        larger = 1.0 if self.balance is not None else max(1.0, steepest * (slope + 0.5))

        def curvature(point: Point) -> Array:
            light = np.square(root[point.batch.patterns]).sum(0, dtype=np.float64)  # however a batch is cut
            return point.xp.asarray(2 * larger * light[None, ..., None])

        steps = Diagonal(curvature)
        return steps if self.balance is None else RayBending(steps, geometry.bend_px, slope, self.balance)

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[SpeckleGeometry]) -> Array:
        """Counts ``(n, y, x)`` from the exponent ``obj`` ``(1, y, x, 1)``."""
        geometry, exponent = batch.geometry, obj[..., 0]
        here = [xp.asarray(each[None].astype(float)) for each in np.indices(geometry.window_px)]
        pictures = xp.asarray(geometry.references[batch.patterns])
        if "dark_field" in params:
            pictures = pictures + params["dark_field"] * (xp.asarray(geometry.spread[batch.patterns]) - pictures)
        if "reference_shift" in params:
            shift = params["reference_shift"]
            pictures = resample(xp, pictures, [at - xp.reshape(shift[:, i], (-1, 1, 1)) for i, at in enumerate(here)])
        bent = self.displacement(xp, xp.imag(exponent[0]), geometry)
        # The displacement belongs to where a ray leaves the sample, which is found in two steps.
        near = resample(xp, bent, [at - bent[i : i + 1] for i, at in enumerate(here)])
        place = [at - near[i : i + 1] for i, at in enumerate(here)]
        (yy, yx), (xy, xx) = ([_slope(xp, each, axis) for axis in (1, 2)] for each in place)
        counts = resample(xp, pictures * xp.exp(-2 * xp.real(exponent)), place) * (yy * xx - yx * xy)
        if "intensity_scale" in params:
            counts = counts * xp.reshape(params["intensity_scale"], (-1, 1, 1))
        return xp.maximum(counts, 0.0)  # splines overshoot

    def displacement(self, xp: Backend, phase: Array, geometry: SpeckleGeometry) -> Array:
        """``(2, y, x)`` displacement g of rays in pixels, where they leave the sample, from the phase ``(y, x)``."""
        return xp.stack([-geometry.bend_px[axis] * _slope(xp, phase, axis) for axis in (0, 1)])


def _slope(xp: Backend, a: Array, axis: int) -> Array:
    """Central differences along an axis, one-sided at its ends."""
    n = int(a.shape[axis])
    index = np.arange(n)
    ahead, behind = np.minimum(index + 1, n - 1), np.maximum(index - 1, 0)
    shape = [-1 if i == axis else 1 for i in range(len(a.shape))]
    return (xp.take(a, ahead, axis) - xp.take(a, behind, axis)) / xp.asarray((ahead - behind).reshape(shape) * 1.0)
