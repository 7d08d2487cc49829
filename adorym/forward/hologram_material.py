r"""An object of one material and its delta over beta, found together from a series of holograms.

With :math:`O = e^{-(1/\kappa + i)\varphi}`, damped Gauss-Newton steps (`adorym.solvers.newton`) minimize the misfit of
amplitudes :math:`\sum (|\mathcal D_k O| - \sqrt{I_k})^2 / 2`. Gradient descent is slow here: low frequencies of the
phase show only through absorption, and only a narrow band of frequencies separates a strong phase from a small
:math:`\kappa`. The unknowns are therefore :math:`\ln\kappa` and the contrast u of the phase in the holograms, given by
the contrast transfer function of the material,

.. math:: \hat\varphi = \hat u \Big/ \sqrt{\textstyle\sum_k t_k^2 + \epsilon(f)}, \qquad
          t_k = \sin\chi_k + \cos\chi_k/\kappa .

All frequencies of u have equal weight. To the misfit :math:`\epsilon |\hat\varphi|^2 / 2` is added, :math:`4 \epsilon`
being the noise over the power of the phase, both told by the holograms (`adorym.forward.hologram_prior`): what they do
not show is then not made of noise.

When :math:`\kappa` changes at constant u, :math:`\varphi` changes so that the holograms are constant to first order;
the remaining change determines :math:`\kappa` (variable projection: Golub & Pereyra, SIAM J. Numer. Anal. 10, 413
(1973)).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.forward.hologram_prior import spectrum_of
from adorym.forward.hologram_series import Series, series_of
from adorym.solvers.base import Objective
from adorym.solvers.newton import LevenbergMarquardt
from adorym.wrapper import fused

LOG = logging.getLogger("adorym")
# Least and largest epsilon above.
FLOOR, CEILING = 1e-6, 1e6
SCOUTING, STEPS = 10, 20
SOLVER = LevenbergMarquardt(iterations=8, tolerance=0.03, damping=1e-2)
# Largest step of ln(kappa).
MAX_LOG_STEP = 1.2
# The search covers a hundredth to a hundred times the start value of kappa.
MAX_LOG_CHANGE = np.log(100.0)
# The search ends below this relative decrease of the misfit and this step of ln(kappa).
FALL, LOG_STEP_TOLERANCE = 5e-3, 5e-3
DARK, HALF = 1e-3, np.float32(0.5)
# Added to intensities (vacuum is 1), since the square root is steep at zero.
INTENSITY_OFFSET = 1e-3


@dataclass(frozen=True)
class Material:
    """A homogeneous object.

    Attributes:
        phase: ``(Y, X)`` phase ``k t delta``.
        kappa: delta / beta.
    """

    phase: np.ndarray
    kappa: float

    @property
    def transmission(self) -> np.ndarray:
        """``(Y, X)`` complex128."""
        return np.exp(-(1 / self.kappa + 1j) * self.phase)


@dataclass(frozen=True, eq=False)
class _Point:
    """One point of the search: the unknowns u, and what follows from them.

    Attributes:
        u: The unknowns.
        inverse_kappa: 1 / kappa.
        phase: ``(Y, X)``.
        whitening: ``(Y, X)`` factor from the spectrum of the contrast to that of the phase.
        by_phase: Derivative of the transmission by the phase.
        by_log_kappa: Its derivative by the logarithm of kappa at constant contrast.
        waves: ``(d, Y, X)`` at the detector.
        residual: ``(d, y, x)`` predicted minus measured amplitudes.
        per_intensity: Derivative of the amplitudes by the intensities.
    """

    u: np.ndarray
    inverse_kappa: np.float32
    phase: np.ndarray
    whitening: np.ndarray
    by_phase: np.ndarray
    by_log_kappa: np.ndarray
    waves: np.ndarray
    residual: np.ndarray
    per_intensity: np.ndarray


class Fit(Objective):
    r"""Half the misfit of a series as a function of ``(n + 1,)`` numbers: the contrast, and :math:`\ln\kappa` relative
    to the start, scaled so that the misfit has similar curvature by all of them.

    Args:
        series: The holograms.
        vacuum: Whether there is vacuum outside the largest field of view.
        kappa: Start value of delta / beta; the object starts from the solution by the contrast transfer function.
    """

    def __init__(self, series: Series, vacuum: bool, kappa: float) -> None:
        self.series, self.kappa, self.unit = series, kappa, 1.0
        self.inside = _field(series) if vacuum else np.ones(series.grid.window_px, np.float32)
        self.measured = np.sqrt(np.maximum(series.measured, 0) + INTENSITY_OFFSET).astype(np.float32)
        self.maps = [np.array([ratio, 0.0, 0.0, 0.0, ratio, 0.0]) for ratio in series.pixel_ratios]
        self.sine, self.cosine = np.sin(series.chi).astype(np.float32), np.cos(series.chi).astype(np.float32)
        self.transfer = self.cosine - 1j * self.sine
        self.floor = np.clip(spectrum_of(series, kappa).noise_to_signal(series.grid.window_px) / 4, FLOOR, CEILING)
        shown = self.sine + self.cosine / np.float32(kappa)
        square = (shown**2).sum(0) + self.floor
        self.penalty = self.floor / square  # at the start value of kappa
        signal = scipy.fft.fft2(np.log(np.maximum(series.pictures, DARK)))
        phase = scipy.fft.ifft2((-shown * signal).sum(0) / (2 * square)).real * self.inside
        contrast = scipy.fft.ifft2(np.sqrt(square) * scipy.fft.fft2(phase)).real
        self.free = determines_kappa(series)
        self.point = self.at(np.append(contrast, 0.0))
        if self.free:
            self.unit = 1 / float(np.linalg.norm(self.forward(self.point, np.append(np.zeros(phase.size), 1.0))))

    # -- the misfit and its derivatives --------------------------------------------------------------------------------
    def at(self, u: np.ndarray) -> _Point:
        """Everything at ``u``."""
        inverse_kappa = np.float32(np.exp(-self.unit * u[-1]) / self.kappa)
        cosine = self.cosine * inverse_kappa
        shown = self.sine + cosine
        square = (shown**2).sum(0) + self.floor.astype(np.float32)
        whitening = 1 / np.sqrt(square)
        spectrum = whitening * scipy.fft.fft2(self._contrast(u))
        phase = scipy.fft.ifft2(spectrum).real * self.inside
        drawn = scipy.fft.ifft2((shown * cosine).sum(0) / square * spectrum).real * self.inside
        obj = np.exp(-(inverse_kappa + np.complex64(1j)) * phase)
        by_phase = -(inverse_kappa + np.complex64(1j)) * obj
        waves = scipy.fft.ifft2(self.transfer * scipy.fft.fft2(obj))
        amplitudes = np.sqrt(np.maximum(self.read(waves.real**2 + waves.imag**2), 0) + np.float32(INTENSITY_OFFSET))
        # Where a spline overshoots below zero the prediction is constant.
        bright = amplitudes > (1 + 1e-6) * np.sqrt(INTENSITY_OFFSET)
        by_log_kappa = np.float32(self.free) * (by_phase * drawn + inverse_kappa * phase * obj)
        residual, per_intensity = amplitudes - self.measured, HALF * bright / amplitudes
        return _Point(u, inverse_kappa, phase, whitening, by_phase, by_log_kappa, waves, residual, per_intensity)

    def _contrast(self, u: np.ndarray) -> np.ndarray:
        return u[:-1].reshape(self.inside.shape).astype(np.float32)

    def read(self, images: np.ndarray) -> np.ndarray:
        """Interpolate ``(d, Y, X)`` at the detector's pixels ``(d, y, x)``; ``images`` is overwritten."""
        pictures = np.empty_like(self.measured)
        for image, each, picture in zip(images, self.maps, pictures, strict=True):
            fused.hologram_kernels.to_spline(image)
            fused.hologram_kernels.interpolate(image, each, HALF, picture)
        return pictures

    def spread(self, pictures: np.ndarray) -> np.ndarray:
        """Adjoint of `read`."""
        images = np.zeros((len(pictures), *self.inside.shape), np.float32)
        for image, each, picture in zip(images, self.maps, pictures, strict=True):
            fused.hologram_kernels.interpolate_adjoint(picture, image, each, HALF, image, np.zeros(6), False)
            fused.hologram_kernels.to_spline(image)
        return images

    def forward(self, point: _Point, v: np.ndarray) -> np.ndarray:
        """Derivative ``(d, y, x)`` of the amplitudes along the change ``v`` of the unknowns."""
        phase = scipy.fft.ifft2(point.whitening * scipy.fft.fft2(self._contrast(v))).real * self.inside
        change = point.by_phase * phase + np.float32(self.unit * v[-1]) * point.by_log_kappa
        waves = scipy.fft.ifft2(self.transfer * scipy.fft.fft2(change))
        return self.read(2 * (point.waves.conj() * waves).real) * point.per_intensity

    def adjoint(self, point: _Point, amplitudes: np.ndarray) -> np.ndarray:
        """Adjoint of `forward`."""
        slopes = 2 * self.spread(amplitudes * point.per_intensity)
        back = scipy.fft.ifft2((self.transfer.conj() * scipy.fft.fft2(point.waves * slopes)).sum(0))
        phase = (back * point.by_phase.conj()).real * self.inside
        contrast = scipy.fft.ifft2(point.whitening * scipy.fft.fft2(phase)).real.astype(np.float64)
        return np.append(contrast, self.unit * float((back * point.by_log_kappa.conj()).real.sum(dtype=np.float64)))

    def evaluate(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        if abs(u[-1] - self.point.u[-1]) > MAX_LOG_STEP / self.unit or abs(u[-1]) > MAX_LOG_CHANGE / self.unit:
            return np.inf, u
        tried = self.at(u)
        prior = self._prior(u)
        value = 0.5 * float(np.sum(tried.residual**2, dtype=np.float64) + u @ prior)
        return value, self.adjoint(tried, tried.residual) + prior

    def product(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.adjoint(self.point, self.forward(self.point, v)) + self._prior(v)

    def _prior(self, v: np.ndarray) -> np.ndarray:
        """Product of the curvature of the added term with a change ``v`` of the unknowns."""
        spectrum = self.penalty * scipy.fft.fft2(self._contrast(v))
        return np.append(scipy.fft.ifft2(spectrum).real.astype(np.float64), 0.0)

    def prox(self, u: np.ndarray, step: float) -> np.ndarray:
        return u  # no proximal term

    def left_out(self, u: np.ndarray) -> float:
        return 0.0

    def descend(self, steps: int) -> float:
        """Take up to ``steps`` steps from `point`, or fewer once converged; returns the misfit."""
        state: dict[str, Any] = {}
        last = np.inf
        for _ in range(steps):
            step = SOLVER.iterate(self, self.point.u, state)
            moved = self.unit * abs(step.u[-1] - self.point.u[-1])
            self.point = self.at(step.u)
            if step.finished or (last - step.value < FALL * last and moved < LOG_STEP_TOLERANCE):
                return step.value
            last = step.value
        return last

    @property
    def found(self) -> Material:
        """The material at the current point."""
        return Material(self.point.phase.astype(np.float64), 1 / float(self.point.inverse_kappa))


def determines_kappa(series: Series) -> bool:
    """Whether there are several distances: at a single one, each kappa has a phase that fits."""
    return bool(np.ptp(series.distances_m) > 0)


def _field(series: Series) -> np.ndarray:
    """1 in the largest field of view, 0 outside."""
    inside = np.zeros(series.grid.window_px, np.float32)
    sizes = [int(np.ceil(n * series.pixel_ratios.max())) for n in series.measured.shape[1:]]
    edges = [(n - size) // 2 for n, size in zip(inside.shape, sizes, strict=True)]
    inside[tuple(slice(e, n - e) for e, n in zip(edges, inside.shape, strict=True))] = 1
    return inside


@lru_cache(maxsize=1)  # object and kappa of a run start from the same search
def find_material(dataset: Dataset, shape: tuple[int, ...], kappa: float, vacuum: bool) -> Material:
    """Phase on the object's grid and delta over beta, from the linear solutions for ``kappa`` and a tenth of it.

    The better one is followed to convergence: too large a kappa gives too strong a phase, from which the search may end
    in a local minimum. Holograms at one distance do not determine kappa, which then stays as it is.

    Args:
        dataset: Holograms of one angle, aligned.
        shape: (Y, X) of the object.
        kappa: Start value, correct within a factor of about ten.
        vacuum: Whether there is vacuum outside the largest field of view.

    Raises:
        ConfigError: Several angles, or an object of several slices.
    """
    series = series_of(dataset, shape)
    fits = [Fit(series, vacuum, start) for start in ((kappa, kappa / 10) if determines_kappa(series) else (kappa,))]
    best = min(fits, key=lambda fit: fit.descend(SCOUTING))
    best.descend(STEPS)
    found = best.found
    if fits[0].free:
        LOG.info("one material: kappa %.4g from %.4g", found.kappa, kappa)
    else:
        LOG.info("one material: kappa %.4g as given, which one distance does not determine", kappa)
    return found
