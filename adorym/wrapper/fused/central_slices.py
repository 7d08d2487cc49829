r"""Projections by the Fourier slice theorem, on uneven frequencies, with adjoints (needs ``finufft``, on the host).

For a pose :math:`r = M r' + t` the transform of the projection at :math:`k' = (k_y, k_x, 0)` is

.. math:: P(k') = e^{i\,k\cdot t}\, F(k), \qquad k = M k', \qquad F(k) = \sum_r f(r)\, e^{-i k\cdot r},

all places counted from the middle. F at these uneven frequencies is a transform of type 2, its adjoint one of type 1
(Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019)); its derivative by k is the transform of
:math:`-i r f`. While the volume turns about y alone, each row has a transform in two dimensions; else there is one in
three.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from adorym.errors import ConfigError
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.rays import Frame
from adorym.wrapper.host_operation import HostOperation

SINGLE_TOLERANCE = 1e-6  # below it rounding decides
# Grids within the transforms are this much finer: the least that the library knows, three times faster, to the accuracy
# that it reaches; else the library's own choice.
COARSE, COARSE_TOLERANCE = 1.25, 1e-5


def check_installed() -> None:
    """Raise a `ConfigError` where the library is missing."""
    if importlib.util.find_spec("finufft") is None:
        raise ConfigError(
            "projector", "the 'fourier' engine needs the package 'finufft', which is not installed",
            remedy="pip install finufft, or choose 'joseph'",
        )  # fmt: skip


@lru_cache(maxsize=1)
def _library() -> Any:
    return importlib.import_module("finufft")


def central_slices(
    xp: Backend, volume: Array, pose: tuple[Array, Array], frame: Frame, settings: tuple[float, float]
) -> Array:
    """Line integrals ``(a, y', x')`` of ``volume`` ``(y, x, z)`` for ``pose``: matrices and shifts.

    ``settings`` are the tolerance of the transforms and the period of the projection in detector widths.
    """
    return xp.host_operation(_CentralSlices(frame, *settings), volume, *pose)


class _CentralSlices(HostOperation):
    linear: ClassVar[bool] = True

    def __init__(self, frame: Frame, tolerance: float, oversampling: float) -> None:
        self.frame, self.tolerance, self.oversampling = frame, tolerance, oversampling

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        volume, matrices, shifts = arrays
        plan = _Plan(self, volume, matrices, shifts)
        return _as(plan.to_image(plan.slices(plan.given)), volume.dtype)

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        volume, matrices, shifts = arrays
        plan = _Plan(self, volume, matrices, shifts)
        g = plan.from_image(upstream.astype(plan.complex))
        g_volume = _as(plan.slices_adjoint(g), volume.dtype) if wanted[0] else None
        if not (wanted[1] or wanted[2]):
            return g_volume, None, None
        g_matrices, g_shifts = plan.geometry(g)
        return g_volume, g_matrices.astype(matrices.dtype), g_shifts.astype(shifts.dtype)


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.ascontiguousarray(values if dtype.kind == "c" else values.real, dtype=dtype)


class _Plan:
    """Frequencies and phases of one call; the arrays of slices are ``(row or nothing, angle, [k_y,] k_x)``."""

    def __init__(self, operation: _CentralSlices, volume: np.ndarray, matrices: np.ndarray, shifts: np.ndarray) -> None:
        frame = operation.frame
        single = volume.real.dtype == np.float32
        self.complex = np.dtype("complex64" if single else "complex128")
        self.level, self.tolerance = frame.level, max(operation.tolerance, SINGLE_TOLERANCE if single else 0.0)
        self.matrices, self.shifts = matrices.astype(np.float64), shifts.astype(np.float64)
        self.wanted = (frame.wanted, frame.width or volume.shape[1])
        finer = COARSE if self.tolerance >= COARSE_TOLERANCE else 0.0
        self._options = {"eps": self.tolerance, "modeord": 0, "upsampfac": finer}
        self.given = volume.astype(self.complex)
        self.axes = (1, 2) if self.level else (0, 1, 2)
        middles = [frame.rows[0] + (volume.shape[0] - 1) / 2, 0.0, 0.0]  # of what is given, from that of the whole
        self.offset = np.array([middles[a] + volume.shape[a] // 2 - (volume.shape[a] - 1) / 2 for a in self.axes])
        self.places = [np.arange(volume.shape[a]) - volume.shape[a] // 2 for a in self.axes]
        # The period is that of the whole, whichever rows are given: the slices do not depend on how rows are cut.
        tall = 2 * math.ceil(operation.oversampling * max(frame.height, frame.wanted) / 2)
        wide = 2 * math.ceil(operation.oversampling * max(volume.shape[1:] + self.wanted[1:]) / 2)
        self.k = [2 * np.pi * np.fft.fftfreq(n) for n in (tall, wide)]
        self.starts = [frame.rows[1], -(self.wanted[1] - 1) / 2]
        columns = self.matrices[:, :, 1][:, None, :] * self.k[1][:, None]
        if self.level:
            self.points = columns  # (a, kx, 3)
        else:
            self.points = columns[:, None] + (self.matrices[:, :, 0][:, None, :] * self.k[0][:, None])[:, :, None]
        phase = np.einsum("a...i,ai->a...", self.points, self.shifts)
        phase = phase - self.points[..., self.axes] @ self.offset
        y, x = (np.abs(k) < np.pi for k in self.k)  # the Nyquist frequencies stand for two directions: they are 0
        self.phase = np.exp(1j * phase) * (x if self.level else y[:, None] * x)

    def _flat_points(self) -> list[np.ndarray]:
        real = np.float32 if self.complex == np.complex64 else np.float64
        return [np.ascontiguousarray(self.points[..., a].reshape(-1), dtype=real) for a in self.axes]

    def slices(self, given: np.ndarray) -> np.ndarray:
        """Transform of ``given`` ``(y, x, z)`` at the points, phase included."""
        name = "nufft2d2" if self.level else "nufft3d2"
        found = getattr(_library(), name)(*self._flat_points(), given, isign=-1, **self._options)
        lead = given.shape[:1] if self.level else ()
        return found.reshape(*lead, *self.points.shape[:-1]) * self.phase

    def slices_adjoint(self, g: np.ndarray) -> np.ndarray:
        """Adjoint of `slices`, ``(y, x, z)``."""
        name = "nufft2d1" if self.level else "nufft3d1"
        values = (g * self.phase.conj()).astype(self.complex)
        values = values.reshape(len(values), -1) if self.level else values.reshape(-1)
        shape = tuple(len(p) for p in self.places)
        return getattr(_library(), name)(*self._flat_points(), values, shape, isign=1, **self._options)

    def to_image(self, spectra: np.ndarray) -> np.ndarray:
        """``(a, y', x')`` from slices: the inverse transform, of which the wanted part is cut out."""
        image = np.fft.ifft(spectra * np.exp(1j * self.k[1] * self.starts[1]), axis=-1)[..., : self.wanted[1]]
        if self.level:
            return np.moveaxis(image, 0, 1)
        return np.fft.ifft(image * np.exp(1j * self.k[0] * self.starts[0])[:, None], axis=-2)[:, : self.wanted[0]]

    def from_image(self, g: np.ndarray) -> np.ndarray:
        """Adjoint of `to_image`."""
        n_y, n_x = len(self.k[0]), len(self.k[1])
        if self.level:
            spectra = np.moveaxis(g, 1, 0)
        else:
            spectra = np.fft.fft(g, n_y, axis=-2) / n_y * np.exp(-1j * self.k[0] * self.starts[0])[:, None]
        return np.fft.fft(spectra, n_x, axis=-1) / n_x * np.exp(-1j * self.k[1] * self.starts[1])

    def geometry(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients by matrices and shifts from that of the slices."""
        rows = (0,) if self.level else ()
        pull = g.conj() * 1j * self.slices(self.given)
        pull = pull.sum(rows).real if rows else pull.real
        by_point = np.zeros(self.points.shape)
        for number, axis in enumerate(self.axes):
            shape = [-1 if a == axis else 1 for a in range(3)]
            place = (self.places[number] + self.offset[number]).reshape(shape)
            slope = (g.conj() * self.slices((-1j * place * self.given).astype(self.complex))).real
            by_point[..., axis] = slope.sum(rows) if rows else slope
        by_point += pull[..., None] * self.shifts.reshape(len(self.shifts), *(1,) * (self.points.ndim - 2), 3)
        g_shifts = (pull[..., None] * self.points).sum(tuple(range(1, self.points.ndim - 1)))
        g_matrices = np.zeros_like(self.matrices)
        g_matrices[:, :, 1] = (by_point * self.k[1][:, None]).sum(tuple(range(1, by_point.ndim - 1)))
        if not self.level:
            g_matrices[:, :, 0] = np.einsum("ayxi,y->ai", by_point, self.k[0])
        return g_matrices, g_shifts
