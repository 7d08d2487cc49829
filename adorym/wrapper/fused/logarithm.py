r"""The natural logarithm in a form that a compiler makes a vector of: calls of the library's are one number at a time.

With :math:`x = 2^e m`, :math:`\sqrt{1/2} \le m < \sqrt 2` and :math:`s = (m - 1)/(m + 1)`, it is
:math:`e \ln 2 + 2 (s + s^3/3 + s^5/5 + \dots)`, as :math:`|s| < 0.172` with a few terms.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Of each precision: the type of its bits, how many are of the mantissa, and terms of the series after the first.
_SINGLE = (ir.IntType(32), 23, 5, struct.unpack("<i", struct.pack("<f", math.sqrt(0.5)))[0])
_DOUBLE = (ir.IntType(64), 52, 11, struct.unpack("<q", struct.pack("<d", math.sqrt(0.5)))[0])


def _logarithm(builder: Any, x: Any, precision: tuple[ir.IntType, int, int, int]) -> Any:
    whole, mantissa, terms, root = precision
    real = x.type
    bits = builder.bitcast(x, whole)
    exponent = builder.ashr(builder.sub(bits, ir.Constant(whole, root)), ir.Constant(whole, mantissa))
    m = builder.bitcast(builder.sub(bits, builder.shl(exponent, ir.Constant(whole, mantissa))), real)
    e = builder.sitofp(builder.trunc(exponent, ir.IntType(32)) if mantissa > 23 else exponent, real)
    one = ir.Constant(real, 1.0)
    s = builder.fdiv(builder.fsub(m, one), builder.fadd(m, one))
    square, series = builder.fmul(s, s), ir.Constant(real, 2 / (2 * terms + 1))
    for n in reversed(range(terms)):
        series = builder.fadd(builder.fmul(series, square), ir.Constant(real, 2 / (2 * n + 1)))
    found = builder.fadd(builder.fmul(e, ir.Constant(real, math.log(2))), builder.fmul(s, series))
    found = builder.select(builder.fcmp_ordered("<", x, ir.Constant(real, math.inf)), found, x)
    zero = ir.Constant(real, 0.0)
    of_zero = ir.Constant(real, -math.inf)
    below = builder.select(builder.fcmp_ordered("==", x, zero), of_zero, ir.Constant(real, math.nan))
    return builder.select(builder.fcmp_ordered(">", x, zero), found, below)


@intrinsic
def logarithm(typingctx: Any, x: Any) -> Any:
    """``log x`` of a float32 or float64, to two units in the last place where x is a normal number."""
    if x not in (types.float32, types.float64):
        return None

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _logarithm(builder, arguments[0], _SINGLE if signature.return_type == types.float32 else _DOUBLE)

    return x(x), code
