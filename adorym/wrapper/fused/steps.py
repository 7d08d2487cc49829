"""The preconditioned step in one pass over memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Array, Backend


class StepSizes(NamedTuple):
    """The numbers of a preconditioned step: ``u = rate gradient / (keep curvature + floor)``, and its momentum.

    A batch does not see a pixel whose curvature is far below ``unseen``.
    """

    rate: float
    keep: float
    floor: float
    momentum: float = 0.0
    unseen: float = 1.0


def preconditioned_step(
    xp: Backend, value: Array, gradient: Array, curvature: Array, state: tuple[Array, ...], sizes: StepSizes
) -> tuple[Array, tuple[Array, ...]]:
    """``(value - u, ())``, or with a velocity v as state ``(value - s m v' - u, (v',))``.

    There ``v' = (1 - s (1 - m)) v + u`` with the momentum m, and ``s = min(1, curvature / unseen)`` is zero where the
    batch does not see the pixel. A velocity would carry on unchecked there, so it rests until the pixel is seen again.

    On the host, arrays of equal pixel count are stepped by one compiled loop, in place where that is allowed; elsewhere
    the plain expression.
    """
    arrays = [value, gradient, *state]
    if xp.on_host and curvature.shape == value.shape:
        flat = [xp.to_numpy(a) for a in arrays]
        if all(a.flags.c_contiguous and a.dtype == flat[0].dtype for a in flat):
            real = flat[0].real.dtype
            writable = [np.require(a, requirements="W") for a in flat]
            views = [a.reshape(-1).view(real) for a in writable]
            c = np.require(xp.to_numpy(curvature), real, ["C", "W"]).reshape(-1)
            fused.kernels.preconditioned_step(
                views[0], views[1], views[2] if state else views[0][:0], c, tuple(real.type(s) for s in (*sizes, 1))
            )
            # A copy goes back to the backend. A view must not: each would hold the one it was made from, without end.
            pairs = zip(arrays, flat, writable, strict=True)
            stepped = [a if own is made else xp.asarray(made, exact=True) for a, own, made in pairs]
            return stepped[0], tuple(stepped[2:])
    move = gradient * (sizes.rate / (sizes.keep * curvature + sizes.floor))
    if not state:
        return value - move, ()
    seen = xp.minimum(curvature / sizes.unseen, 1.0)
    velocity = (1 - seen * (1 - sizes.momentum)) * state[0] + move
    return value - (sizes.momentum * seen * velocity + move), (velocity,)
