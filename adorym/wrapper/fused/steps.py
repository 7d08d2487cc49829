"""Steps of optimizers in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable
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
    if xp.on_host and curvature.shape == value.shape:
        held = _held(xp, [value, gradient, *state])
        if held is not None:
            views, back = held
            real = views[0].dtype
            c = np.require(xp.to_numpy(curvature), real, ["C", "W"]).reshape(-1)
            velocity = views[2] if state else views[0][:0]
            fused.kernels.preconditioned_step(views[0], views[1], velocity, c, tuple(real.type(s) for s in (*sizes, 1)))
            stepped = back()
            return stepped[0], tuple(stepped[2:])
    move = gradient * (sizes.rate / (sizes.keep * curvature + sizes.floor))
    if not state:
        return value - move, ()
    seen = xp.minimum(curvature / sizes.unseen, 1.0)
    velocity = (1 - seen * (1 - sizes.momentum)) * state[0] + move
    return value - (sizes.momentum * seen * velocity + move), (velocity,)


def adam_step(
    xp: Backend, arrays: tuple[Array, Array, Array, Array], rows: Array, sizes: tuple[float, ...]
) -> tuple[Array, Array, Array] | None:
    """``(value, mean, square)`` after a step of Adam by one compiled loop on the host, in place where that is allowed.

    ``None`` for arrays that are not alike in memory.

    Args:
        xp: Backend.
        arrays: Value, gradient, running mean and running mean square.
        rows: ``(rows, 2)`` learning rate over the bias of the mean, and 1 over that of the mean square.
        sizes: What is kept of the mean and what is new, the same of the mean square, and epsilon.
    """
    held = _held(xp, list(arrays))
    if held is None or not len(arrays[0].shape):
        return None
    views, back = held
    real = views[0].dtype
    factors = np.ascontiguousarray(xp.to_numpy(rows), real).reshape(-1, 2)
    fused.kernels.adam_step(*views, factors, tuple(real.type(size) for size in sizes))
    value, _, mean, square = back()
    return value, mean, square


def _held(xp: Backend, arrays: list[Array]) -> tuple[list[np.ndarray], Callable[[], list[Array]]] | None:
    """Flat real views of arrays of one type and size, to be changed in place, and what brings them back.

    ``None`` if they are not contiguous, or not of one type.
    """
    flat = [xp.to_numpy(a) for a in arrays]
    if not all(a.flags.c_contiguous and a.dtype == flat[0].dtype for a in flat):
        return None
    writable = [np.require(a, requirements="W") for a in flat]

    def back() -> list[Array]:
        # A copy goes back to the backend. A view must not: each would hold the one it was made from, without end.
        return [
            a if np.may_share_memory(xp.to_numpy(a), made) else xp.asarray(made, exact=True)
            for a, made in zip(arrays, writable, strict=True)
        ]

    return [a.reshape(-1).view(flat[0].real.dtype) for a in writable], back
