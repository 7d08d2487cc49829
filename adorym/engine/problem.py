"""The problem to solve: data, forward model, and unknowns with their optimizers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adorym.comm import Communicator, SerialCommunicator
from adorym.constraints.base import Constraint
from adorym.data.batches import Batch, Measurements
from adorym.data.dataset import Dataset
from adorym.forward.base import BoundModel, ForwardModel
from adorym.losses.base import Loss
from adorym.optics.windows import clip_corners, corner_bounds
from adorym.parameters import OBJECT, Value
from adorym.regularizers.base import Regularizer
from adorym.solvers.base import Solver
from adorym.storage.base import ObjectStore, Windows
from adorym.wrapper.base import Array, Backend


@dataclass(frozen=True)
class Rows:
    """The rows of a parameter that a batch uses, and the row of each pattern."""

    index: np.ndarray | None = None
    inverse: np.ndarray | None = None


@dataclass
class Problem:
    """Everything that a batch needs: data, forward model, and unknowns with their optimizers.

    Attributes:
        bound: The forward model bound to the data.
        store: Holds the unknown of the object.
        obj: Declaration, optimizer, schedule and rate of the object; its array is unused.
        values: The other parameters by name.
        solver: Updates all refined parameters together; replaces their optimizers.
        comm: The ranks that solve it together; each works on its part of every batch.
        start_diagnostics: Diagnostics of start values, for the result.
        remarks: Lines for the log about how start values were found.
        epochs_before: Epochs of the runs that this one goes on from.
        history_before: History of the stages of this run before this one.
        stage: Number of this stage; 0 for a run without stages.
        recorded_px: Positions of the data as they are recorded, before any refinement.
        at_once: Most patterns that are worked on at once, if memory sets a limit.
        ceiling_bytes: Memory in use between two chunks of patterns above which what is free is given back.
        checkpoint_slices: As `adorym.data.batches.Batch` has it.
    """

    xp: Backend
    bound: BoundModel[Any]
    loss: Loss
    measurements: Measurements
    store: ObjectStore
    obj: Value
    values: dict[str, Value]
    regularizers: tuple[Regularizer, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    solver: Solver | None = None
    comm: Communicator = field(default_factory=SerialCommunicator)
    start_diagnostics: Mapping[str, np.ndarray] = field(default_factory=dict)
    epochs_before: int = 0
    history_before: Mapping[str, np.ndarray] = field(default_factory=dict)
    stage: int = 0
    recorded_px: np.ndarray | None = None
    checkpoint_slices: int | None = None
    at_once: int | None = None
    ceiling_bytes: float = math.inf
    remarks: tuple[str, ...] = ()

    @property
    def model(self) -> ForwardModel:
        """The forward model."""
        return self.bound.model

    @property
    def dataset(self) -> Dataset:
        """The data, as prepared by the model."""
        return self.bound.dataset

    @property
    def weight(self) -> float:
        """Factor on the sum of the loss: 1 / (counts of the whole data set)."""
        return 1.0 / max(self.measurements.valid_counts, 1.0)

    def corners_px(self, patterns: np.ndarray) -> np.ndarray:
        """``(n, 2)`` whole-pixel corners, in the object array, of the windows of ``patterns``."""
        positions, tiles = np.zeros((len(patterns), 2)), self.dataset.tile_corners_px
        if tiles is not None:
            positions = positions + tiles[patterns // self.dataset.n_pictures]
        for value in self.values.values():
            if value.spec.window_relative or value.spec.window_shift:
                index = patterns if value.spec.per == "pattern" else self.dataset.angle_index[patterns]
                positions = positions + value.on_host(self.xp)[index]
        corners = np.rint(positions).astype(np.int64) + np.asarray(self.bound.origin_px)
        # Positions are bounded, but offsets added to them may reach over the edge.
        return clip_corners(corners, (self.store.shape[0], self.store.shape[1]), self.dataset.window_px)

    def _corners(self, patterns: np.ndarray) -> Array:
        """`corners_px`; where a device alone knows the positions, computed there."""
        xp = self.xp
        moved = [v for v in self.values.values() if v.spec.window_relative or v.spec.window_shift]
        if xp.on_host or not self.store.resident or not any(v.settings.refine for v in moved):
            return self.corners_px(patterns)
        positions: Array = 0.0
        for value in moved:
            index = patterns if value.spec.per == "pattern" else self.dataset.angle_index[patterns]
            positions = positions + xp.take(value.array, index)
        low, high = corner_bounds((self.store.shape[0], self.store.shape[1]), self.dataset.window_px)
        corners = xp.as_index(xp.rint(positions)) + xp.asarray(np.asarray(self.bound.origin_px), exact=True)
        return xp.minimum(xp.maximum(corners, xp.asarray(low, exact=True)), xp.asarray(high, exact=True))

    def batch(self, patterns: np.ndarray) -> Batch[Any]:
        """The measured values and windows of ``patterns``."""
        targets, rows, mask = self.measurements.batch(patterns)
        corners = self._corners(patterns)
        view = self.view(patterns, corners)
        return Batch(
            patterns=patterns,
            angles=self.dataset.angle_index[patterns],
            corners_px=corners,
            targets=targets,
            rows=rows,
            mask=mask,
            floor=self.measurements.floor,
            geometry=self.bound.geometry,
            object_shape=self.store.shape,
            view_corners_px=view.corners_px,
            view_px=view.shape,
            open_beam_counts=self.dataset.open_beam_counts or 1.0,
            origin_px=self.bound.origin_px,
            checkpoint_slices=self.checkpoint_slices,
        )

    def view(self, patterns: np.ndarray, corners: Array) -> Windows:
        """The parts of the object that ``patterns`` with windows at ``corners`` need."""
        follows = [self.values[name] for name in self.bound.view.follows if name in self.values]
        if not self.xp.on_host and self.store.resident and any(value.settings.refine for value in follows):
            # The device alone knows which rows these are, and waiting for it costs more than all of them.
            return Windows(np.zeros((1, 2), np.int64), (self.store.shape[0], self.store.shape[1]))
        return self.bound.view.windows(corners, self.store.shape, lambda name: self._present(name, patterns))

    def inputs(self, patterns: np.ndarray) -> tuple[Array, dict[str, Array], Batch[Any]]:
        """``(object windows, parameters, batch)`` as `ForwardModel.predict` takes them."""
        batch = self.batch(patterns)
        rows = self.rows(batch)
        params = expanded(self.xp, self.used(batch, rows), rows)
        return self.bound.space.to_object(self.xp, self.store.gather(self.windows(batch)), params), params, batch

    def windows(self, batch: Batch[Any]) -> Windows:
        """The parts of the object that ``batch`` needs."""
        return Windows(batch.view_corners_px, batch.view_px)

    def _present(self, name: str, patterns: np.ndarray) -> np.ndarray | None:
        """Values of a parameter for each of ``patterns``; ``None`` if it is not in use."""
        if name not in self.values:
            return None
        value = self.values[name]
        array = value.on_host(self.xp)
        if value.spec.per == "run":
            return np.broadcast_to(array, (len(patterns), *array.shape))
        return array[patterns if value.spec.per == "pattern" else self.dataset.angle_index[patterns]]

    def rows(self, batch: Batch[Any]) -> dict[str, Rows]:
        """The rows of each parameter that ``batch`` uses."""
        return {name: _rows(value, batch) for name, value in self.values.items()}

    def used(self, batch: Batch[Any], rows: dict[str, Rows]) -> dict[str, Array]:
        """Those rows, in the backend's precision, positions relative to their windows."""
        return {name: _input(self, value, rows[name], batch) for name, value in self.values.items()}

    def active(self, epoch: int) -> dict[str, Value]:
        """Parameters that are refined by gradients in ``epoch``, the object among them."""
        return {name: v for name, v in self.unknowns.items() if not v.spec.by_update and v.settings.active(epoch)}

    def restart(self) -> None:
        """Reset the state of all optimizers, such as momentum."""
        self.store.restart()
        for value in self.values.values():
            if value.settings.refine and not value.spec.by_update:
                value.state = value.optimizer.init(self.xp, value.array)

    def present(self) -> dict[str, np.ndarray]:
        """Current values of all parameters by name, except the object."""
        return {name: value.on_host(self.xp) for name, value in self.values.items()}

    @property
    def unknowns(self) -> dict[str, Value]:
        """The object and the parameters."""
        return {OBJECT: self.obj, **self.values}


@dataclass(frozen=True)
class Present(Mapping[str, np.ndarray]):
    """`Problem.present`, of which a device is asked only for what is read."""

    problem: Problem

    def __getitem__(self, name: str) -> np.ndarray:
        return self.problem.values[name].on_host(self.problem.xp)

    def __iter__(self) -> Iterator[str]:
        return iter(self.problem.values)

    def __len__(self) -> int:
        return len(self.problem.values)


def expanded(xp: Backend, params: dict[str, Array], rows: dict[str, Rows]) -> dict[str, Array]:
    """Parameters with one row per pattern, where they have fewer."""
    return {n: a if rows[n].inverse is None else xp.take(a, rows[n].inverse) for n, a in params.items()}


def _rows(value: Value, batch: Batch[Any]) -> Rows:
    if value.spec.per == "run":
        return Rows()
    if value.spec.per == "pattern":
        return Rows(batch.patterns)
    return Rows(*np.unique(batch.angles, return_inverse=True))


def _input(problem: Problem, value: Value, rows: Rows, batch: Batch[Any]) -> Array:
    xp = problem.xp
    array = value.array if rows.index is None else xp.take(value.array, rows.index)
    if value.spec.window_relative:
        corners, origin = batch.corners_px, np.asarray(problem.bound.origin_px)
        if isinstance(corners, np.ndarray):
            array = array - xp.asarray((corners - origin).astype(np.float64), exact=True)
        else:
            array = array - (corners - xp.asarray(origin, exact=True))
    return xp.asarray(array)
