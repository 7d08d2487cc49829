"""The preconditioned step in one pass over memory."""

from __future__ import annotations

import numpy as np

from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused import kernels


def preconditioned_step(
    xp: Backend, value: Array, gradient: Array, curvature: Array, sizes: tuple[float, float, float]
) -> Array:
    """``value - rate gradient / (keep curvature + floor)`` with ``sizes = (rate, keep, floor)``.

    On the host, arrays of equal pixel count are stepped in place by one compiled loop; elsewhere the plain expression.
    """
    rate, keep, floor = sizes
    if xp.on_host and curvature.shape == value.shape:
        arrays = [xp.to_numpy(a) for a in (value, gradient)]
        if all(a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays):
            real = arrays[0].real.dtype
            flat = (a.reshape(-1).view(real) for a in arrays)
            c = np.ascontiguousarray(xp.to_numpy(curvature), dtype=real).reshape(-1)
            kernels.preconditioned_step(*flat, c, real.type(rate), real.type(keep), real.type(floor))
            return value
    return value - gradient * (rate / (keep * curvature + floor))
