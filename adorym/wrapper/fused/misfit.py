r"""The loss of a batch in one pass, with its gradient, in place of one operation of the graph for each of its parts.

For intensities :math:`\partial L/\partial I = w\,\ell'(I)`, for a wave whose intensity is measured
:math:`2\,w\,\ell'(|\psi|^2 + b)\,\psi`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.fused.noise import FusedNoise
from adorym.wrapper.host_operation import HostOperation


@dataclass(frozen=True)
class Seen:
    """What was measured, and how it is compared.

    Attributes:
        target: ``(n, y, x)`` what the loss compares with, the floor added.
        mask: ``(1 or n, y, x)`` weights of the pixels, or ``None``.
        noise: The loss.
        floor: Added to the intensities.
    """

    target: np.ndarray
    mask: np.ndarray | None
    noise: FusedNoise
    floor: float

    def arrays(self, real: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Targets and weights in the type ``real``; weights of no pixels if there is no mask."""
        mask = np.zeros((1, 0, 0), real) if self.mask is None else np.ascontiguousarray(self.mask, real)
        return np.ascontiguousarray(self.target, real), mask

    def numbers(self, real: np.dtype) -> tuple[tuple, np.floating]:
        """What `pixel_losses` needs of the loss, and the floor, in the type ``real``."""
        kind = (self.noise.code, real.type(self.noise.shape), real.type(self.noise.saturated))
        return kind, real.type(self.floor)


class Misfit(HostOperation):
    """``intensities (n, y, x) -> loss ()``, summed over all pixels; for one call."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        intensity = np.ascontiguousarray(arrays[0])
        self.slope = np.empty_like(intensity)
        measured, (noise, floor) = self.seen.arrays(intensity.dtype), self.seen.numbers(intensity.dtype)
        loss = fused.misfit_kernels.of_intensities(intensity, *measured, noise, floor, self.slope)
        return np.array(loss, intensity.dtype)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        return (self.slope * np.asarray(upstream, self.slope.dtype),)


class WaveMisfit(HostOperation):
    """``(wave (y, x, z) complex, background (1,)) -> loss ()`` of some frames ``(y, x)`` of a wave; for one call.

    Args:
        seen: The measured frames.
        rows: ``(n,)`` at which z they are.
    """

    def __init__(self, seen: Seen, rows: np.ndarray) -> None:
        self.seen, self.rows = seen, np.ascontiguousarray(rows, np.int64)

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        wave = np.ascontiguousarray(arrays[0])
        if wave.shape[:2] != self.seen.target.shape[1:]:
            raise ValueError(f"frames of {self.seen.target.shape[1:]} pixels across a wave of {wave.shape[:2]}")
        real = wave.real.dtype
        self.gradient = np.empty_like(wave)
        measured, (noise, floor) = self.seen.arrays(real), self.seen.numbers(real)
        views, background = (a.view(real) for a in (wave, self.gradient)), real.type(arrays[1][0])
        given, made = views
        loss, self.slope = fused.misfit_kernels.of_wave(given, self.rows, measured, noise, floor, background, made)
        return np.array(loss, real)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        gradient = self.gradient * np.asarray(upstream, self.gradient.real.dtype)
        return gradient, np.full(arrays[1].shape, self.slope * np.ravel(upstream)[0], arrays[1].dtype)
