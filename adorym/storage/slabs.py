"""An object distributed over the ranks: each owns a slab of rows and steps it; windows may cover several slabs.

In each batch a rank receives the union of its windows from the other slabs once (`adorym.storage.layout`), and returns
the gradient the same way, so that only the owner of a row writes it. Slabs are in the host's memory or in a file
(`RowBackend`); steps are computed block by block.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adorym.comm import Communicator
from adorym.data.contiguous import ArraySpec
from adorym.errors import ConfigError
from adorym.optimizers.base import Gradient, Optimizer
from adorym.storage.base import Function, LikeObject, ObjectStore, Step, Term, Windows, blocks
from adorym.storage.layout import (
    Cover,
    Slabs,
    cover,
    covers,
    cut_windows,
    pack,
    paste_windows,
    unpack_add,
    window_boxes,
)
from adorym.wrapper.base import Array, Backend

# ``f(start, stop)`` returns rows of an array.
RowsOf = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Start:
    """The start object, made by rows, so that no rank needs all of it.

    Attributes:
        shape: Shape of the whole object.
        rows: Returns some of its rows.
    """

    shape: tuple[int, ...]
    rows: RowsOf


class RowBackend(ABC):
    """Rows of one array, in memory or in a file, with their indices in the whole array."""

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``: the memory itself, or a copy."""

    @abstractmethod
    def write(self, start: int, rows: np.ndarray) -> None:
        """Replace rows from ``start`` on."""

    def done(self, start: int, stop: int) -> None:  # noqa: B027 - only for files
        """Hint that these rows are not needed for some time."""

    def soon(self, start: int, stop: int) -> None:  # noqa: B027
        """Hint that these rows are needed next."""


class MemoryRows(RowBackend):
    """Rows in an array in memory; ``first`` is the index of its first row."""

    def __init__(self, array: np.ndarray, first: int) -> None:
        self._array, self._first = array, first

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._array[start - self._first : stop - self._first]

    def write(self, start: int, rows: np.ndarray) -> None:
        copy_unless_same(self.read(start, start + len(rows)), rows)


def copy_unless_same(target: np.ndarray, source: np.ndarray) -> None:
    """``target[:] = source``, unless both are the same memory, since steps may work in place."""
    if target.__array_interface__["data"] != source.__array_interface__["data"] or target.strides != source.strides:
        target[:] = source


@dataclass(frozen=True)
class Plan:
    """The messages between ranks for a set of boxes.

    Attributes:
        asked: Pixels of the whole object that this rank needs.
        from_owner: Number of these in each rank's slab.
        wanted: By rank, the pixels of this rank's slab that it needs, if any.
    """

    asked: Cover
    from_owner: list[int]
    wanted: dict[int, Cover]

    @classmethod
    def of(cls, boxes: np.ndarray, slabs: Slabs, comm: Communicator) -> Plan:
        """For this rank's boxes ``(n, 4)``; collective."""
        every = comm.gather(boxes, "ask for windows")
        asked = cover(boxes, (0, slabs.rows))
        from_owner = np.diff(asked.pixels_before(slabs.edges)).tolist()
        return cls(asked, from_owner, covers(every, slabs.of(comm.rank)))

    def scaled(self, depth: int) -> tuple[list[int], list[int]]:
        """(count received from each owner, count sent to each rank), with ``depth`` numbers per pixel."""
        sent = [0] * len(self.from_owner)
        for rank, each in self.wanted.items():
            sent[rank] = each.n_pixels * depth
        return [n * depth for n in self.from_owner], sent


def _pieces(flat: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    """``flat`` in pieces of ``counts``: the same memory."""
    ends = np.cumsum(counts).tolist()
    return [flat[end - count : end] for end, count in zip(ends, counts, strict=True)]


class SlabStore(ObjectStore):
    """The object in slabs along y, one per rank.

    Args:
        xp: Backend for computation; the slabs are in the host's memory.
        start: Start object, complex or real.
        optimizer: Determines the state, and whether a curvature is stored.
        comm: The ranks.
        block_bytes: Object bytes per block.
    """

    def __init__(self, xp: Backend, start: Start, optimizer: Optimizer, comm: Communicator, block_bytes: int) -> None:
        self._xp, self.comm, self.shape = xp, comm, start.shape
        self._slabs = Slabs(self.shape[0], comm.size)
        self.owned_rows = self.local_rows = self._slabs.of(comm.rank)
        first = xp.to_numpy(xp.asarray(np.ascontiguousarray(start.rows(0, 1))))
        self._real = first.real.dtype
        self._parts = 2 if first.dtype.kind == "c" else 1
        self._pixel = math.prod(self.shape[2:])
        self._row_bytes, self._block_bytes = first.nbytes, block_bytes
        state = [xp.to_numpy(s) for s in optimizer.init(xp, xp.asarray(first))]
        kept = {"value": ArraySpec(self.shape, first.dtype)}
        kept |= {f"state_{i}": ArraySpec((self.shape[0], *s.shape[1:]), s.dtype) for i, s in enumerate(state)}
        self._kept = dict(kept)
        kept["gradient"] = kept["value"]
        if optimizer.needs_curvature:
            kept["curvature"] = ArraySpec(self.shape, self._real)
        self._rows = self._make_rows(kept)
        self._state_rows = [self._rows[f"state_{i}"] for i in range(len(state))]
        self._last: tuple[Windows, Plan] | None = None
        self._largest: float | None = None  # curvature, once it is known
        self._optimizer = optimizer
        for a, b in self._blocks():
            value = xp.asarray(np.ascontiguousarray(start.rows(a, b)))
            self._rows["value"].write(a, xp.to_numpy(value))
            self._done(a, b)
        self.restart()
        self._written("first object")

    @abstractmethod
    def _make_rows(self, kept: dict[str, ArraySpec]) -> dict[str, RowBackend]:
        """Zeros for this rank's slab of each array."""

    # -- windows -----------------------------------------------------------------------------------------------------
    def gather(self, windows: Windows, array: LikeObject = "value") -> Array:
        plan, depth = self._plan_of(windows), self._pixel * self._parts
        packed = self._fetch(plan, self._array(array))
        n, (wy, wx) = len(windows.corners_px), windows.shape
        out = np.empty((n, wy, wx * depth), self._real)
        cut_windows(packed, plan.asked.as_arrays(), windows.corners_px, depth, out)
        return self._xp.asarray(self._as_object(out).reshape(n, wy, wx, *self.shape[2:]))

    def scatter_add(self, windows: Windows, gradient: Array, curvature: Array | None = None) -> None:
        plan = self._plan_of(windows)
        given: list[tuple[str, Any]] = [("gradient", gradient)]
        if curvature is not None and "curvature" in self._rows:
            given.append(("curvature", curvature))
        for name, each in given:
            array = np.ascontiguousarray(self._xp.to_numpy(each))
            depth = self._pixel * (self._parts if name == "gradient" else 1)
            flat = array.view(array.real.dtype).astype(self._real, copy=False)
            flat = flat.reshape(*array.shape[:2], array.shape[2] * depth)
            packed = np.zeros(plan.asked.n_pixels * depth, self._real)
            paste_windows(flat, plan.asked.as_arrays(), windows.corners_px, depth, packed)
            self._deposit(name, plan, packed, depth)

    def _plan_of(self, windows: Windows) -> Plan:
        # `scatter_add` uses the plan of the `gather` before it.
        if self._last is None or self._last[0] is not windows:
            self._last = (windows, self._plan(window_boxes(windows.corners_px, windows.shape)))
        return self._last[1]

    def _plan(self, boxes: np.ndarray) -> Plan:
        return Plan.of(boxes, self._slabs, self.comm)

    def _fetch(self, plan: Plan, array: RowBackend) -> np.ndarray:
        """The pixels that this rank needs, packed as real numbers."""
        depth = self._pixel * self._parts
        received, sent = plan.scaled(depth)
        send = np.empty(sum(sent), self._real)
        parts = _pieces(send, sent)
        for a, b in self._touched(plan):
            rows = self._flat(array.read(a, b))
            for rank, wanted in plan.wanted.items():
                pack(rows, a, wanted.as_arrays(), depth, parts[rank])
            array.done(a, b)
        return self.comm.exchange(send, sent, received, "exchange of the object")

    def _deposit(self, name: str, plan: Plan, packed: np.ndarray, depth: int) -> None:
        """Add packed pixels, in the order of `_fetch`, to the owners' gradient or curvature."""
        sent, received = plan.scaled(depth)
        came = self.comm.exchange(packed, sent, received, f"exchange of the object's {name}")
        parts = _pieces(came, received)
        for a, b in self._touched(plan):
            rows = self._rows[name].read(a, b)
            for rank, wanted in plan.wanted.items():
                unpack_add(parts[rank], wanted.as_arrays(), depth, self._flat(rows), a)
            self._rows[name].write(a, rows)
            self._rows[name].done(a, b)

    def _touched(self, plan: Plan) -> Iterator[tuple[int, int]]:
        """Blocks of this rank's slab with a pixel that any rank needs."""
        for a, b in self._blocks():
            edges = np.array([a, b])
            if any(np.diff(wanted.pixels_before(edges))[0] for wanted in plan.wanted.values()):
                yield a, b

    # -- the whole object ----------------------------------------------------------------------------------------------
    def add_gradient(self, term: Term, halo_px: int | None = 0) -> float:
        if halo_px is None:
            raise ConfigError("regularizers", "this term needs the whole object", remedy="choose the store 'dp'")
        if self._largest is None:
            self._largest = self._largest_curvature()  # of the data alone
        names = ["gradient", "curvature"] if "curvature" in self._rows else ["gradient"]
        (low, high), total = self.local_rows, 0.0
        beyond = min(halo_px, self.shape[0] - high) if high > low else 0
        box = np.array([[high, 0, beyond, self.shape[1]]] if beyond else np.zeros((0, 4)), np.int64)
        plan = self._plan(box) if halo_px else None
        after = np.zeros((0, *self.shape[1:]), self._kept["value"].dtype)
        if plan is not None:
            after = self._as_object(self._fetch(plan, self._rows["value"])).reshape(beyond, *self.shape[1:])
        back = {name: np.zeros(after.shape, self._dtype(name)) for name in names}
        for a, b in self._blocks():
            inside = min(b + halo_px, high)
            own, more = self._rows["value"].read(a, inside), after[: b + halo_px - inside]
            tile = np.concatenate([own, more]) if len(more) else own
            value, *slopes = term(self._xp.asarray(tile))
            for name, slope in zip(names, slopes, strict=False):
                if slope is None:
                    continue
                found = self._xp.to_numpy(slope)
                rows = self._rows[name].read(a, inside)
                rows += found[: inside - a]
                self._rows[name].write(a, rows)
                back[name][: len(more)] += found[inside - a :]
            total += value
            self._done(a, b)
        if plan is not None:
            for name in names:
                depth = self._pixel * (self._parts if name == "gradient" else 1)
                self._deposit(name, plan, self._flat(back[name]).reshape(-1), depth)
        return total

    def _dtype(self, name: str) -> np.dtype:
        return self._kept["value"].dtype if name == "gradient" else self._real

    def update(self, step: Step) -> None:
        largest = self._largest_curvature() if self._largest is None else self._largest
        self._largest = None
        ranges = list(self._blocks())
        for i, (a, b) in enumerate(ranges):
            if i + 1 < len(ranges):
                self._soon(*ranges[i + 1])
            tile, gradient = (self._xp.asarray(self._rows[name].read(a, b)) for name in ("value", "gradient"))
            curvature = self._xp.asarray(self._rows["curvature"].read(a, b)) if "curvature" in self._rows else None
            state = tuple(self._xp.asarray(rows.read(a, b), exact=True) for rows in self._state_rows)
            tile, state = step(tile, Gradient(gradient, curvature, largest), state, a)
            self._rows["value"].write(a, self._xp.to_numpy(tile))
            for rows, new in zip(self._state_rows, state, strict=True):
                rows.write(a, self._xp.to_numpy(new))
            for name in {"gradient", "curvature"} & self._rows.keys():
                self._clear(name, a, b)
            self._done(a, b)
        self._written("step of the object")

    def _largest_curvature(self) -> float:
        if "curvature" not in self._rows:
            return 0.0
        found = 0.0
        for a, b in self._blocks():
            found = max(found, float(self._rows["curvature"].read(a, b).max(initial=0)))
        return self.comm.max(found, "largest curvature of the object")

    def _clear(self, name: str, a: int, b: int) -> None:
        rows = self._rows[name].read(a, b)
        rows[:] = 0
        self._rows[name].write(a, rows)

    def apply(self, function: Function) -> None:
        for a, b in self._blocks():
            tile = function(self._xp.asarray(self._rows["value"].read(a, b)), a)
            self._rows["value"].write(a, self._xp.to_numpy(tile))
            self._rows["value"].done(a, b)
        self._written("constraint of the object")

    def _written(self, name: str) -> None:
        """Called once this rank's rows have been written."""

    def restart(self) -> None:
        for a, b in self._blocks() if self._state_rows else ():
            value = self._xp.asarray(self._rows["value"].read(a, b))
            for rows, state in zip(self._state_rows, self._optimizer.init(self._xp, value), strict=True):
                rows.write(a, self._xp.to_numpy(state))
            self._done(a, b)

    def arrays(self) -> dict[str, ArraySpec]:
        return dict(self._kept)

    def tiles(self, *arrays: LikeObject) -> Iterator[tuple[int, tuple[Array, ...]]]:
        rows = [self._array(array) for array in arrays]
        for a, b in self._blocks():
            yield a, tuple(each.read(a, b) for each in rows)
            for each in rows:
                each.done(a, b)

    def read(self, array: LikeObject, start: int, stop: int) -> np.ndarray:
        return self._array(array).read(start, stop)

    def write(self, array: LikeObject, start: int, rows: Array) -> LikeObject:
        kept, into = self._kept[array if isinstance(array, str) else "value"], self._array(array)
        into.write(start, np.asarray(self._xp.to_numpy(rows), kept.dtype))
        into.done(start, start + len(rows))
        return array

    def _array(self, array: LikeObject) -> RowBackend:
        return self._rows[array] if isinstance(array, str) else array

    # -- rows --------------------------------------------------------------------------------------------------------
    def _blocks(self) -> Iterator[tuple[int, int]]:
        return blocks(*self.local_rows, self._row_bytes, self._block_bytes)

    def _done(self, a: int, b: int) -> None:
        for rows in self._rows.values():
            rows.done(a, b)

    def _soon(self, a: int, b: int) -> None:
        for rows in self._rows.values():
            rows.soon(a, b)

    def _flat(self, rows: np.ndarray) -> np.ndarray:
        """Rows as real numbers ``(k, x * depth)``, the same memory."""
        return rows.view(self._real).reshape(len(rows), -1) if rows.size else np.zeros((len(rows), 0), self._real)

    def _as_object(self, flat: np.ndarray) -> np.ndarray:
        return flat.view(self._kept["value"].dtype)
