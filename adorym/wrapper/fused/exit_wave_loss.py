r"""The loss of ptychography with all its adjoints in one pass, for objects that are thin or made of slices.

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
for nothing in the far field. In a thick object the wave passes :math:`\mathcal F^{-1} K_z \mathcal F O_z` in each
slice but the last, and the gradient passes the adjoint of that; the waves of one pattern are stored meanwhile.

*Curvatures* are the diagonal (object, probe) or 2 x 2 blocks (positions) of the Gauss-Newton matrix of the same loss,
:math:`q c \sum_m |P_m|^2` (of a thin object), :math:`q c \sum_j |O_j|^2` (transmitted by all slices) and
:math:`q c\, J^T J` with :math:`J = \partial\sqrt I/\partial \delta` and the second derivative q by the amplitude.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Backend
from adorym.wrapper.fused.noise import FusedNoise
from adorym.wrapper.fused.shares import shared_out

INPUTS = ("object", "probe", "probe_positions", "intensity_scale", "background")
KERNELS = "kernels"  # a further input for a thick object
# Waves of one pattern between slices are all stored if they take no more than this.
STORED_BYTES = 2**26


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
    xp: Backend, detector: Detector, wanted: frozenset[str], curvature: frozenset[str], segment: int | None = None
) -> Callable[..., tuple[float, tuple, dict[str, np.ndarray]]]:
    """The core for `Backend.fused`, to be called with (object, probe, offsets, scale, background).

    Of a thick object ``(n, y, x, z)`` also with transfer functions ``(1 or z - 1, y, x)`` from slice to slice.

    Args:
        xp: Backend, which says how many threads share the patterns.
        detector: Measured data and propagator.
        wanted: Names (of `INPUTS` and `KERNELS`) whose gradient is needed.
        curvature: Names whose curvature is needed; of a thick object not that of the object.
        segment: Number of slices whose waves are stored at once; those of others are worked out once more for
            the gradient. As many as fit into `STORED_BYTES`, or the square root of all, if ``None``; 0 for all.

    Gradients of what is not wanted may be ``None``.

    Raises:
        ValueError: An array has not the shape that the windows need.
    """

    def core(obj: np.ndarray, probe: np.ndarray, *rest: np.ndarray) -> tuple[float, tuple, dict[str, np.ndarray]]:
        return _Pass(detector, wanted, curvature, (obj, probe, *rest), segment).run(xp.workers)

    return core


class _Pass:
    """One evaluation of the loss."""

    def __init__(
        self,
        detector: Detector,
        wanted: frozenset[str],
        curvature: frozenset[str],
        inputs: tuple[np.ndarray, ...],
        segment: int | None,
    ) -> None:
        self.detector, self.wanted, self.curvature, self.inputs = detector, wanted, curvature, len(inputs)
        arrays = list(map(np.ascontiguousarray, inputs))
        self.obj, self.probe, self.offsets, self.scale, self.background = arrays[:5]
        self.shape, self.pixels = self.obj.shape[:3], self.obj.shape[1] * self.obj.shape[2]
        self.depth = math.prod(self.obj.shape[3:])
        self.real = self.obj.real.dtype
        self.kernels = arrays[5] if self.depth > 1 else np.zeros((0, *self.shape[1:]), self.obj.dtype)
        self._check()
        self.segment = segment or self.depth
        if segment is None and self.depth * self.probe.nbytes > STORED_BYTES:
            self.segment = math.isqrt(self.depth)
        self.moving = bool("probe_positions" in wanted | curvature or self.offsets.any())
        self.near = detector.transfer is not None
        self.grid = fused.strips.layout(self.shape[1:], self.real.name)
        self.asked = fused.exit_wave_kernels.Asked(
            probe="probe" in wanted,
            positions="probe_positions" in wanted,
            scale="intensity_scale" in wanted | curvature,
        )

    def _check(self) -> None:
        """The loops do not look where they read."""
        n, mask, rows = len(self.obj), self.detector.mask, self.detector.rows
        found = {
            "probe": self.probe.shape[1:] == self.shape[1:],
            "offsets": self.offsets.shape == (n, 2),
            "scale": self.scale.size in (0, n),
            "background": self.background.size in (0, self.pixels),
            "kernels": self.kernels.shape[1:] == self.shape[1:] and len(self.kernels) in (1, self.depth - 1),
            "target": self.detector.target.shape[-2:] == self.shape[1:],
            "mask": mask is None or (mask.shape[-2:] == self.shape[1:] and mask.size in (self.pixels, n * self.pixels)),
            "rows": rows is None or (len(rows) == n and np.max(rows, initial=-1) < len(self.detector.target)),
        }
        wrong = [name for name, fits in found.items() if not fits]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not of the shape that {n} windows of {self.shape[1:]} pixels need")

    def run(self, workers: int) -> tuple[float, tuple, dict[str, np.ndarray]]:
        """Value, gradients in the order of `INPUTS`, and curvatures."""
        beam, kernels, seen = self._beam(), self._kernels(), self._seen()
        g_obj, each = np.empty_like(self.obj), np.zeros((len(self.obj), 7))

        def share(part: slice) -> tuple[float, Any]:
            beam_part = beam._replace(ramp_y=beam.ramp_y[part], ramp_x=beam.ramp_x[part])
            seen_part = seen._replace(rows=seen.rows[part], scale=seen.scale[part])
            if len(seen.mask) > 1:
                seen_part = seen_part._replace(mask=seen.mask[part])
            windows, found = (
                _real(a[part]).reshape(-1, a.shape[1], 2 * math.prod(a.shape[2:])) for a in (self.obj, g_obj)
            )
            sums, jacobian = self._sums(found, beam, kernels, each[part]), None
            if "probe_positions" in self.curvature:
                jacobian = np.zeros((2, self.grid.sizes[0 if self.near else 1]), self.real)
            loss = fused.exit_wave_kernels.loss_and_gradients(
                _constant(windows), beam_part, kernels, seen_part, self.grid, self.asked, jacobian, sums
            )
            return loss, sums

        done = shared_out(share, len(self.obj), self.obj.size * len(self.probe), workers)
        sums = done[0][1]._replace(each=each)  # of all of them
        for _, other in done[1:]:
            for total, part in zip((*sums[1:4], sums.kernels), (*other[1:4], other.kernels), strict=True):
                total += part
        gradients = (g_obj, *self._gradients(sums))[: self.inputs]
        return self.detector.weight * sum(loss for loss, _ in done), gradients, self._curvatures(sums)

    def _beam(self) -> Any:
        """The probe as the compiled loops take it."""
        modes = self._in_strips(self.probe)
        nothing = np.zeros(0, self.real)
        transfer = np.zeros((2, 0), self.real)
        if self.detector.transfer is not None:
            transfer = self._by_frequency(self.detector.transfer / self.pixels)
        ramp_y, ramp_x, f_y, f_x = np.zeros((1, 2, 0), self.real), np.zeros((1, 0), self.real), nothing, nothing
        if self.moving:
            ny, nx = self.shape[1:]
            modes = self._transformed(modes) / self.real.type(self.pixels)
            y, x = np.fft.fftfreq(ny), np.fft.fftfreq(nx)
            f_y, f_x = fused.strips.frequencies(self.shape[1:], self.real.name)
            cycles = -2j * np.pi * self.offsets.astype(np.float64)
            factors = np.exp(cycles[:, :1] * y), np.exp(cycles[:, 1:] * x)
            ramp_y, ramp_x = fused.strips.by_frequency(*factors, self.grid)
        return fused.exit_wave_kernels.Beam(modes, ramp_y, ramp_x, f_y, f_x, transfer, self.segment)

    def _kernels(self) -> np.ndarray | None:
        """Transfer functions from slice to slice, in strips."""
        if self.depth == 1:
            return None
        out = np.zeros((len(self.kernels), 2, self.grid.sizes[1]), self.real)
        for kernel, parts in zip(self.kernels, out, strict=True):
            parts[:] = self._by_frequency(kernel / self.pixels)
        return out

    def _seen(self) -> Any:
        """The measured data as the compiled loops take them."""
        data, n = self.detector, len(self.obj)
        # |D psi|^2 = unit |raw wave|^2: the far-field transform is left unnormalized, its scale is folded in here.
        unit = 1.0 if self.near else 1.0 / self.pixels
        rows = np.arange(n) if data.rows is None else np.ascontiguousarray(data.rows, np.int64)
        mask = np.zeros((1, 0), self.real)
        if data.mask is not None:
            mask = np.ascontiguousarray(data.mask, self.real).reshape(-1, self.pixels)
        noise = (data.noise.code, self.real.type(data.noise.shape), self.real.type(data.noise.saturated))
        return fused.exit_wave_kernels.Measured(
            target=_constant(np.ascontiguousarray(data.target, self.real).reshape(-1, self.pixels)),
            rows=_constant(rows),
            mask=_constant(mask),
            noise=noise,
            sizes=tuple(self.real.type(size) for size in (unit, data.floor, 2.0 * data.weight * unit)),
            scale=_constant(self.scale if self.scale.size else np.ones(n, self.real)),
            background=_constant(self.background.reshape(-1)),
        )

    def _sums(self, windows: np.ndarray, beam: Any, kernels: np.ndarray | None, each: np.ndarray) -> Any:
        size = self.grid.sizes[0 if self.near else 1]
        of_kernels = (0, 2, 0) if kernels is None or KERNELS not in self.wanted else kernels.shape
        return fused.exit_wave_kernels.Sums(
            windows=windows,
            modes=np.zeros_like(beam.modes),
            power=np.zeros(self.grid.sizes[0] if "probe" in self.curvature else 0, self.real),
            background=np.zeros(size if "background" in self.wanted else 0, self.real),
            each=each,
            kernels=np.zeros(of_kernels, self.real),
        )

    # -- pictures and spectra in strips --------------------------------------------------------------------------------
    def _in_strips(self, pictures: np.ndarray) -> np.ndarray:
        out = np.zeros((len(pictures), 2, self.grid.sizes[0]), self.real)
        for picture, strips in zip(_constant(_real(pictures)), out, strict=True):
            fused.strips.to_strips(picture, strips, self.grid)
        return out

    def _from_strips(self, strips: np.ndarray) -> np.ndarray:
        """``(any, y, x)`` of ``(any, 2, size)``."""
        out = np.empty((len(strips), *self.shape[1:]), self.obj.dtype)
        for each, picture in zip(strips, _real(out), strict=True):
            fused.strips.from_strips(each, picture, self.grid)
        return out

    def _by_frequency(self, spectrum: np.ndarray) -> np.ndarray:
        out = np.zeros((2, self.grid.sizes[1]), self.real)
        out[:, fused.strips.spectrum_places(self.grid)] = _parts(spectrum[None])[0]
        return out

    def _transformed(self, pictures: np.ndarray) -> np.ndarray:
        out = np.zeros((len(pictures), 2, self.grid.sizes[1]), self.real)
        for picture, spectrum in zip(pictures, out, strict=True):
            fused.strips.transform(picture, spectrum, self.grid, fused.strips.THERE)
        return out

    # -- results -------------------------------------------------------------------------------------------------------
    def _gradients(self, sums: Any) -> tuple[np.ndarray | None, ...]:
        """Gradients of all but the object."""
        g_probe = g_positions = g_scale = g_background = g_kernels = None
        if self.asked.probe or (self.asked.positions and self.moving):
            modes = sums.modes
            if self.moving:
                modes = np.zeros((len(modes), 2, self.grid.sizes[0]), self.real)
                for spectrum, picture in zip(sums.modes, modes, strict=True):
                    fused.strips.transform(spectrum, picture, self.grid, fused.strips.BACK)
                modes /= self.real.type(self.pixels)
            g_probe = self._from_strips(modes)
        if self.asked.positions:
            g_positions = sums.each[:, :2].astype(self.real)
        if "intensity_scale" in self.wanted:
            g_scale = (self.detector.weight * sums.each[:, 2] / self.scale).astype(self.real)
        if "background" in self.wanted:
            places = fused.strips.picture_places(self.grid) if self.near else fused.strips.spectrum_places(self.grid)
            g_background = (self.detector.weight * sums.background[places]).reshape(self.background.shape)
        if KERNELS in self.wanted and self.depth > 1:
            found = sums.kernels[..., fused.strips.spectrum_places(self.grid)] / self.real.type(self.pixels)
            g_kernels = (found[:, 0] + 1j * found[:, 1]).reshape(self.kernels.shape).astype(self.obj.dtype)
        return g_probe, g_positions, g_scale, g_background, g_kernels

    def _curvatures(self, sums: Any) -> dict[str, np.ndarray]:
        q, out = self.detector.curvature, {}
        if "object" in self.curvature:
            # A curvature only conditions the step: the sub-pixel part of the probe's position is left out of it.
            power = (self.probe.real**2 + self.probe.imag**2).sum(0)
            scales = self.scale[:, None, None] if self.scale.size else np.ones((1, 1, 1), self.real)
            out["object"] = (q * scales * power.reshape(1, *self.shape[1:])).astype(self.real)
        if "probe" in self.curvature:
            power = sums.power[fused.strips.picture_places(self.grid)]
            out["probe"] = (q * power.reshape(1, *self.shape[1:])).astype(self.real)
        if "intensity_scale" in self.curvature and self.scale.size:
            out["intensity_scale"] = (q * sums.each[:, 3] / (4 * self.scale**2)).astype(self.real)[:, None]
        if "probe_positions" in self.curvature:
            yy, yx, xx = sums.each[:, 4:].T
            out["probe_positions"] = q * np.stack([yy, yx, yx, xx], axis=1).reshape(-1, 2, 2)
        return out


def _parts(pictures: np.ndarray) -> np.ndarray:
    """``(any, 2, y x)`` real and imaginary parts of ``(any, y, x)``."""
    return np.stack([pictures.real, pictures.imag], axis=1).reshape(len(pictures), 2, -1)


def _real(a: np.ndarray) -> np.ndarray:
    return a.view(a.real.dtype)


def _constant(a: np.ndarray) -> np.ndarray:
    """A view that cannot be written to, as some libraries' arrays are: loops are compiled once for all of them."""
    view = a.view()
    view.flags.writeable = False
    return view
