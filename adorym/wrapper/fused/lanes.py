"""Vectors of numbers in compiled loops: what a compiler does not vectorize by itself.

Arrays are flat and real; complex ones come as two, real and imaginary parts. ``at`` is the index of a vector's first
number. Butterflies work on vectors that lie ``step`` numbers apart, in place: a compiler cannot see that these do not
overlap, and so would take one number at a time. These are written in its own language instead (LLVM, which spreads
a vector over whatever registers the machine has).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

# As many as fill one or two registers: more, and the numbers of a butterfly no longer find room. Asked of what numba
# compiles for, which is part of the key of its cache: machines that share one never mix the two.
LANES = 16 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else 8
RADICES = (4, 2, 3, 5, 7)

_Value = Any  # of LLVM
# No ``nnan``, so a not-a-number in the data is seen by the caller.
FAST = ("contract", "nsz", "arcp", "reassoc")


class _Complex(NamedTuple):
    re: _Value
    im: _Value


class _Lanes:
    """Arithmetic of vectors while the code of a function is made."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.arrays: list[Any] = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else None
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self.data = [None if array is None else array.data for array in self.arrays]
        number = signature.args[0].dtype
        for kind in signature.args:
            if isinstance(kind, types.Array) and (kind.layout != "C" or kind.dtype not in (number, types.int64)):
                raise TypeError(f"vectors of {kind} beside {number}: expected contiguous arrays of one type")
        self.number = context.get_value_type(number)
        self.bytes = number.bitwidth // 8
        self.vector = ir.VectorType(self.number, LANES)

    def index(self, at: _Value, more: int, step: _Value) -> _Value:
        """``at + more step``."""
        return self.builder.add(at, self.builder.mul(step, ir.Constant(step.type, more)))

    def _place(self, array: int, at: _Value, width: int) -> _Value:
        kind = ir.VectorType(self.number, width)
        return self.builder.bitcast(self.builder.gep(self.data[array], [at]), kind.as_pointer())

    def load(self, array: int, at: _Value, width: int = LANES) -> _Value:
        found = self.builder.load(self._place(array, at, width))
        found.align = self.bytes
        return found

    def store(self, vector: _Value, array: int, at: _Value) -> None:
        width = vector.type.count
        self.builder.store(vector, self._place(array, at, width)).align = self.bytes

    def pair(self, array: int, at: _Value) -> tuple[_Value, _Value]:
        """Where real and imaginary parts are in an array ``(2, size)``."""
        size = cgutils.unpack_tuple(self.builder, self.arrays[array].shape)[1]
        return at, self.builder.add(at, size)

    def load_pair(self, array: int, at: _Value) -> _Complex:
        return _Complex(*(self.load(array, place) for place in self.pair(array, at)))

    def store_pair(self, vectors: _Complex, array: int, at: _Value) -> None:
        for vector, place in zip(vectors, self.pair(array, at), strict=True):
            self.store(vector, array, place)

    def number_at(self, array: int, at: _Value) -> _Value:
        return self.builder.load(self.builder.gep(self.data[array], [at]))

    def shuffle(self, a: _Value, b: _Value, chosen: list[int]) -> _Value:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)
        return self.builder.shuffle_vector(a, b, mask)

    def everywhere(self, number: _Value) -> _Value:
        """A vector of one number."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
        return self.shuffle(first, empty, [0] * LANES)

    def plus(self, a: _Value, b: _Value) -> _Value:
        return self.builder.fadd(a, b, flags=FAST)

    def minus(self, a: _Value, b: _Value) -> _Value:
        return self.builder.fsub(a, b, flags=FAST)

    def times(self, a: _Value, b: _Value | float) -> _Value:
        if isinstance(b, float):
            b = ir.Constant(self.vector, [b] * LANES)
        return self.builder.fmul(a, b, flags=FAST)

    def rotated(self, a: _Complex, c: _Value, s: _Value) -> _Complex:
        """``a (c + i s)``."""
        re = self.minus(self.times(a.re, c), self.times(a.im, s))
        return _Complex(re, self.plus(self.times(a.re, s), self.times(a.im, c)))

    def multiplied(self, a: _Complex, b: _Complex, conjugate: bool) -> _Complex:
        """``a b``, or ``conj(a) b``."""
        if conjugate:
            re = self.plus(self.times(a.re, b.re), self.times(a.im, b.im))
            return _Complex(re, self.minus(self.times(a.re, b.im), self.times(a.im, b.re)))
        return self.rotated(b, a.re, a.im)

    def add(self, a: _Complex, b: _Complex) -> _Complex:
        return _Complex(self.plus(a.re, b.re), self.plus(a.im, b.im))

    def subtract(self, a: _Complex, b: _Complex) -> _Complex:
        return _Complex(self.minus(a.re, b.re), self.minus(a.im, b.im))

    def scaled_sum(self, total: _Complex, a: _Complex, factor: float) -> _Complex:
        """``total + factor a``, without a multiplication where the factor is 0, 1 or -1."""
        if abs(factor) < 1e-12:
            return total
        if abs(abs(factor) - 1) < 1e-12:
            return self.add(total, a) if factor > 0 else self.subtract(total, a)
        return self.add(total, _Complex(self.times(a.re, factor), self.times(a.im, factor)))

    def twiddled(self, x: list[_Complex], first: _Value, conjugate: bool) -> list[_Complex]:
        """All but the first times the numbers from ``first`` on in the fourth array."""
        unit = ir.Constant(first.type, 1)
        factors = [self.everywhere(self.number_at(4, self.index(first, n, unit))) for n in range(2 * len(x) - 2)]
        pairs = (_Complex(*pair) for pair in zip(factors[::2], factors[1::2], strict=True))
        return [x[0], *(self.multiplied(w, a, conjugate) for a, w in zip(x[1:], pairs, strict=True))]

    def transform(self, x: list[_Complex], sign: int) -> list[_Complex]:
        r"""``out[k] = \sum_q x[q] exp(2 pi i sign q k / r)``, each sum and difference of two inputs made once."""
        r = len(x)
        half = range(1, (r + 1) // 2)
        sums = {q: self.add(x[q], x[r - q]) for q in half}
        differences = {q: self.subtract(x[q], x[r - q]) for q in half}
        middle = r // 2 if r % 2 == 0 else 0
        begins = [x[0], x[0]]  # of even and odd k
        if middle:
            begins = [self.add(x[0], x[middle]), self.subtract(x[0], x[middle])]
        zero = ir.Constant(self.vector, [0.0] * LANES)
        out: list[Any] = [None] * r
        for k in range(r // 2 + 1):
            even, odd = begins[k % 2], _Complex(zero, zero)
            for q in half:
                even = self.scaled_sum(even, sums[q], math.cos(2 * math.pi * q * k / r))
                odd = self.scaled_sum(odd, differences[q], sign * math.sin(2 * math.pi * q * k / r))
            turned = _Complex(self.minus(zero, odd.im), odd.re)  # times i
            out[k] = self.add(even, turned)
            out[-k] = self.subtract(even, turned)
        return out


def butterfly(radix: int, inverse: bool, turned: bool = True) -> Callable[..., None]:
    """One butterfly of a transform, in place: ``f(re, im, at, step, twiddles, first)``.

    Vectors ``q = 0 ... radix - 1`` at ``at + q step`` become their sums with ``exp(-2 pi i q k / radix)``, those with
    k > 0 then times the twiddle factors ``twiddles[first:]`` ``(c_1, s_1, c_2, s_2, ...)``, unless not ``turned``:
    where these are ones. The inverse is the adjoint of that.
    """

    @intrinsic
    def one(typingctx: Any, re: Any, im: Any, at: Any, step: Any, twiddles: Any, first: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = _Lanes(context, builder, signature, arguments)
            at, step, first = arguments[2], arguments[3], arguments[5]
            places = [lanes.index(at, q, step) for q in range(radix)]
            x = [_Complex(lanes.load(0, place), lanes.load(1, place)) for place in places]
            if turned and inverse:
                x = lanes.transform(lanes.twiddled(x, first, conjugate=True), 1)
            elif turned:
                x = lanes.twiddled(lanes.transform(x, -1), first, conjugate=False)
            else:
                x = lanes.transform(x, 1 if inverse else -1)
            for a, place in zip(x, places, strict=True):
                lanes.store(a.re, 0, place)
                lanes.store(a.im, 1, place)
            return context.get_dummy_value()

        return types.void(re, im, types.intp, types.intp, twiddles, types.intp), codegen

    return one


@intrinsic
def transpose(typingctx: Any, source: Any, at: Any, table: Any, first: Any, target: Any, to: Any, start: Any) -> Any:
    """Vectors of ``source`` at ``at + table[first + r]`` become columns, at ``to + table[start + c]`` of ``target``."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _Lanes(context, builder, signature, arguments)
        at, first, to, start = (arguments[k] for k in (1, 3, 5, 6))
        unit = ir.Constant(first.type, 1)

        def place(base: Any, begin: Any, r: int) -> Any:
            return builder.add(base, lanes.number_at(2, lanes.index(begin, r, unit)))

        block = [lanes.load(0, place(at, first, r)) for r in range(LANES)]
        bit = 1
        while bit < LANES:  # exchanges one bit of the row's number with that of the column's
            low = [c if not c & bit else LANES + (c ^ bit) for c in range(LANES)]
            high = [c | bit if not c & bit else LANES + c for c in range(LANES)]
            pairs = {r: (block[r & ~bit], block[r | bit]) for r in range(LANES)}
            block = [lanes.shuffle(*pairs[r], high if r & bit else low) for r in range(LANES)]
            bit *= 2
        for c in range(LANES):
            lanes.store(block[c], 4, place(to, start, c))
        return context.get_dummy_value()

    size = types.intp
    return types.void(source, size, table, size, target, size, size), codegen


@intrinsic
def split(typingctx: Any, source: Any, at: Any, re: Any, im: Any, to: Any) -> Any:
    """`LANES` complex numbers, real and imaginary parts in turn, to their parts."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _Lanes(context, builder, signature, arguments)
        both = lanes.load(0, arguments[1], 2 * LANES)
        for part, array in ((0, 2), (1, 3)):
            lanes.store(lanes.shuffle(both, both, list(range(part, 2 * LANES, 2))), array, arguments[4])
        return context.get_dummy_value()

    return types.void(source, types.intp, re, im, types.intp), codegen


@intrinsic
def join(typingctx: Any, re: Any, im: Any, at: Any, target: Any, to: Any) -> Any:
    """The inverse of `split`, and its adjoint."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _Lanes(context, builder, signature, arguments)
        parts = lanes.load(0, arguments[2]), lanes.load(1, arguments[2])
        lanes.store(lanes.shuffle(*parts, [n // 2 + LANES * (n % 2) for n in range(2 * LANES)]), 3, arguments[4])
        return context.get_dummy_value()

    return types.void(re, im, types.intp, target, types.intp), codegen


@intrinsic
def outer(typingctx: Any, a: Any, at: Any, factors: Any, k: Any, out: Any, to: Any) -> Any:
    """Complex numbers of ``a`` ``(2, size)`` times a single one, ``factors[k] + i factors[k + 1]``."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _Lanes(context, builder, signature, arguments)
        k = arguments[3]
        factor = (lanes.everywhere(lanes.number_at(2, lanes.index(k, n, ir.Constant(k.type, 1)))) for n in (0, 1))
        lanes.store_pair(lanes.multiplied(_Complex(*factor), lanes.load_pair(0, arguments[1]), False), 4, arguments[5])
        return context.get_dummy_value()

    return types.void(a, types.intp, factors, types.intp, out, types.intp), codegen


def _product(conjugate: bool, added: bool) -> Callable[..., None]:
    """``f(a, b, out, at)``: `LANES` products of complex arrays ``(2, size)``, for one of ``a b``, ``conj(a) b``."""

    @intrinsic
    def one(typingctx: Any, a: Any, b: Any, out: Any, at: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = _Lanes(context, builder, signature, arguments)
            at = arguments[3]
            found = lanes.multiplied(lanes.load_pair(0, at), lanes.load_pair(1, at), conjugate)
            if added:
                found = lanes.add(lanes.load_pair(2, at), found)
            lanes.store_pair(found, 2, at)
            return context.get_dummy_value()

        return types.void(a, b, out, types.intp), codegen

    return one


product = _product(conjugate=False, added=False)
adjoint_product = _product(conjugate=True, added=False)
add_adjoint_product = _product(conjugate=True, added=True)
