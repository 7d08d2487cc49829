"""A complex array times a real one, without making a complex one of that first."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.host_operation import HostOperation


def scaled(xp: Backend, a: Array, factor: Array) -> Array:
    """``a factor``: complex, and real; by one compiled loop on the host if their shapes are equal."""
    alike = a.shape == factor.shape and xp.is_complex(a) and not xp.is_complex(factor)
    return xp.host_operation(Scaled(), a, factor) if xp.on_host and alike else a * factor


class Scaled(HostOperation):
    """``(a complex, factor real) -> a factor``, of one shape and precision."""

    linear: ClassVar[bool] = True

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        a, factor = map(np.ascontiguousarray, arrays)
        made = np.empty_like(a)
        real = a.real.dtype
        views = (each.reshape(-1).view(real) for each in (a, made))
        fused.kernels.scale(*views, factor.astype(real, copy=False).reshape(-1))
        return made

    def adjoint(
        self, upstream: np.ndarray, arrays: tuple[np.ndarray, ...], wanted: tuple[bool, ...]
    ) -> tuple[np.ndarray | None, ...]:
        a, factor = arrays
        by_factor = (upstream * a.conj()).real.astype(factor.dtype, copy=False) if wanted[1] else None
        return self.forward(upstream, factor) if wanted[0] else None, by_factor
