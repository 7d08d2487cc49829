"""Products of complex numbers in two parts, ``(2, size)`` real, in compiled loops."""

from __future__ import annotations

import numpy as np

from adorym.wrapper.fused.kernels import _jit
from adorym.wrapper.fused.lanes import LANES, add_adjoint_product, adjoint_product, product

# So many numbers are added up in their own precision, these sums in double precision.
LINE = 512


@_jit
def copy(a: np.ndarray, out: np.ndarray) -> None:
    """``out = a``, both ``(2, size)``."""
    for part in range(2):
        given, made = a[part], out[part]
        for k in range(made.size):
            made[k] = given[k]


@_jit
def add(a: np.ndarray, out: np.ndarray) -> None:
    """``out += a``, both flat."""
    for k in range(out.size):
        out[k] += a[k]


@_jit
def add_power(re: np.ndarray, im: np.ndarray, factor: float, out: np.ndarray) -> None:
    """``out += factor |re + i im|^2``."""
    for k in range(out.size):
        out[k] += factor * (re[k] * re[k] + im[k] * im[k])


@_jit
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out = a b``."""
    for at in range(0, out.shape[1], LANES):
        product(a, b, out, at)


@_jit
def multiply_conj(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out = conj(a) b``."""
    for at in range(0, out.shape[1], LANES):
        adjoint_product(a, b, out, at)


@_jit
def add_conj(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out += conj(a) b``."""
    for at in range(0, out.shape[1], LANES):
        add_adjoint_product(a, b, out, at)


@_jit
def add_both(probe: np.ndarray, obj: np.ndarray, g: np.ndarray, g_obj: np.ndarray, g_probe: np.ndarray) -> None:
    """Adds ``conj(probe) g`` to ``g_obj`` and ``conj(obj) g`` to ``g_probe``."""
    for at in range(0, g.shape[1], LANES):
        add_adjoint_product(probe, g, g_obj, at)
        add_adjoint_product(obj, g, g_probe, at)


@_jit
def pass_back(probe: np.ndarray, obj: np.ndarray, g: np.ndarray, g_obj: np.ndarray) -> None:
    """Adds ``conj(probe) g`` to ``g_obj``; ``conj(obj) g`` replaces ``g``."""
    for at in range(0, g.shape[1], LANES):
        add_adjoint_product(probe, g, g_obj, at)
        adjoint_product(obj, g, g, at)


@_jit
def times_i(a: np.ndarray, rate: np.ndarray, size: float, out: np.ndarray) -> None:
    """``out = i size rate a``."""
    a_re, a_im, re, im = a[0], a[1], out[0], out[1]
    for k in range(re.size):
        c = size * rate[k]
        x = -c * a_im[k]
        im[k] = c * a_re[k]
        re[k] = x


@_jit
def moment(a: np.ndarray, b: np.ndarray, f: np.ndarray) -> float:
    """``sum f Im(conj(a) b)``."""
    total = 0.0
    for first in range(0, f.size, LINE):
        last = min(first + LINE, f.size)
        a_re, a_im, b_re, b_im = a[0, first:last], a[1, first:last], b[0, first:last], b[1, first:last]
        weight, part = f[first:last], f[0] * 0
        for k in range(weight.size):
            part += weight[k] * (a_re[k] * b_im[k] - a_im[k] * b_re[k])
        total += part
    return total
