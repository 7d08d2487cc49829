r"""What a run costs: memory of a rank, and the Fourier transforms of an epoch.

Arrays and transforms are those of the fused exit-wave operation (`adorym.wrapper.fused.exit_wave_loss`), or of
automatic differentiation in its place. A transform of N pixels is taken as :math:`5 N \log_2 N` operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from adorym.commands.plan import MemoryItem
from adorym.data.batches import KEEP_IN_MEMORY_BYTES
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.optimizers.base import Optimizer
from adorym.storage.base import BLOCK_BYTES
from adorym.storage.hdf5 import STEP_FACTOR
from adorym.wrapper import get_backend

# Object arrays that the graph of a regularizer keeps; measured with tracemalloc, backend autograd.
GRAPH_OBJECTS = 9


@dataclass(frozen=True)
class Work:
    """What is computed at once: a batch, or a chunk of it.

    Attributes:
        batch: Patterns in it.
        modes: Probe modes.
        window_px: (y, x) size of a pattern.
        fused: Whether the operation with hand-written adjoints does it.
        near_field: Whether the propagator is a transfer function, two transforms, instead of one.
        shifted: Whether the probe is shifted by fractions of a pixel.
        moving: Whether positions are refined.
        curved_positions: Whether that uses their curvature.
        curved: Whether anything is refined with its curvature.
    """

    batch: int
    modes: int
    window_px: tuple[int, int]
    fused: bool = True
    near_field: bool = False
    shifted: bool = False
    moving: bool = False
    curved_positions: bool = False
    curved: bool = False

    @property
    def transforms(self) -> int:
        """Fourier transforms for one exit wave: there and back, for the shift, for the curvature of positions."""
        propagator = 2 if self.near_field else 1
        count = 2 * propagator + 2 * self.shifted + (8 if self.near_field else 4) * self.curved_positions
        if self.fused:
            # In the near field the wave is shifted back, which depends on the positions, too.
            return count + 2 * (self.near_field and self.moving)
        # Curvatures come from a pass of the fused operation besides.
        return count + (2 * propagator + self.shifted) * self.curved

    @property
    def waves(self) -> int:
        """Complex arrays ``(batch, modes, y, x)`` that are there at the same time."""
        both = self.near_field and self.moving
        if not self.fused:  # measured, as the objects above
            return 9 + 2 * self.near_field + 2 * self.moving + 2 * both
        return 8 if both else 2 + 3 * self.shifted + self.curved_positions

    @property
    def windows(self) -> int:
        """Real arrays ``(batch, y, x)``: object windows and their gradient, intensity, its slope, target, shift."""
        return 7 + 2 * (self.near_field and self.shifted)

    def operations(self, n_patterns: int) -> float:
        """Floating-point operations of the transforms of ``n_patterns`` patterns."""
        n = math.prod(self.window_px)
        return self.transforms * n_patterns * self.modes * 5 * n * math.log2(n)


@dataclass(frozen=True)
class Unknown:
    """A parameter as far as its memory goes: shape and type of its values, and its optimizer if it is refined."""

    shape: tuple[int, ...]
    dtype: np.dtype
    optimizer: Optimizer | None

    @property
    def n_bytes(self) -> int:
        """Of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def state_bytes(self) -> int:
        """Of its optimizer's state."""
        if self.optimizer is None:
            return 0
        # Every state array has as many rows as the parameter; whether a row is whole or one number, a small one tells.
        xp = get_backend("autograd", precision="double")
        small = self.optimizer.init(xp, np.zeros((2, 16), self.dtype))
        rows = self.shape[0] if self.shape else 1
        return sum(s.dtype.itemsize * (math.prod(self.shape) if s.shape == (2, 16) else rows) for s in small)


@dataclass(frozen=True)
class Place:
    """Where the object lives.

    Attributes:
        store: ``dp``, ``do`` or ``h5``.
        ranks: Number of ranks.
        memory_bytes: What the object may take of a rank's memory with the store ``h5``; ``None`` for the default.
    """

    store: str = "dp"
    ranks: int = 1
    memory_bytes: float | None = None


def memory(
    dataset: Dataset, unknowns: Mapping[str, Unknown], work: Work, precision: str, regularized: bool, place: Place
) -> tuple[MemoryItem, ...]:
    """Memory of one rank; the object is the unknown ``object``."""
    real = 4 if precision == "single" else 8
    obj = unknowns["object"]
    return (
        *(_in_file(obj, place) if place.store == "h5" else _object(obj, real, regularized, place)),
        *_parameters({name: each for name, each in unknowns.items() if name != "object"}),
        *_patterns(dataset, real, place.ranks),
        *_batch(work, real),
        *_messages(obj, work, place),
    )


def object_items(obj: Unknown, real: int) -> list[MemoryItem]:
    """What of the size of the object is kept, over all ranks: in memory, or in a file."""
    shape = " x ".join(map(str, obj.shape))
    items = [
        MemoryItem("object", f"{shape} x {obj.dtype.itemsize} B", obj.n_bytes),
        MemoryItem("gradient", "as the object", obj.n_bytes),
    ]
    if obj.optimizer is not None and obj.optimizer.needs_curvature:
        items.append(MemoryItem("curvature", f"{shape} x {real} B", math.prod(obj.shape) * real))
    if obj.state_bytes:
        items.append(MemoryItem("optimizer state", f"{obj.state_bytes / obj.n_bytes:.2g} x object", obj.state_bytes))
    return items


def _object(obj: Unknown, real: int, regularized: bool, place: Place) -> Iterator[MemoryItem]:
    shared = place.ranks if place.store == "do" else 1
    for item in object_items(obj, real):
        formula = f"1/{shared} of {item.formula}" if shared > 1 else item.formula
        yield MemoryItem(item.name, formula, -(-item.n_bytes // shared))
    if regularized and place.store == "dp" and obj.optimizer is not None and obj.optimizer.needs_curvature:
        yield MemoryItem(
            "regularizers' curvature", "as the curvature, while they are computed", math.prod(obj.shape) * real
        )
    if regularized:
        block = min(BLOCK_BYTES, -(-obj.n_bytes // place.ranks))
        formula = f"{GRAPH_OBJECTS} x a block of the object, while they are computed"
        yield MemoryItem("regularizers", formula, GRAPH_OBJECTS * block)


def _in_file(obj: Unknown, place: Place) -> Iterator[MemoryItem]:
    block = min(BLOCK_BYTES, -(-obj.n_bytes // place.ranks))
    limit = math.inf if place.memory_bytes is None else place.memory_bytes
    text = f"{STEP_FACTOR} x a block of the object, at most 'run.memory'"
    yield MemoryItem("blocks of the object", text, int(min(STEP_FACTOR * block, limit)))


def _messages(obj: Unknown, work: Work, place: Place) -> Iterator[MemoryItem]:
    """What ranks send each other: windows out and in, at most all of those of a batch; once more while packed."""
    if place.store != "do" or place.ranks == 1:
        return
    n_bytes = work.batch * math.prod(work.window_px) * math.prod(obj.shape[2:]) * obj.dtype.itemsize
    yield MemoryItem("messages", "3 x the object under a batch, at most", 3 * n_bytes)


def _parameters(others: Mapping[str, Unknown]) -> Iterator[MemoryItem]:
    total = sum(each.n_bytes * (1 if each.optimizer is None else 2) + each.state_bytes for each in others.values())
    if total:
        yield MemoryItem("other parameters", "values, gradients and optimizer states", total)


def _patterns(dataset: Dataset, real: int, ranks: int) -> Iterator[MemoryItem]:
    n = math.prod(dataset.patterns.shape)
    shape = " x ".join(map(str, dataset.patterns.shape))
    if isinstance(dataset.patterns, ArrayPatterns):
        size = dataset.patterns.array.dtype.itemsize
        yield MemoryItem("patterns, as read", f"{shape} x {size} B", n * size)
    if n * real * ranks <= KEEP_IN_MEMORY_BYTES:
        yield MemoryItem("patterns, as fitted", f"{shape} x {real} B", n * real)


def _batch(work: Work, real: int) -> Iterator[MemoryItem]:
    n = work.batch * math.prod(work.window_px)
    each = f"{work.batch} x {work.modes} x {work.window_px[0]} x {work.window_px[1]}"
    yield MemoryItem("exit waves", f"{work.waves} x ({each}) x {2 * real} B", work.waves * n * work.modes * 2 * real)
    windows = f"{work.windows} x ({work.batch} x {work.window_px[0]} x {work.window_px[1]}) x {real} B"
    yield MemoryItem("object windows", windows, work.windows * n * real)
