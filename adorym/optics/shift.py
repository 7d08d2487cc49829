r"""Shifting a wave by a fraction of a pixel.

.. math:: (\mathcal S_{d}\,a)(r) = \mathcal F^{-1}\big[e^{-2\pi i (k_y d_y + k_x d_x)}\,\mathcal F a\big],
          \qquad k = \mathrm{fftfreq}(N)

moves ``a`` towards larger indices by d pixels, periodically, and by whole pixels exactly as a roll does.

**The Nyquist frequency.** On an axis of even length the frequency -1/2 stands for +1/2 too. It is treated as -1/2, so
its factor is :math:`e^{+i\pi d}` and not the average :math:`\cos \pi d` of both. Every factor then has modulus one:
shifts conserve energy, add up (:math:`\mathcal S_c \mathcal S_d = \mathcal S_{c+d}`), and the adjoint of a shift by d
is the shift by -d exactly. The price is that a real array with contrast at the Nyquist frequency turns slightly
complex; probes are complex anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adorym.wrapper.base import Array, Backend


def shift_kernel(xp: Backend, window_px: tuple[int, int], shift_px: Any) -> Array:
    """``exp(-2 pi i (k_y d_y + k_x d_x))`` ``(..., y, x)`` complex for shifts ``shift_px`` ``(..., 2)`` (y, x).

    Made from one vector an axis, so that it costs ``n (y + x)`` exponentials and not ``n y x``.
    """
    shift = _as_array(xp, shift_px)
    return _ramp(xp, window_px[0], shift[..., 0])[..., :, None] * _ramp(xp, window_px[1], shift[..., 1])[..., None, :]


def fourier_shift(xp: Backend, a: Array, shift_px: Any) -> Array:
    """``a`` shifted by each of ``shift_px``; differentiable in both.

    Args:
        xp: Backend.
        a: ``(..., y, x)`` complex, such as probe modes ``(m, y, x)``.
        shift_px: ``(n, 2)`` (y, x) shifts in pixels, or ``(2,)`` for one shift.

    Returns:
        ``(n, ..., y, x)`` complex, or the shape of ``a`` for one shift.
    """
    kernel = shift_kernel(xp, a.shape[-2:], shift_px)
    between = (1,) * (len(a.shape) - 2)
    kernel = xp.reshape(kernel, (*kernel.shape[:-2], *between, *kernel.shape[-2:]))
    return xp.ifft2(xp.fft2(a) * kernel)


def shifted_modes(xp: Backend, modes: Array, shift_px: Array) -> Array:
    """``(n, m, y, x)`` modes at each pattern, from those of all ``(m, y, x)`` or of each ``(n, m, y, x)``.

    Args:
        xp: Backend.
        modes: Complex.
        shift_px: ``(n, 2)`` (y, x) shift of each pattern in pixels.
    """
    return xp.ifft2(xp.fft2(modes) * shift_kernel(xp, tuple(modes.shape[-2:]), shift_px)[:, None])


def _ramp(xp: Backend, n: int, shift: Array) -> Array:
    phase = shift[..., None] * xp.asarray(2 * np.pi * np.fft.fftfreq(n))
    return xp.complex(xp.cos(phase), -xp.sin(phase))


def _as_array(xp: Backend, shift_px: Any) -> Array:
    # Only what is outside the graph may be converted: a traced array is in the backend's precision already.
    return xp.asarray(np.asarray(shift_px, float)) if isinstance(shift_px, (list, tuple, np.ndarray)) else shift_px
