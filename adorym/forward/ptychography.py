r"""Ptychography of a thin object, in the far field or in the near field.

.. math::

    I_j = s_j\, g_\sigma * \sum_m \left| \mathcal D\!\left[ O(r)\, P_m(r - r_j - d_{a(j)}) \right] \right|^2 + b

with probe modes :math:`P_m`, probe positions :math:`r_j`, a common offset :math:`d_a` for every angle (scan) :math:`a`,
and a Gaussian blur :math:`g_\sigma` of the detector. The propagator :math:`\mathcal D` is the Fourier transform (far
field) or a near-field propagator over the distance between sample and detector. Thibault & Menzel, Nature 494, 68
(2013), eq. (2).

The object is cut out at whole pixels; the sub-pixel rest of the position shifts all modes of the *probe* by Fourier
interpolation. When a refined position passes half a pixel its window moves by one pixel, so the shift stays below half
a pixel and never wraps around. In the near field a shifted wave gives a shifted pattern; since detector and beam are
fixed, the wave is shifted back on its way to the detector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.upsampling import off_zero_px, upsampled
from adorym.errors import ConfigError, GeometryError
from adorym.forward.aberrations import (
    ABERRATING,
    ABERRATIONS,
    SEMI_ANGLE,
    aberrated,
    coefficients,
    opened,
    with_aberrations,
)
from adorym.forward.base import BoundModel, ForwardModel, Request, bound_scan
from adorym.forward.detector import BLUR, DETECTOR, SHIFT, blurred, shift_updates, summed, tilted
from adorym.forward.object import MixedObject, Settings, object_parameter
from adorym.forward.probe import with_scans
from adorym.forward.scans import rows_of_scans, scan_by_scan
from adorym.forward.steady_beam import variation_gauges
from adorym.forward.thin import SCANNED, by_object, by_scale, check_scan, without_mean
from adorym.forward.time_course import TEMPORAL, TIME, at_present, time_course, weights
from adorym.forward.variations import VARIATIONS, VARYING, varied
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry, Regime, fresnel_number
from adorym.optics.propagation import TRANSFER_FUNCTIONS, angular_spectrum, check, propagate
from adorym.optics.shift import shift_kernel, shifted_modes
from adorym.parameters import OBJECT, Parameter, ParameterSettings
from adorym.preconditioners import Blocks, Diagonal, Point
from adorym.registry import register
from adorym.updates import FactorGauge
from adorym.wrapper.base import Array, Backend, FusedCore
from adorym.wrapper.fused.exit_wave_loss import INPUTS, Detector, exit_wave_loss

Bound = BoundModel[Any]


def _per_angle(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((bound.dataset.n_angles, 2))


def one_per_pattern(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    """``(n, 1)`` factors of 1."""
    return np.ones((bound.dataset.n_patterns, 1))


def _background(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((1, *bound.dataset.window_px))


def _distance(bound: Bound, settings: ParameterSettings, rng: np.random.Generator) -> np.ndarray:
    return np.array([bound.geometry.effective_distance_m])


def _fringe_distance(bound: Bound) -> float:
    """``dx^2 / lambda``: the distance over which a wave one pixel wide spreads to about twice its width."""
    regime: Regime = "far_field" if bound.zero_at_corner else "near_field"
    return min(bound.geometry.pixel_size_m(regime)) ** 2 / bound.geometry.wavelength_m


UNLIKE_UPSAMPLING = ("background", SHIFT)


@register("forward_model", "ptychography")
class Ptychography(ForwardModel):
    """Scanning diffraction of a thin object by a probe of one or several incoherent modes.

    Attributes:
        propagation: From the object to the detector: ``far_field`` (Fourier transform), or over the near-field
            distance of the data by the ``fresnel`` or the ``angular_spectrum`` transfer function.
        fused: Use the operation with hand-written adjoints where possible; otherwise plain automatic
            differentiation, the reference.
        varied_mode: The mode of the probe that ``parameters.probe.variations`` let vary.
        upsampling: Each pixel of the detector sums so many finer ones along each axis (far field): for beams wider than
            the window, whose speckles the detector does not resolve.
    """

    propagation: Literal["far_field", "fresnel", "angular_spectrum"] = "far_field"
    fused: bool = True
    varied_mode: int = Field(0, ge=0)
    upsampling: int = Field(1, ge=1, le=8)

    refinable: ClassVar[Mapping[str, Parameter]] = {
        **SCANNED,
        **VARYING,
        **ABERRATING,
        **DETECTOR,
        **TEMPORAL,
        "object": object_parameter(settings=MixedObject),
        "probe_offset": Parameter(
            optional=True,
            unit="px",
            help="(y, x) common to all positions of an angle",
            start=_per_angle,
            per="angle",
            optimizer={"kind": "adam", "learning_rate": "0.02 px"},
            gauge=without_mean,
            window_shift=True,
        ),
        "probe_defocus": Parameter(
            optional=True,
            unit="m",
            help="distance by which the probe is propagated along the beam before it meets the object",
            start=lambda bound, settings, rng: np.zeros(1),
            optimizer={"kind": "adam", "learning_rate": 1.0},
            scale=_fringe_distance,
        ),
        "intensity_scale": Parameter(
            optional=True,
            help="factor on the intensity of each pattern (beam current, exposure)",
            start=one_per_pattern,
            per="pattern",
            optimizer={"kind": "preconditioned", "regularization": 0.0},
            bounds=(1e-3, None),
            preconditioner=Diagonal(by_scale),
        ),
        "background": Parameter(
            optional=True,
            unit="photon",
            help="intensity added to every pattern, such as parasitic scattering",
            start=_background,
            optimizer={"kind": "adam", "learning_rate": 0.05},
            scale=lambda bound: bound.counts.per_pixel,
            bounds=(0.0, None),
        ),
        "propagation_distance": Parameter(
            optional=True,
            unit="m",
            help="effective distance from the sample to the detector (near field)",
            start=_distance,
            optimizer={"kind": "adam", "learning_rate": 1e-3},
            relative=True,
        ),
    }

    # Gradients of these parameters follow, through the graph, from those that the fused operation gives.
    _through: ClassVar[Mapping[str, str]] = {
        TIME: OBJECT,
        "probe_offset": "probe_positions",
        **dict.fromkeys(("probe_defocus", ABERRATIONS, SEMI_ANGLE), "probe"),
    }
    _curved: ClassVar[frozenset[str]] = frozenset(INPUTS)  # whose curvature it gives as well
    _axes: ClassVar[int] = 3  # of object windows

    @property
    def regime(self) -> Regime:
        """``far_field`` or ``near_field``."""
        return "far_field" if self.propagation == "far_field" else "near_field"

    def bind(self, dataset: Dataset, settings: Settings) -> BoundModel[Any]:
        check_scan(dataset)
        dataset = self.placed(dataset)
        for name in UNLIKE_UPSAMPLING if self.upsampling > 1 else ():
            if name in settings:
                what = f"cannot be refined beside 'parameters.{name}'"
                raise ConfigError("forward_model.upsampling", what, found=self.upsampling, remedy="leave one out")
        if self.varied_mode and VARIATIONS not in settings:
            raise ConfigError(
                "forward_model.varied_mode",
                "has no effect: the probe does not vary",
                remedy="give 'parameters.probe.variations', or leave it out",
            )
        settings = with_scans(settings, dataset)
        scans = rows_of_scans(dataset) if settings["probe"].per == "scan" else ()
        geometry = self.geometry(dataset)
        if self.regime == "near_field" or dataset.propagation_distance_m is None:  # else it is that of the near field
            geometry.check_pixel_size(self.regime)
        self.check_propagation(dataset, geometry, settings)
        exact = {"probe_positions": Blocks()} if self._own_prediction else {}
        geometry = with_aberrations(geometry, dataset, settings)
        bound = bound_scan(self, dataset, geometry, settings, self.regime)
        return bound.with_(
            derived=lambda values: coefficients(bound, values) | time_course(bound),
            preconditioners={"object": Diagonal(self.object_curvature), **exact},
            # The probe takes up a common factor.
            updates=(
                *bound.updates,
                FactorGauge("intensity_scale", "probe", groups=scans),
                *variation_gauges(bound, self.varied_mode, scans),
                *shift_updates(settings, dataset, far=self.regime == "far_field"),
            ),
        )

    def placed(self, dataset: Dataset) -> Dataset:
        """``dataset`` on the grid of the predicted patterns."""
        if self.upsampling > 1 and self.regime == "near_field":
            what = "in the near field the pixel of the detector is that of the object"
            raise ConfigError("forward_model.upsampling", what, found=self.upsampling, remedy="leave it out")
        return upsampled(dataset, self.upsampling)

    def geometry(self, dataset: Dataset) -> Geometry:
        """The experiment's geometry."""
        return Geometry.of(dataset)

    def check_propagation(self, dataset: Dataset, geometry: Geometry, settings: Settings) -> None:
        """Refuse a propagator that does not describe the data, and parameters that have no effect with it.

        Raises:
            InputError: Propagator, data and parameters do not match.
        """
        if "probe_defocus" in settings:
            geometry.grid(self.regime)  # refuses where energy or pixel size are not known
        if self.regime == "near_field":
            check(self.propagation, geometry.grid("near_field"), geometry.effective_distance_m)
            return
        if "propagation_distance" in settings:
            raise ConfigError(
                "parameters.propagation_distance",
                "has no effect in the far field",
                remedy="leave it out, or choose the propagation 'fresnel' or 'angular_spectrum'",
            )
        if dataset.propagation_distance_m is not None:
            raise GeometryError(
                "forward_model.propagation",
                "the data state a near-field propagation distance",
                expected="'fresnel' or 'angular_spectrum'",
                found="'far_field'",
                remedy="choose one of them, or remove the distance from the data",
            )
        if geometry.energy_ev is None or geometry.distance_m is None or geometry.detector_pixel_size_m is None:
            return
        # The probe takes up a quadratic phase over the window, so Fresnel numbers up to 1 are allowed.
        grid = geometry.grid("far_field")
        if fresnel_number(max(grid.extent_m) / 2, geometry.wavelength_m, geometry.distance_m) > 1:
            check("far_field", grid, geometry.distance_m)

    def probe_at_object(self, xp: Backend, params: Mapping[str, Array], batch: Batch[Any]) -> Array:
        """Probe modes ``(m, y, x)`` at the object, before the sub-pixel shift; ``(n, m, y, x)`` if patterns differ."""
        modes = params["probe"]
        if len(modes.shape) == 4:
            modes = xp.take(modes, batch.angles)
        if VARIATIONS in params:
            modes = varied(xp, modes, params, self.varied_mode)
        if SEMI_ANGLE in params:
            modes = opened(xp, modes, params[SEMI_ANGLE], batch.geometry, self.regime)
        if ABERRATIONS in params:
            grid, half_angle = batch.geometry.grid(self.regime), batch.geometry.half_angle_rad
            return aberrated(xp, modes, params[ABERRATIONS], grid, half_angle)
        if "probe_defocus" not in params:
            return modes
        return angular_spectrum(xp, modes, batch.geometry.grid(self.regime), params["probe_defocus"][0])

    def offsets(self, params: Mapping[str, Array]) -> Array:
        """``(n, 2)`` (y, x) places of the probe in its windows."""
        offset = params.get("probe_offset")
        return params["probe_positions"] if offset is None else params["probe_positions"] + offset

    def _transfer(self, xp: Backend, params: Mapping[str, Array], batch: Batch[Any]) -> Array:
        refined = params.get("propagation_distance")
        distance = batch.geometry.effective_distance_m if refined is None else refined[0]
        return TRANSFER_FUNCTIONS[self.propagation](xp, batch.geometry.grid("near_field"), distance)

    def predict(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any]) -> Array:
        """Intensities ``(n, y, x)`` in photons from object windows ``obj`` ``(n, y, x)`` complex."""
        offsets, obj = self.offsets(params), at_present(xp, obj, params)
        modes = shifted_modes(xp, self.probe_at_object(xp, params, batch), offsets)
        if len(obj.shape) == 3:
            wave = obj[:, None] * modes
        else:  # each state meets the whole beam
            wave = xp.concat([state[:, None] * modes for state in xp.unstack(obj, -1)], axis=1)
        return self.detected(xp, wave, offsets, params, batch)

    def detected(
        self, xp: Backend, wave: Array, offsets: Array, params: Mapping[str, Array], batch: Batch[Any]
    ) -> Array:
        """Intensities ``(n, y, x)`` in photons that the exit waves ``(n, m, y, x)`` bring."""
        shift = params.get(SHIFT)
        if self.upsampling > 1:
            shift = xp.asarray(off_zero_px(wave.shape, self.upsampling))
        if self.regime == "far_field":
            wave = xp.fft2(wave if shift is None else tilted(xp, wave, shift))
        else:
            # Beam and detector stand still while the object moves: a pattern is seen in the frame of the probe.
            back = shift_kernel(xp, tuple(wave.shape[-2:]), -offsets if shift is None else shift - offsets)[:, None]
            wave = propagate(xp, wave, self._transfer(xp, params, batch) * back)
        intensity = xp.sum(xp.abs2(wave), axis=1)
        if BLUR in params:
            intensity = blurred(xp, intensity, self.upsampling * params[BLUR])
        if self.upsampling > 1:
            intensity = summed(xp, intensity, self.upsampling)
        if "intensity_scale" in params:
            intensity = intensity * xp.reshape(params["intensity_scale"], (-1, 1, 1))
        return intensity + params["background"] if "background" in params else intensity

    def object_curvature(self, point: Point) -> Array:
        """Curvature by the object, divided by the weight: the intensity of all modes at the object."""
        modes = self.probe_at_object(point.xp, point.params, point.batch)
        lit, states = point.xp.sum(point.xp.abs2(modes), axis=-3), point.obj.shape[3:]
        lit = point.xp.stack([lit] * states[0], axis=-1) if states else lit
        return self._of_parts(point.xp, by_object(point, lit), point.params)

    def _of_parts(self, xp: Backend, curvature: Array, params: Mapping[str, Array]) -> Array:
        """``curvature`` ``(n, y, x, ...)`` by an object, by its basis objects if it changes."""
        if TIME not in params:
            return curvature
        each = curvature if len(curvature.shape) == 4 else curvature[..., None]
        return xp.asarray(each, exact=True) * xp.stop_gradient(weights(xp, params))[:, None, None]

    def objective(
        self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any], loss: Loss, request: Request
    ) -> tuple[Array, dict[str, Array]]:
        usable = self._own_prediction and self.fused and xp.on_host and loss.fused_noise(batch.floor) is not None
        if not usable or "propagation_distance" in request.wanted or self._plain(obj, params):
            return super().objective(xp, obj, params, batch, loss, request)
        if len(params["probe"].shape) == 4:
            return scan_by_scan(self.objective, self.refinable, (xp, obj, params), batch, loss, request)
        value, found = xp.fused(self._core(xp, params, batch, loss, request), *self._inputs(xp, obj, params, batch))
        if OBJECT in found:
            found[OBJECT] = self._of_parts(xp, found[OBJECT], params)
        others = request.only(request.curvature - set(found))
        return value, found | self.curvatures(xp, obj, params, batch, loss, others)

    def _plain(self, obj: Array, params: Mapping[str, Array]) -> bool:
        """Whether the fused operation lacks something."""
        mixed = len(obj.shape) > self._axes and TIME not in params
        return mixed or self.upsampling > 1 or bool({VARIATIONS, BLUR, SHIFT} & set(params))

    @property
    def _own_prediction(self) -> bool:
        # The fused operation implements this prediction only; a subclass with another one has other gradients.
        return type(self).predict is Ptychography.predict

    def _inputs(self, xp: Backend, obj: Array, params: Mapping[str, Array], batch: Batch[Any]) -> tuple[Array, ...]:
        scale, background = (params.get(name) for name in ("intensity_scale", "background"))
        empty = xp.zeros((0,))
        return (
            at_present(xp, obj, params),
            self.probe_at_object(xp, params, batch),
            self.offsets(params),
            empty if scale is None else xp.reshape(scale, (-1,)),
            empty if background is None else background,
        )

    def _core(
        self, xp: Backend, params: Mapping[str, Array], batch: Batch[Any], loss: Loss, request: Request
    ) -> FusedCore:
        noise = loss.fused_noise(batch.floor)
        assert noise is not None  # checked by the callers
        far = self.regime == "far_field"
        constants = {name: xp.stop_gradient(p) for name, p in params.items()}
        detector = Detector(
            target=xp.to_numpy(batch.targets),
            rows=batch.rows,
            mask=None if batch.mask is None else xp.to_numpy(batch.mask),
            noise=noise,
            floor=batch.floor,
            weight=request.weight,
            transfer=None if far else xp.to_numpy(self._transfer(xp, constants, batch)),
        )
        wanted = frozenset(self._through.get(name, name) for name in request.wanted)
        return exit_wave_loss(xp, detector, wanted, request.curvature & self._curved, batch.checkpoint_slices)
