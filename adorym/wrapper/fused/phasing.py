"""Projections of iterative phasing in one pass over memory."""

from __future__ import annotations

import numpy as np

from adorym.wrapper import fused
from adorym.wrapper.base import Array, Backend


def with_modulus(xp: Backend, wave: Array, modulus: Array, good: Array | None, tiny: float) -> Array:
    r"""``wave`` with the measured modulus, :math:`M \psi / \sqrt{|\psi|^2 + \epsilon}`, where ``good``.

    On the host by one compiled loop, in place where that is allowed; elsewhere the plain expression.

    Args:
        xp: Backend.
        wave: ``(n, z, y, x)`` complex.
        modulus: ``(z, y, x)`` real.
        good: Bool of that shape; elsewhere the wave stays. ``None`` if all are good.
        tiny: The small :math:`\epsilon`.
    """
    if xp.on_host and modulus.shape == wave.shape[1:]:
        held = np.require(xp.to_numpy(wave), requirements=["C", "W"])
        real = held.real.dtype
        where = np.ones(0, bool) if good is None else np.ascontiguousarray(xp.to_numpy(good)).reshape(-1)
        measured = np.ascontiguousarray(xp.to_numpy(modulus), real).reshape(-1)
        fused.kernels.set_modulus(held.reshape(len(held), -1).view(real), measured, where, real.type(tiny))
        return wave if np.may_share_memory(xp.to_numpy(wave), held) else xp.asarray(held, exact=True)
    factor = modulus / xp.sqrt(xp.abs2(wave) + tiny)
    return wave * (factor if good is None else xp.where(good, factor, 0 * factor + 1))


def relaxed(xp: Backend, support: Array, found: Array, before: Array, parts: tuple[float, float]) -> Array:
    """``found`` within ``support``, ``a before + b found`` outside, for ``parts = (a, b)``.

    On the host by one compiled loop; elsewhere the plain expression.

    Args:
        xp: Backend.
        support: Bool.
        found: Complex, of the same shape.
        before: Complex, of the same shape.
        parts: Real factors.
    """
    if xp.on_host and found.dtype == before.dtype and support.shape == found.shape == before.shape:
        new, old = (np.ascontiguousarray(xp.to_numpy(a)) for a in (found, before))
        inside, made = np.ascontiguousarray(xp.to_numpy(support)).reshape(-1), np.empty_like(new)
        real = new.real.dtype
        views = [a.reshape(-1).view(real) for a in (new, old, made)]
        fused.kernels.relax(views[0], views[1], inside, tuple(real.type(part) for part in parts), views[2])
        return xp.asarray(made, exact=True)
    return xp.where(support, found, parts[0] * before + parts[1] * found)
