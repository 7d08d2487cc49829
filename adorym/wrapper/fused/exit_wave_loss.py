r"""The loss of thin-object ptychography with all its adjoints in one pass.

.. math::

    \psi_{jm} = O_j\, \mathcal S_{\delta_j} P_m, \qquad
    I_j = s_j \sum_m |\mathcal D \psi_{jm}|^2 + b, \qquad
    L = c \sum_{j,k} w_{jk}\, \ell(I_{jk}, N_{jk})

with object windows :math:`O_j`, probe modes :math:`P_m`, the Fourier shift :math:`\mathcal S_\delta` by a fraction of
a pixel, the propagator to the detector :math:`\mathcal D` (far field: Fourier transform; near field: transfer
function, and the shift back :math:`\mathcal S_{-\delta}`, since the detector stands still as the beam does) and
:math:`\ell` the squared difference of amplitudes, Poisson deviance, or another loss of `fused.noise`. The gradient is
:math:`g = \mathcal D^\dagger[2 c\, s\, w\, \ell'(I)\, \mathcal D\psi]`, then
:math:`\partial L/\partial O_j = \sum_m \overline{\mathcal S P_m}\, g_{jm}` and
:math:`\partial L/\partial P_m = \sum_j \mathcal S^\dagger[\bar O_j\, g_{jm}]`. Without sub-pixel shifts that is one
Fourier transform and one inverse an exit wave; with them, two more, from which the gradient of the positions follows
for nothing in the far field.

*Curvatures* are the diagonal (object, probe) or 2 x 2 blocks (positions) of the Gauss-Newton matrix of the same loss,
:math:`q c \sum_m |P_m|^2`, :math:`q c \sum_j |O_j|^2` and :math:`q c\, J^T J` with
:math:`J = \partial\sqrt I/\partial \delta` and q the loss's second derivative by the amplitude.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Backend
from adorym.wrapper.fused.noise import FusedNoise

INPUTS = ("object", "probe", "probe_positions", "intensity_scale", "background")


@dataclass(frozen=True)
class Detector:
    """What the detector does to an exit wave and what it measured.

    Attributes:
        target: ``(n or more, y, x)`` measured amplitudes or counts, as the loss compares them, the floor added, zero
            frequency at the corner in the far field.
        mask: ``(1 or n, y, x)`` pixel weights, or ``None``.
        noise: Which loss.
        floor: Intensity that is added to the prediction as well.
        weight: The factor c of the loss.
        transfer: Near-field transfer function ``(y, x)`` complex, or ``None`` for the far field.
        rows: ``(n,)`` rows of ``target`` that belong to the patterns; the first n if ``None``.
    """

    target: np.ndarray
    mask: np.ndarray | None
    noise: FusedNoise
    floor: float
    weight: float
    transfer: np.ndarray | None = None
    rows: np.ndarray | None = None

    @property
    def curvature(self) -> float:
        """Second derivative of the loss by the amplitude: q c."""
        return self.noise.amplitude_curvature * self.weight


def exit_wave_loss(
    xp: Backend, detector: Detector, wanted: frozenset[str], curvature: frozenset[str]
) -> Callable[..., tuple[float, tuple, dict[str, np.ndarray]]]:
    """The core for `Backend.fused`, to be called with (object, probe, offsets, scale, background).

    Args:
        xp: Backend whose Fourier transforms are used.
        detector: Measured data and propagator.
        wanted: Names (of `INPUTS`) whose gradient is needed.
        curvature: Names whose curvature is needed.
    """

    def core(obj: np.ndarray, probe: np.ndarray, *rest: np.ndarray) -> tuple[float, tuple, dict[str, np.ndarray]]:
        offsets, scale, background = rest
        work = _Pass(xp, detector, obj, probe, scale, background)
        moving = "probe_positions" in wanted | curvature or offsets.any()
        shift = _Shift(xp, probe, offsets) if moving else None
        return work.run(shift, wanted, curvature)

    return core


def _real(a: np.ndarray) -> np.ndarray:
    return a.view(a.real.dtype)


class _Shift:
    """The probe modes shifted by a fraction of a pixel for each pattern, and the adjoint of that."""

    def __init__(self, xp: Backend, probe: np.ndarray, offsets: np.ndarray) -> None:
        self.xp, self.probe = xp, probe
        ny, nx = probe.shape[-2:]
        real = probe.real.dtype
        self.f_y, self.f_x = np.fft.fftfreq(ny).astype(real), np.fft.fftfreq(nx).astype(real)
        cycles = offsets.astype(np.float64)[:, :, None]
        self.ramp_y = _real(np.exp(-2j * np.pi * cycles[:, 0] * np.fft.fftfreq(ny)).astype(probe.dtype))
        self.ramp_x = _real(np.exp(-2j * np.pi * cycles[:, 1] * np.fft.fftfreq(nx)).astype(probe.dtype))
        self.spectrum = xp.host_fft2(probe)
        self.shifted_spectrum = np.empty((len(offsets), *probe.shape), probe.dtype)
        fused.kernels.apply_ramp(_real(self.spectrum), self.ramp_y, self.ramp_x, _real(self.shifted_spectrum))
        self.shifted = xp.host_ifft2(self.shifted_spectrum)

    def back(self) -> np.ndarray:
        """``(n, 1, y, x)`` factor of the spectrum that shifts a wave back."""
        ramp_y, ramp_x = (r.view(self.probe.dtype).conj() for r in (self.ramp_y, self.ramp_x))
        return ramp_y[:, None, :, None] * ramp_x[:, None, None, :]

    def back_rate(self, axis: int) -> np.ndarray:
        """``(y, 1)`` or ``(1, x)``: logarithmic derivative of `back` along ``axis``."""
        rate = 2j * np.pi * (self.f_y[:, None], self.f_x[None, :])[axis]
        return rate.astype(self.probe.dtype)

    def derivative(self, axis: int) -> np.ndarray:
        """``(n, m, y, x)`` derivative of the shifted probes along ``axis``."""
        out = np.empty_like(self.shifted_spectrum)
        rate = (-2 * np.pi * (self.f_y, self.f_x)[axis]).astype(self.f_y.dtype)
        fused.kernels.ramp_derivative(_real(self.shifted_spectrum), rate, axis, _real(out))
        return self.xp.host_ifft2(out)

    def adjoint(self, g: np.ndarray, with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Gradients of the probe ``(m, y, x)`` and of the offsets ``(n, 2)`` from that of the shifted probes."""
        g_spectrum = np.zeros_like(self.probe)
        real = self.probe.real.dtype
        g_shift = np.zeros((len(g), 2) if with_offsets else (0, 2))
        spectrum = self.xp.host_fft2(g)
        fused.kernels.ramp_adjoint(
            _real(spectrum),
            _real(self.spectrum),
            self.ramp_y,
            self.ramp_x,
            (self.f_y, self.f_x),
            _real(g_spectrum),
            g_shift,
        )
        g_shift *= 2 * np.pi / (g.shape[-1] * g.shape[-2])
        return self.xp.host_ifft2(g_spectrum), g_shift.astype(real) if with_offsets else None


class _Pass:
    """One evaluation of the loss: waves to the detector, residual, and back."""

    def __init__(self, xp: Backend, detector: Detector, *arrays: np.ndarray) -> None:
        self.xp, self.detector = xp, detector
        self.obj, self.probe, self.scale, self.background = arrays
        n, ny, nx = self.obj.shape
        self.shape, self.pixels = (n, len(self.probe), ny, nx), ny * nx
        self.real = self.obj.real.dtype
        # |D psi|^2 = unit |raw wave|^2: the far-field transform is left unnormalized, its scale is folded in here.
        self.unit = 1.0 if detector.transfer is not None else 1.0 / self.pixels
        self.mask = np.zeros((1, 0), self.real) if detector.mask is None else detector.mask.reshape(-1, self.pixels)
        self.transfer = detector.transfer

    def _flat(self, a: np.ndarray, lead: int) -> np.ndarray:
        return _real(a).reshape(*a.shape[:lead], 2 * self.pixels)

    def to_detector(self, wave: np.ndarray) -> np.ndarray:
        """The wave at the detector, up to ``unit``."""
        if self.transfer is None:
            return self.xp.host_fft2(wave)
        return self.xp.host_ifft2(self.xp.host_fft2(wave) * self.transfer)

    def from_detector(self, wave: np.ndarray) -> np.ndarray:
        """Adjoint of `to_detector`, with ``unit`` folded in."""
        if self.transfer is None:
            return self.xp.host_ifft2(wave)
        return self.xp.host_ifft2(self.xp.host_fft2(wave) * self.transfer.conj())

    def _moved(self, shift: _Shift, axis: int) -> np.ndarray:
        """Derivative of the wave at the detector by the offsets along ``axis``."""
        wave = self._exit(shift.derivative(axis))
        if self.transfer is None:
            return self.to_detector(wave)
        still = self.xp.host_fft2(self._exit(shift.shifted)) * shift.back_rate(axis)
        return self.xp.host_ifft2((self.xp.host_fft2(wave) + still) * self.transfer)

    def _back_gradient(self, g: np.ndarray, shift: _Shift) -> np.ndarray:
        """``(n, 2)`` gradient of the offsets through the shift back, from that of the exit wave."""
        product = self.xp.host_fft2(g).conj() * self.xp.host_fft2(self._exit(shift.shifted)) / self.pixels
        parts = [(product * shift.back_rate(axis)).real.sum((1, 2, 3)) for axis in (0, 1)]
        return np.stack(parts, axis=1)

    def _exit(self, probes: np.ndarray) -> np.ndarray:
        out = np.empty(self.shape, self.obj.dtype)
        fused.kernels.exit_waves(self._flat(probes, 2), self._flat(self.obj, 1), self._flat(out, 2))
        return out

    def run(
        self, shift: _Shift | None, wanted: frozenset[str], curvature: frozenset[str]
    ) -> tuple[float, tuple, dict[str, np.ndarray]]:
        """Value, gradients in the order of `INPUTS`, and curvatures."""
        probes = self.probe[None] if shift is None else shift.shifted
        if self.transfer is not None and shift is not None:
            self.transfer = self.transfer * shift.back()
        wave = self.to_detector(self._exit(probes))
        flat = self._flat(wave, 2)
        kept = {"probe_positions", "intensity_scale", "background"} & (wanted | curvature)
        intensity = np.empty((self.shape[0] if kept else 1, self.pixels), self.real)
        slope = np.empty_like(intensity)
        factor = 2.0 * self.detector.weight
        whole = "probe_positions" in curvature  # its curvature wants the wave before it is multiplied with the slope
        sizes = tuple(self.real.type(size) for size in (self.unit, self.detector.floor, 0.0 if whole else factor))
        rows = np.arange(self.shape[0]) if self.detector.rows is None else self.detector.rows
        noise = self.detector.noise
        kind = (noise.code, self.real.type(noise.shape), self.real.type(noise.saturated))
        measured = (self.detector.target.reshape(-1, self.pixels), rows, self.mask, kind)
        loss = fused.kernels.detect(flat, measured, sizes, self.scale, self.background.reshape(-1), intensity, slope)
        curvatures = self._curvatures(curvature, shift, flat, intensity)
        power = np.zeros(self.pixels if "probe" in curvature and not self.scale.size else 0, self.real)
        g_scale = g_background = None
        if "intensity_scale" in wanted:
            g_scale = (self.detector.weight * (slope * self._signal(intensity)).sum(1) / self.scale).astype(self.real)
        if "background" in wanted:
            g_background = (self.detector.weight * slope.sum(0)).astype(self.real).reshape(self.background.shape)
        if whole:
            fused.kernels.multiply_slope(flat, slope, self.scale, self.real.type(factor))
        g_obj, g_probe, g_offsets = self._wave_gradients(wave, (probes, power), shift, wanted)
        if power.size:
            curvatures["probe"] = (self.detector.curvature * power.reshape(1, *self.shape[2:])).astype(self.real)
        return self.detector.weight * loss, (g_obj, g_probe, g_offsets, g_scale, g_background), curvatures

    def _wave_gradients(
        self, wave: np.ndarray, inputs: tuple[np.ndarray, np.ndarray], shift: _Shift | None, wanted: frozenset[str]
    ) -> Any:
        probes, power = inputs
        g = np.ascontiguousarray(self.from_detector(wave))
        through_back: np.ndarray | float = 0.0
        if shift is not None and self.transfer is not None and "probe_positions" in wanted:
            through_back = self._back_gradient(g, shift)
        g_obj, g_probe = np.empty_like(self.obj), np.zeros_like(self.probe)
        fused.kernels.split_gradient(
            self._flat(g, 2),
            self._flat(probes, 2),
            self._flat(self.obj, 1),
            (self._flat(g_obj, 1), self._flat(g_probe, 1), power),
            shift is not None,
        )
        if shift is None:
            return g_obj, g_probe, None
        if not wanted & {"probe", "probe_positions"}:
            return g_obj, None, None
        g_probe, g_offsets = shift.adjoint(g, "probe_positions" in wanted)
        return g_obj, g_probe, None if g_offsets is None else g_offsets + through_back

    def _signal(self, intensity: np.ndarray) -> np.ndarray:
        """``intensity`` ``(n, k)`` without the background."""
        return intensity - (self.background.reshape(-1) if self.background.size else 0)

    def _over(self, values: np.ndarray | float, intensity: np.ndarray) -> np.ndarray:
        """``values`` over the intensity and the floor, 0 where pixels are masked."""
        ratio = values / (intensity + self.real.type(self.detector.floor))
        return ratio if self.mask.size == 0 else ratio * self.mask

    def _curvatures(
        self, names: frozenset[str], shift: _Shift | None, wave: np.ndarray, intensity: np.ndarray
    ) -> dict[str, np.ndarray]:
        q, out = self.detector.curvature, {}
        if "object" in names:
            # A curvature only conditions the step: the sub-pixel part of the probe's position is left out of it.
            power = np.zeros(self.pixels, self.real)
            fused.kernels.power_sum(self._flat(self.probe, 1), np.zeros(0, self.real), power)
            scales = self.scale[:, None, None] if self.scale.size else np.ones((1, 1, 1), self.real)
            out["object"] = (q * scales * power.reshape(1, *self.shape[2:])).astype(self.real)
        if "probe" in names and self.scale.size:  # without scales it is a by-product of the gradient
            power = np.zeros(self.pixels, self.real)
            fused.kernels.power_sum(self._flat(self.obj, 1), self.scale, power)
            out["probe"] = (q * power.reshape(1, *self.shape[2:])).astype(self.real)
        if "intensity_scale" in names and self.scale.size:
            square = self._over(self._signal(intensity) ** 2, intensity)
            out["intensity_scale"] = (q * square.sum(1) / (4 * self.scale**2)).astype(self.real)[:, None]
        if "probe_positions" in names and shift is not None:
            d_y, d_x = (self._flat(self._moved(shift, axis), 2) for axis in (0, 1))
            factor = (self.unit * (self.scale if self.scale.size else np.ones(self.shape[0]))).astype(self.real)
            out["probe_positions"] = q * fused.kernels.gauss_newton(wave, d_y, d_x, self._over(1, intensity), factor)
        return out
