"""The vector of all unknowns that solvers work on; its part for the object is in the object's store."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from adorym.storage.base import LikeObject, ObjectStore
from adorym.wrapper.base import Array


class StoreVector:
    """Real numbers, two for a complex value; every operation makes a new vector.

    Operations are collective. The part named ``"object"`` is laid out like the object: on the device in the store
    ``dp``, in the rank's slab in ``do``, in a file in ``h5``, where it is processed block by block. The other parts are
    replicated NumPy arrays in double precision.

    Attributes:
        store: Where the object lives.
        parts: By name; that of the object was made by the store.
    """

    __array_ufunc__ = None  # NumPy scalars defer products to this class

    def __init__(self, store: ObjectStore, parts: dict[str, LikeObject]) -> None:
        self.store, self.parts = store, parts

    # -- parts -------------------------------------------------------------------------------------------------------
    def only(self, *names: str) -> StoreVector:
        """The parts ``names`` alone, the same memory."""
        return StoreVector(self.store, {name: self.parts[name] for name in names})

    def __or__(self, other: StoreVector) -> StoreVector:
        """The parts of both; those of ``other`` where both have them."""
        return StoreVector(self.store, self.parts | other.parts)

    # -- arithmetic --------------------------------------------------------------------------------------------------
    def map(self, function: Callable[..., Array], *others: StoreVector) -> StoreVector:
        """``function`` of the real numbers of this vector and of others: by operators alone, or an array of NumPy's."""
        return self._each(partial(_by_reals, function), *others)

    def _each(self, function: Callable[..., Array], *others: StoreVector) -> StoreVector:
        made: dict[str, Any] = {}
        for name, *arrays in self._arrays(*others):
            here = name == "object"
            made[name] = self.store.map(lambda _, *tiles: function(*tiles), *arrays) if here else function(*arrays)
        return StoreVector(self.store, made)

    def _arrays(self, *others: StoreVector) -> Iterable[tuple[Any, ...]]:
        return ((name, array, *(other.parts[name] for other in others)) for name, array in self.parts.items())

    def __add__(self, other: StoreVector) -> StoreVector:
        return self._each(operator.add, other)

    def __sub__(self, other: StoreVector) -> StoreVector:
        return self._each(operator.sub, other)

    def __neg__(self) -> StoreVector:
        return self._each(operator.neg)

    def __rmul__(self, factor: float) -> StoreVector:
        factor = float(factor)
        return self._each(lambda a: factor * a)

    def __mul__(self, other: StoreVector) -> StoreVector:
        """Element by element."""
        return self.map(operator.mul, other)

    def __truediv__(self, other: StoreVector) -> StoreVector:
        """Element by element."""
        return self.map(operator.truediv, other)

    # -- numbers, the same on every rank -----------------------------------------------------------------------------
    def __matmul__(self, other: StoreVector) -> float:
        """The scalar product; every element is counted once, by the rank that owns it."""
        total, (low, high) = 0.0, self.store.owned_rows
        for name, a, b in self._arrays(other):
            if name == "object":
                for row, tiles in self.store.tiles(a, b):
                    total += _dot(*(tile[max(low - row, 0) : max(high - row, 0)] for tile in tiles))
            elif self.store.comm.is_root:
                total += _dot(a, b)
        return float(self.store.comm.sum(np.array([total]), "scalar product")[0])

    def norm(self) -> float:
        """Length."""
        return math.sqrt(self @ self)

    def largest(self) -> float:
        """Largest element; infinity if one is not a number."""
        found = -math.inf
        for name, array in self._arrays():
            for tile in (t for _, (t,) in self.store.tiles(array)) if name == "object" else (array,):
                if math.prod(tile.shape):
                    found = max([found, *(_number(part.max()) for part in _reals(tile))])
        return self.store.comm.max(found, "largest element")

    # -- from and to -------------------------------------------------------------------------------------------------
    def signs(self, seed: int) -> StoreVector:
        """Random signs, the same in every store: those of an object row depend on its index."""
        made: dict[str, Any] = {}
        for k, (name, array) in enumerate(self.parts.items()):
            here = name == "object"
            made[name] = self.store.map(partial(_signs_of_rows, seed), array) if here else _signs((seed, 0, k), array)
        return StoreVector(self.store, made)

    def host(self, name: str) -> np.ndarray:
        """A part as one NumPy array; the object's only if a rank holds all of it."""
        return self.store.read(self.parts[name], 0, self.store.shape[0]) if name == "object" else self.parts[name]


def _reals(a: Array) -> tuple[Array, ...]:
    return (a.real, a.imag) if "complex" in str(a.dtype) else (a,)  # true in every library


def _by_reals(function: Callable[..., Array], *arrays: Array) -> Array:
    made = [function(*parts) for parts in zip(*map(_reals, arrays), strict=True)]
    return made[0] if len(made) == 1 else made[0] + 1j * made[1]


def _dot(a: Array, b: Array) -> float:
    return sum(float((x * y).sum()) for x, y in zip(_reals(a), _reals(b), strict=True))


def _number(value: Any) -> float:
    return float(value) if math.isfinite(value) else math.inf


def _signs(seed: tuple[int, ...], like: Array) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return _by_reals(lambda a: rng.choice([-1.0, 1.0], a.shape), like)


def _signs_of_rows(seed: int, row: int, tile: Array) -> np.ndarray:
    return np.stack([_signs((seed, 1, row + i), tile[0]) for i in range(len(tile))])
