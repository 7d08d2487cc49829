"""Batches of patterns, and their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

import numpy as np

from adorym.comm import Communicator, SerialCommunicator
from adorym.data.dataset import Dataset
from adorym.data.narrow import TOO_WIDE, NarrowCounts, bytes_needed
from adorym.data.patterns import BLOCK_BYTES
from adorym.data.read_ahead import ReadAhead
from adorym.optics.geometry import Geometry
from adorym.wrapper.base import Array, Backend

Order = Literal["random", "compact", "angle"]
KEEP_IN_MEMORY_BYTES = 4 << 30  # of all patterns, where nothing else is said
G = TypeVar("G", bound=Geometry, covariant=True)


@dataclass(frozen=True)
class Batch(Generic[G]):
    """One batch of patterns, ready for the forward model.

    Attributes:
        patterns: ``(n,)`` indices into the data set.
        angles: ``(n,)`` index of each pattern's angle.
        corners_px: ``(n, 2)`` corner of each pattern's window in the object array; a backend's array where they follow
            positions that a device refines.
        targets: ``(m, y, x)`` values that the loss compares the prediction with, in the model's frame.
        rows: ``(n,)`` rows of ``targets`` that belong to the batch; copying them would cost a pass over memory.
        mask: ``(1 or n, y, x)`` pixel weights, or ``None``.
        floor: Intensity that the loss adds to prediction and measurement.
        geometry: The experiment's geometry, of the model's type.
        object_shape: Shape of the whole object array.
        open_beam_counts: Counts per pixel without sample, if known.
        view_corners_px: ``(k, 2)`` corners of the parts of the object that the model needs for the batch.
        view_px: (y, x) size of each.
        origin_px: (y, x) index in the object array of the data's position (0, 0).
        checkpoint_slices: Number of slices whose waves are recomputed for the gradient instead of being stored; 0 to
            store all of them, chosen by the model if ``None``.
    """

    patterns: np.ndarray
    angles: np.ndarray
    corners_px: Array
    targets: Array
    rows: np.ndarray
    mask: Array | None
    floor: float
    geometry: G
    object_shape: tuple[int, ...] = ()
    view_corners_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    view_px: tuple[int, int] = (0, 0)
    open_beam_counts: float = 1.0
    origin_px: tuple[int, int] = (0, 0)
    checkpoint_slices: int | None = None

    @property
    def target(self) -> Array:
        """``(n, y, x)`` values that the loss compares the prediction with."""
        return self.targets[self.rows]

    def part(self, rows: np.ndarray) -> Batch[G]:
        """Some of the patterns of a batch with a window of the object for each."""
        mask = self.mask
        return replace(
            self,
            patterns=self.patterns[rows],
            angles=self.angles[rows],
            corners_px=self.corners_px[rows],
            rows=self.rows[rows],
            mask=mask if mask is None or len(mask) == 1 else mask[rows],
            view_corners_px=self.view_corners_px[rows],
        )


def epoch_order(dataset: Dataset, batch_size: int, order: Order, rng: np.random.Generator) -> list[np.ndarray]:
    """The patterns of one epoch, divided into batches; every pattern occurs exactly once.

    ``random``: a random permutation, divided; of a few angles or scans each batch holds its share. ``compact``:
    patterns close to each other in the object, along a random direction in each epoch. ``angle``: batches hold
    patterns of one angle only, angles in random order.
    """
    n = dataset.n_patterns
    if order == "random":
        return _cut(_mixed(dataset, batch_size, rng), batch_size)
    if order == "angle":
        groups = [np.flatnonzero(dataset.angle_index == a) for a in rng.permutation(dataset.n_angles)]
        return [part for g in groups for part in _cut(rng.permutation(g), batch_size)]
    positions = np.zeros((n, 2)) if dataset.probe_positions_px is None else dataset.probe_positions_px
    clusters = _split(np.arange(n), positions, batch_size, rng)
    return [clusters[i] for i in rng.permutation(len(clusters))]


def _mixed(dataset: Dataset, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Random order of the patterns; where a batch can hold several of each angle, every stretch has its share of them.

    The probe of a scan then takes steps of equal size, and there are few numbers of patterns of one scan in a batch: an
    engine that compiles its operations for each size, as JAX does, soon knows them all.
    """
    order = rng.permutation(dataset.n_patterns)
    if not 1 < dataset.n_angles <= batch_size // 2:
        return order
    place = np.empty(len(order))
    for angle in range(dataset.n_angles):
        its = np.flatnonzero(dataset.angle_index[order] == angle)
        place[its] = (np.arange(len(its)) + rng.random()) / max(1, len(its))
    return order[np.argsort(place, kind="stable")]


def _cut(index: np.ndarray, size: int) -> list[np.ndarray]:
    # Batches of nearly equal size: a last batch of one pattern would take as large a step as a full one.
    return [part for part in np.array_split(index, max(1, round(len(index) / size))) if len(part)]


def _split(index: np.ndarray, positions: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    if len(index) <= size:
        return [index]
    angle = rng.uniform(0, np.pi)
    along = positions[index] @ np.array([np.cos(angle), np.sin(angle)])
    half = len(index) // 2
    parts = np.argpartition(along, half)
    return _split(index[parts[:half]], positions, size, rng) + _split(index[parts[half:]], positions, size, rng)


class Measurements:
    """The measured patterns in the form of the loss and the model's frame, kept in memory if they fit.

    On a device, and where they do not fit otherwise, counts below 65536 are kept as whole numbers of one or two bytes.

    Args:
        xp: Backend.
        dataset: The data set.
        to_model_frame: From the file's frame to the model's (far field: zero frequency to the corner).
        transform: ``f(counts, floor)``, from counts to the target of the loss.
        floor: ``f(mean count per pixel)``: the intensity that the loss adds.
        comm: The ranks: they divide the first reading, and the memory of their machine.
        keeps: ``f(bytes)`` says whether the patterns may stay in memory if they take so much.

    Attributes:
        valid_counts: Weighted sum of all counts.
        mean_counts: Counts of the mean pattern: each pixel's weighted mean over the patterns in which it is valid. A
            pixel that is never valid has no counts, as in the probe made from the mean pattern.
        floor: Intensity that the loss adds to prediction and measurement.
    """

    def __init__(
        self,
        xp: Backend,
        dataset: Dataset,
        to_model_frame: Callable[[np.ndarray], np.ndarray],
        transform: Callable[[np.ndarray, float], np.ndarray],
        floor: Callable[[float], float],
        comm: Communicator | None = None,
        keeps: Callable[[int], bool] = lambda n_bytes: n_bytes <= KEEP_IN_MEMORY_BYTES,
    ) -> None:
        comm = comm or SerialCommunicator()
        self._xp, self._dataset, self._to_model_frame, self._transform = xp, dataset, to_model_frame, transform
        given = [a for a in (dataset.mask, dataset.weights) if a is not None]
        self._factors = [self._factor(a) for a in given]
        # A common mask is on the device once; masks per pattern are made for each batch.
        shared = all(len(f) == 1 for f in self._factors)
        self._single_mask = xp.asarray(self._mask_rows(np.zeros(1, int))) if shared and given else None
        n, ny, nx = dataset.patterns.shape
        keep = self._agreed(keeps, xp.float_dtype.itemsize, comm)
        stack = np.empty((n, ny, nx), xp.float_dtype) if keep else None
        sums, narrow = np.zeros((2, ny, nx)), 1
        for i, index in enumerate(self._blocks()):
            mine = i % comm.size == comm.rank
            if not mine and stack is None:
                continue
            counts = self._counts(index)
            if mine:
                mask = self._mask_rows(index)
                weights = np.broadcast_to(np.ones(1) if mask is None else mask, counts.shape)
                sums += np.einsum("nyx,nyx->yx", counts, weights, dtype=np.float64), weights.sum(0, dtype=np.float64)
            narrow = max(narrow, bytes_needed(counts) if stack is None or not xp.on_host else TOO_WIDE)
            if stack is not None:
                stack[index] = counts
        of_pixel, seen = comm.sum(sums, "sum of all counts")
        self.valid_counts = float(of_pixel.sum())
        self.mean_counts = float((of_pixel / np.where(seen > 0, seen, 1)).sum())
        self.floor = floor(self.valid_counts / max(float(seen.sum()), 1.0))
        narrow = int(comm.max(narrow, "agree how wide the counts are"))
        self._narrow = self._narrowed(narrow, stack) if self._agreed(keeps, narrow, comm) else None
        self._stack = self._transformed(stack) if stack is not None and self._narrow is None else None
        self._ahead = ReadAhead(lambda index: xp.staged(self._transform(self._counts(index), self.floor)))

    def _agreed(self, keeps: Callable[[int], bool], pixel_bytes: int, comm: Communicator) -> bool:
        """Whether all patterns may stay in memory on every rank: free memory differs between machines."""
        may = not self._dataset.growing and keeps(math.prod(self._dataset.patterns.shape) * pixel_bytes)
        return comm.max(not may, "agree where the patterns are kept") == 0

    def _narrowed(self, n_bytes: int, stack: np.ndarray | None) -> NarrowCounts | None:
        """The counts in ``n_bytes``, from ``stack`` or read again; ``None`` if these do not do."""
        if n_bytes == TOO_WIDE:
            return None
        parts = ((index, self._counts(index) if stack is None else stack[index]) for index in self._blocks())
        shape = self._dataset.patterns.shape
        made = NarrowCounts(self._xp, shape, n_bytes, lambda counts: self._transform(counts, self.floor), parts)
        return made if made.faithful else None

    def _transformed(self, stack: np.ndarray) -> Array:
        for index in self._blocks():
            stack[index] = self._transform(stack[index], self.floor)
        return self._xp.asarray(stack)

    def release(self) -> None:
        """Keep no pattern in memory any more: each is read when it is needed."""
        self._stack = self._narrow = None

    def grow(self, dataset: Dataset) -> None:
        """Add the patterns of ``dataset`` beyond those that are known; it holds these first.

        The floor stays as it is.
        """
        known, self._dataset = len(self._dataset.angle_index), dataset  # its stack has grown already
        counts = self._counts(index := np.arange(known, dataset.n_patterns))
        mask = self._mask_rows(index)
        self.valid_counts += float(
            counts.sum(dtype=np.float64) if mask is None else (counts * mask).sum(dtype=np.float64)
        )

    def _blocks(self) -> list[np.ndarray]:
        n, ny, nx = self._dataset.patterns.shape
        return np.array_split(np.arange(n), max(1, n // 256, 4 * n * ny * nx // BLOCK_BYTES))

    @property
    def in_memory(self) -> bool:
        """Whether all patterns are."""
        return self._stack is not None or self._narrow is not None

    def _factor(self, given: np.ndarray) -> np.ndarray:
        """A mask or weights as ``(1 or n, y, x)`` or ``(n, 1, 1)``, in the model's frame."""
        factor = given.astype(self._xp.float_dtype)
        whole = factor.shape[-2:] == self._dataset.window_px
        factor = self._to_model_frame(factor) if whole else factor
        return factor[None] if factor.ndim == 2 else factor

    def _mask_rows(self, index: np.ndarray) -> np.ndarray | None:
        """``(1 or n, y, x)`` weights of the pixels of patterns ``index``, or ``None``."""
        if not self._factors:
            return None
        product = np.ones((1, *self._dataset.window_px), self._xp.float_dtype)
        for factor in self._factors:
            product = product * (factor if len(factor) == 1 else factor[index])
        return product

    def _counts(self, index: np.ndarray) -> np.ndarray:
        measured = self._dataset.patterns.read(index).astype(self._xp.float_dtype, copy=False)
        counts = measured**2 if self._dataset.measured == "amplitude" else measured
        counts = np.nan_to_num(np.maximum(self._to_model_frame(counts), 0), nan=0.0, posinf=0.0)
        mask = self._mask_rows(index)
        # A masked pixel may hold any value; its weight is zero, but zero times infinity is not a number.
        return counts if mask is None else np.where(mask > 0, counts, counts.dtype.type(0))

    def prefetch(self, patterns: list[np.ndarray]) -> None:
        """Begin to read, in a thread, the patterns of the next calls of `batch`, in this order.

        Without effect if all patterns are in memory; at most two batches are read ahead.
        """
        self._ahead.prefetch(patterns)

    def batch(self, patterns: np.ndarray) -> tuple[Array, np.ndarray, Array | None]:
        """``(targets, rows, mask)`` of the given patterns on the device, as `Batch` holds them."""
        if self._stack is not None:
            targets, rows = self._stack, patterns
        else:
            narrow = self._narrow
            targets = narrow.targets(patterns) if narrow else self._xp.fetched(self._ahead.take(patterns))
            rows = np.arange(len(patterns))
        if not self._factors or self._single_mask is not None:
            return targets, rows, self._single_mask
        return targets, rows, self._xp.asarray(self._mask_rows(patterns))
