r"""An object of one material and its delta over beta, found together from a series of holograms.

With :math:`O = e^{-(1/\kappa + i)\varphi}` the misfit of amplitudes :math:`\sum (|\mathcal D_k O| - \sqrt{I_k})^2` is
brought down by Gauss-Newton steps in :math:`\varphi` and :math:`\ln\kappa`, damped (Marquardt, J. Soc. Ind. Appl. Math.
11, 431 (1963)) and solved by conjugate gradients. Gradient descent is slow here: slow changes of the phase show only
through absorption, and whether they are strong or :math:`\kappa` is small is decided by a narrow band of frequencies.
Two things make the steps fast.

- The contrast transfer function of the material, :math:`t_k = \sin\chi_k + \cos\chi_k/\kappa`, says how much of each
  frequency the holograms show; conjugate gradients are preconditioned by :math:`(\langle t^2\rangle + \epsilon)^{-1}`.
- When :math:`\kappa` changes, :math:`\varphi` goes with it so that the holograms stay what they are to first order,
  :math:`\mathrm d\hat\varphi = \langle t \cos\chi/\kappa\rangle / \langle t^2\rangle\;\hat\varphi\,\mathrm d\ln\kappa`.
  What is left is what decides on :math:`\kappa` (variable projection: Golub & Pereyra, SIAM J. Numer. Anal. 10, 413
  (1973)).
"""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass

import numpy as np
from scipy import fft

from adorym.data.dataset import Dataset
from adorym.forward.hologram_series import Series, series_of, solve
from adorym.wrapper.fused import hologram_kernels as kernels

LOG = logging.getLogger("adorym")
# Of the linear start, and added to the transfer function where holograms show nothing.
REGULARIZATION, FLOOR = 1e-3, 1e-2
SCOUTING, STEPS, ITERATIONS, TOLERANCE = 10, 20, 8, 0.03
DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-5, 1e3
# A step of ln(kappa) beyond this is not believed.
MAX_LOG_STEP = 1.2
# Factor on kappa beyond which nothing is sought.
MAX_KAPPA_FACTOR = 100.0
# Relative fall of the misfit, and step of ln(kappa), below which nothing more is to be gained.
FALL, LOG_STEP_TOLERANCE = 5e-3, 5e-3
DARK, HALF = 1e-3, np.float32(0.5)
# Added to intensities of vacuum 1, where a root is steep.
INTENSITY_OFFSET = np.float32(1e-3)


@dataclass(frozen=True)
class Material:
    """What was found.

    Attributes:
        lag: ``(Y, X)`` phase shift phi, by which matter advances the wave.
        kappa: delta / beta.
    """

    lag: np.ndarray
    kappa: float

    @property
    def transmission(self) -> np.ndarray:
        """``(Y, X)`` complex128."""
        return np.exp(-(1 / self.kappa + 1j) * self.lag)


@dataclass(frozen=True)
class _Point:
    """A trial: unknowns, transmission, waves at the detector, amplitudes there and their residuals, misfit."""

    lag: np.ndarray
    log_kappa: float
    obj: np.ndarray
    waves: np.ndarray
    amplitudes: np.ndarray
    residual: np.ndarray
    misfit: float


@dataclass(frozen=True)
class _Step:
    """A damped step: of the lag, besides what kappa draws along, and of ln(kappa); the misfit's change foreseen."""

    lag: np.ndarray
    log_kappa: float
    predicted: float


def unwrapped_lag(transmission: np.ndarray) -> np.ndarray:
    """Phase lag of a transmission; of one material, whose absorption tells it, without the turns it is taken modulo.

    Absorption is proportional to the lag if it is where the lag is small; otherwise the lag is within half a turn.
    """
    lag = -np.angle(transmission)
    absorption = -np.log(np.maximum(np.abs(transmission), DARK))
    sure = (np.abs(lag) < 0.5) & (absorption < absorption.max() / 8)
    weight = float((lag[sure] ** 2).sum())
    ratio = float((absorption[sure] * lag[sure]).sum()) / weight if weight > 0 else 0.0
    if ratio <= 0 or float(np.abs(absorption - ratio * lag)[sure].max()) > 0.1 * ratio:
        return lag
    return lag + 2 * np.pi * np.round((absorption / ratio - lag) / (2 * np.pi))


class Fit:
    """Gauss-Newton steps for a series.

    Args:
        series: The holograms.
        vacuum: Whether there is nothing beyond the largest field of view.
    """

    def __init__(self, series: Series, vacuum: bool) -> None:
        self.series, self.vacuum = series, vacuum
        self.inside = _field(series) if vacuum else np.ones(series.grid.window_px, np.float32)
        self.measured = np.sqrt(np.maximum(series.measured, 0) + INTENSITY_OFFSET).astype(np.float32)
        self.maps = [np.array([ratio, 0.0, 0.0, 0.0, ratio, 0.0]) for ratio in series.pixel_ratios]
        self.transfer = np.exp(-1j * series.chi).astype(np.complex64)

    def start(self, kappa: float) -> _Point:
        """The contrast transfer function's solution."""
        signal = fft.fft2(np.log(np.maximum(self.series.pictures, DARK)))
        transfer = -2 * (np.sin(self.series.chi) + np.cos(self.series.chi) / kappa)
        (lag,) = solve(self.series, [transfer], signal, REGULARIZATION)
        return self.at(lag.astype(np.float32), float(np.log(kappa)))

    def at(self, lag: np.ndarray, log_kappa: float) -> _Point:
        """Evaluate."""
        lag = lag * self.inside
        obj = np.exp(-(np.exp(-log_kappa) + 1j) * lag).astype(np.complex64)
        waves = fft.ifft2(self.transfer * fft.fft2(obj))
        amplitudes = np.sqrt(np.maximum(self.read(_abs2(waves)), 0) + INTENSITY_OFFSET)
        residual = amplitudes - self.measured
        return _Point(lag, log_kappa, obj, waves, amplitudes, residual, _dot(residual, residual))

    def read(self, images: np.ndarray) -> np.ndarray:
        """``(d, Y, X)`` on the grid, read where the detector's pixels lie ``(d, y, x)``; ``images`` is used up."""
        pictures = np.empty_like(self.measured)
        for image, each, picture in zip(images, self.maps, pictures, strict=True):
            kernels.to_spline(image)
            kernels.interpolate(image, each, HALF, picture)
        return pictures

    def spread(self, pictures: np.ndarray) -> np.ndarray:
        """Adjoint of `read`."""
        images = np.zeros((len(pictures), *self.series.grid.window_px), np.float32)
        for image, each, picture in zip(images, self.maps, pictures, strict=True):
            kernels.interpolate_adjoint(picture, image, each, HALF, image, np.zeros(6), False)
            kernels.to_spline(image)
        return images

    def run(self, kappa: float) -> _Point:
        """From the linear solutions for ``kappa`` and a tenth of it: the one that does better is carried to its end.

        Too large a kappa makes too strong a phase, from where the way back is longer than to a minimum of its own.
        """
        trials = [self._descended(self.start(start), start, SCOUTING) for start in (kappa, kappa / 10)]
        best = min(trials, key=lambda point: point.misfit)
        return self._descended(best, kappa, STEPS)

    def _descended(self, point: _Point, kappa: float, steps: int) -> _Point:
        """After at most so many steps; not farther than `MAX_KAPPA_FACTOR` from ``kappa``."""
        damping = DAMPING
        for _ in range(steps):
            local = _Local(self, point)
            while True:
                step, new = local.solved(damping), None
                log_kappa = point.log_kappa + step.log_kappa
                if abs(step.log_kappa) < MAX_LOG_STEP and abs(log_kappa - np.log(kappa)) < np.log(MAX_KAPPA_FACTOR):
                    new = self.at(point.lag + step.lag + np.float32(step.log_kappa) * local.drawn, log_kappa)
                ratio = -1.0 if new is None else (new.misfit - point.misfit) / step.predicted
                if ratio > 0 or damping > MOST_DAMPING:
                    break
                damping = max(5 * damping, DAMPING)
            if new is None or not ratio > 0:
                return point
            damping = max(damping / 5, LEAST_DAMPING) if ratio > 0.7 else 2 * damping if ratio < 0.25 else damping
            still = point.misfit - new.misfit < FALL * point.misfit and abs(step.log_kappa) < LOG_STEP_TOLERANCE
            point = new
            if still:
                break
        return point


class _Local:
    """The problem made linear at a point."""

    def __init__(self, fit: Fit, point: _Point) -> None:
        self.fit, self.point = fit, point
        self.inverse_kappa = np.float32(np.exp(-point.log_kappa))
        cosine = np.cos(fit.series.chi) * self.inverse_kappa
        shown = np.sin(fit.series.chi) + cosine
        square = (shown**2).mean(0)
        self.preconditioner = (1 / (square + FLOOR) / len(shown)).astype(np.float32)
        along = (shown * cosine).mean(0) / (square + LEAST_DAMPING)
        self.drawn = fft.ifft2(along * fft.fft2(point.lag)).real.astype(np.float32) * fit.inside
        self.slope = -(self.inverse_kappa + np.complex64(1j)) * point.obj
        # Where a spline overshoots below zero the prediction stands still.
        bright = point.amplitudes > (1 + 1e-6) * np.sqrt(INTENSITY_OFFSET)
        self.per_intensity = 0.5 * bright / point.amplitudes
        by_kappa = self._amplitudes(point.obj * point.lag * self.inverse_kappa) + self.forward(self.drawn)
        self.by_kappa, self.weight = by_kappa, _dot(by_kappa, by_kappa) + 1e-30

    def _amplitudes(self, change: np.ndarray) -> np.ndarray:
        """Change ``(d, Y, X)`` of the amplitudes with that of the transmission."""
        waves = fft.ifft2(self.fit.transfer * fft.fft2(change))
        return self.fit.read(2 * (self.point.waves.conj() * waves).real) * self.per_intensity

    def forward(self, lag: np.ndarray) -> np.ndarray:
        """Change of the amplitudes with that of the lag."""
        return self._amplitudes(self.slope * (lag * self.fit.inside))

    def adjoint(self, amplitudes: np.ndarray) -> np.ndarray:
        """Adjoint of `forward`."""
        slopes = 2 * self.fit.spread(amplitudes * self.per_intensity)
        back = (self.fit.transfer.conj() * fft.fft2(self.point.waves * slopes)).sum(0)
        return (fft.ifft2(back) * self.slope.conj()).real * self.fit.inside

    def solved(self, damping: float) -> _Step:
        """Preconditioned conjugate gradients, truncated."""
        n = len(self.fit.measured)
        gradient, by_kappa = self.adjoint(self.point.residual), _dot(self.by_kappa, self.point.residual)
        lag, kappa = np.zeros_like(gradient), 0.0
        r, r_kappa = -gradient, -by_kappa
        z, z_kappa = self._preconditioned(r), r_kappa / self.weight
        p, p_kappa = z, z_kappa
        size = first = _dot(r, z) + r_kappa * z_kappa
        for _ in range(ITERATIONS):
            if size <= TOLERANCE**2 * first:
                break
            moved = self.forward(p) + np.float32(p_kappa) * self.by_kappa
            a = self.adjoint(moved) + damping * n * p
            a_kappa = _dot(self.by_kappa, moved) + damping * self.weight * p_kappa
            part = size / (_dot(p, a) + p_kappa * a_kappa)
            lag, kappa = lag + np.float32(part) * p, kappa + part * p_kappa
            r, r_kappa = r - np.float32(part) * a, r_kappa - part * a_kappa
            z, z_kappa = self._preconditioned(r), r_kappa / self.weight
            size, last = _dot(r, z) + r_kappa * z_kappa, size
            p, p_kappa = z + np.float32(size / last) * p, z_kappa + size / last * p_kappa
        moved = self.forward(lag) + np.float32(kappa) * self.by_kappa
        fall = 2 * (_dot(gradient, lag) + by_kappa * kappa) + _dot(moved, moved)
        return _Step(lag, kappa, min(fall, -1e-30))

    def _preconditioned(self, r: np.ndarray) -> np.ndarray:
        return fft.ifft2(self.preconditioner * fft.fft2(r)).real * self.fit.inside


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * b, dtype=np.float64))


def _abs2(waves: np.ndarray) -> np.ndarray:
    return waves.real**2 + waves.imag**2


def _field(series: Series) -> np.ndarray:
    """1 in the largest field of view, 0 around."""
    inside = np.zeros(series.grid.window_px, np.float32)
    sizes = [int(np.ceil(n * series.pixel_ratios.max())) for n in series.measured.shape[1:]]
    edges = [(n - size) // 2 for n, size in zip(inside.shape, sizes, strict=True)]
    inside[tuple(slice(e, n - e) for e, n in zip(edges, inside.shape, strict=True))] = 1
    return inside


# The last one found: the object and kappa of a run start from the same.
_LAST: list[tuple[weakref.ref, tuple, Material]] = []


def find_material(dataset: Dataset, shape: tuple[int, ...], kappa: float, vacuum: bool) -> Material:
    """Phase lag on the object's grid and delta over beta, started from ``kappa``.

    Args:
        dataset: Holograms of one angle, aligned.
        shape: (Y, X) of the object.
        kappa: Where to start, right within a factor of about ten.
        vacuum: Whether there is nothing beyond the largest field of view.

    Raises:
        ConfigError: Several angles, or an object of several slices.
    """
    key = (tuple(shape), kappa, vacuum)
    if _LAST and _LAST[0][0]() is dataset and _LAST[0][1] == key:
        return _LAST[0][2]
    point = Fit(series_of(dataset, shape), vacuum).run(kappa)
    found = Material(point.lag.astype(np.float64), float(np.exp(point.log_kappa)))
    LOG.info("one material: kappa %.4g from %.4g", found.kappa, kappa)
    _LAST[:] = [(weakref.ref(dataset), key, found)]
    return found
