"""The picture of a scan that goes on: batches of what has arrived, new frames more often than old ones.

An *engine* makes it: the solver of the configuration (``iterative``), the network that the configuration names as its
initial object, one look at every frame (``network``), or the solver, with the network's picture where a frame lights
what no frame has lit before (``both``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adorym.config import Config, DataSettings
from adorym.data.result import Result
from adorym.engine.build import default_batch_size
from adorym.engine.growth import grow
from adorym.engine.guard import check_finite, data_loss
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome
from adorym.engine.problem import Problem
from adorym.engine.settings import RunSettings
from adorym.engine.step import GradientStep, apply_update, finish_epoch
from adorym.errors import AdorymError, ConfigError
from adorym.forward.object import ObjectSettings, PatchInitializer
from adorym.forward.probe import ProbeSettings
from adorym.optics.probes import MeanPatternProbe
from adorym.parameters import OBJECT
from adorym.stream.live_data import LiveData
from adorym.stream.patchwork import Patchwork
from adorym.stream.waiting import Ready
from adorym.updates.base import State

LOG = logging.getLogger("adorym")
Engine = Literal["iterative", "network", "both"]
MADE_UP = {"energy_ev": 8e3, "distance_m": 1.0, "detector_pixel_size_m": (5e-5, 5e-5)}
STEP_S = 0.06  # time that a batch should take
SMALLEST_BATCH = 32
SMALLEST_LOOK = 8  # of a network, which takes longer
IDLE_S = 0.005
GROWTH, SHRINKAGE = 1.25, 0.8  # of the batch after one that was faster, or slower, than it should be
STEADY = 0.5  # part of a run, with whose learning rates a scan is followed
FRESH = 0.5  # part of a batch for the frames that were used least; the others are drawn from all


class LivePicture:
    """Object, probe and parameters from the frames so far. All methods are collective.

    A batch holds frames that were used least, and others drawn at random: a new frame is used in the next batch, then
    more often than the old ones until it has caught up, and at the end all were used equally often.

    Args:
        config: The configuration of the run.
        about: What the source knows.
        path: Of the recording, for messages.
        engine: What makes the picture.

    Attributes:
        uses: How often each frame was used.
        loss: Loss of the last batch, of the whole data set if all were like it; NaN before the first one.
        lags_s: Time from the arrival of each frame to the end of its first batch.
    """

    def __init__(self, config: Config, about: dict[str, Any], path: Path, engine: Engine = "iterative") -> None:
        network = network_of(config, engine)
        self._alone = engine == "network"
        self._patchwork = None if network is None else Patchwork(network, replace=self._alone)
        self._models: Mapping[int, str] = {} if self._patchwork is None else self._patchwork.models
        self._config, self._path = config if network is None else _from_vacuum(config), path
        self._data = LiveData(about, config.data, str(path))
        self._reconstruction: Reconstruction | None = None
        self._received = np.zeros(0)
        self.uses, self.loss, self.lags_s = np.zeros(0, np.int64), float("nan"), list[float]()
        self._in_time, self._losses = 2 * SMALLEST_BATCH, list[float]()

    def __len__(self) -> int:
        return len(self.uses)

    @property
    def problem(self) -> Problem:
        """What is solved; there are frames."""
        assert self._reconstruction is not None  # asked for once there is a picture
        return self._reconstruction.problem

    @property
    def history(self) -> Mapping[str, list[float]]:
        """Numbers of each look, by name."""
        assert self._reconstruction is not None  # asked for once there is a picture
        return self._reconstruction.progress.history

    @property
    def looks(self) -> float:
        """How often a frame was used on average."""
        return float(self.uses.mean()) if len(self.uses) else 0.0

    @property
    def batch_size(self) -> int:
        """Patterns that a step should hold: no more than in a run, and than the last ones took time for."""
        if self._alone or self._reconstruction is None:
            return self._in_time
        usual = self._config.run.batch_size or default_batch_size(self.problem.bound)
        return min(self._in_time, max(SMALLEST_BATCH, usual))

    def add(self, frames: Sequence[Ready]) -> None:
        """Add frames to the data set.

        Raises:
            InputError: Data and configuration do not fit each other.
        """
        dataset = self._data.add(frames)
        self._received = np.append(self._received, [frame.received_s for frame in frames])
        self.uses = np.append(self.uses, np.zeros(len(frames), np.int64))
        if self._reconstruction is None:
            self._reconstruction = Reconstruction(dataset, self._config.recipe, in_memory(self._config.run))
        else:
            grow(self._reconstruction, dataset)

    def step(self, size: int, closing: float | None = None) -> None:
        """One batch of at most ``size`` patterns.

        Args:
            size: Patterns.
            closing: After the scan, the part of the run to whose learning rates it has come; only patterns that were
                used least are taken then, until all were used equally often. ``None`` before.

        Raises:
            RunError: The loss is not a finite number.
        """
        run = self._reconstruction
        assert run is not None  # there are frames
        problem, start = run.problem, time.perf_counter()
        patterns = self._chosen(size, run.rng, FRESH if closing is None else 1.0)
        fresh = patterns[self.uses[patterns] == 0]
        self._lay(fresh)
        if self._alone:
            self._look(fresh, start)
            return
        epoch, total = int(self.looks), max(self._config.run.epochs, int(self.looks) + 1)
        rates = self._rates(epoch, closing)
        state = State(epoch, total, {}, rates, problem.store.values, patterns=patterns)
        loss = float(GradientStep(problem).apply(state).loss)
        check_finite(loss, f"a batch of {len(patterns)} frames", rates)
        self.loss = loss * len(self.uses) / len(patterns)
        self._used(patterns, start)
        if int(self.looks) > epoch:
            self._end_look(epoch + 1, total, rates)

    def _rates(self, epoch: int, closing: float | None) -> dict[str, float]:
        """Learning rates by name: those of the first half of a run as long as the scan goes on."""
        epochs = self._config.run.epochs
        at = min(epoch, max(0, int(STEADY * epochs) - 1)) if closing is None else int(closing * epochs)
        active = self.problem.active(epoch)
        factors = {name: value.schedule.factor(at, epochs) for name, value in active.items()}
        return {name: active[name].rate * factor for name, factor in factors.items() if factor > 0}

    def _used(self, patterns: np.ndarray, start_s: float) -> None:
        """Count a batch that began at ``start_s``, and choose the size of the next one."""
        self._losses.append(self.loss)
        self.lags_s += list(time.time() - self._received[patterns[self.uses[patterns] == 0]])
        self.uses[patterns] += 1
        passed = time.perf_counter() - start_s
        if len(patterns) >= self._in_time or passed > STEP_S:
            factor = GROWTH if passed < STEP_S else SHRINKAGE
            self._in_time = max(SMALLEST_LOOK if self._alone else SMALLEST_BATCH, int(factor * self._in_time))

    def _lay(self, fresh: np.ndarray) -> None:
        """Lay the network's patches of frames that were not used before; data foreign to it are left to the solver."""
        if self._patchwork is None:
            return
        try:
            self._patchwork.lay(self.problem, fresh)
        except AdorymError as error:
            if self._alone:
                raise
            LOG.warning("the picture goes on without the network: %s", error.message())
            self._patchwork = None

    def _look(self, fresh: np.ndarray, start_s: float) -> None:
        """One look of the network at frames, which is all that they get."""
        if not len(fresh):
            time.sleep(IDLE_S)
            return
        self.loss = data_loss(self.problem, [fresh]) * len(self.uses) / len(fresh)
        self._used(fresh, start_s)
        self._keep(1)

    def _keep(self, epoch: int) -> None:
        """Add the mean loss since the last entry to the history."""
        assert self._reconstruction is not None  # a batch is over
        progress = self._reconstruction.progress
        progress.epoch = epoch
        for name, value in (("epoch", epoch), ("loss", float(np.mean(self._losses))), ("time_s", 0.0)):
            progress.history[name].append(value)
        self._losses.clear()

    def _chosen(self, size: int, rng: np.random.Generator, part: float) -> np.ndarray:
        """The patterns of the next batch, sorted: a ``part`` of those used least, and others."""
        n = len(self.uses)
        if part == 1 and not self.even:
            size = min(size, int((self.uses < self.uses.max()).sum()))
        if size >= n:
            return np.arange(n)
        unused = int((self.uses == 0).sum())
        least = min(size, max(unused, int(part * size)))
        order = self.uses + rng.random(n)
        chosen = np.argpartition(order, least - 1)[:least]
        others = np.setdiff1d(rng.choice(n, size, replace=False), chosen)[: size - least]
        return np.sort(np.concatenate([chosen, others]))

    def _end_look(self, epoch: int, total: int, rates: dict[str, float]) -> None:
        """What is done at the end of an epoch, once all frames were used as often on average."""
        run = self._reconstruction
        assert run is not None  # a batch is over
        problem = run.problem
        finish_epoch(problem, rates, epoch - 1)
        constrained = frozenset(constraint.parameter for constraint in problem.constraints)
        state = State(epoch, total, problem.present(), rates, problem.store.values, constrained)
        for update in problem.bound.updates:
            if update.when == "end" and update.due(epoch, total):
                state = apply_update(problem, update, state)
        run.budget.look(problem)
        self._keep(epoch)

    @property
    def even(self) -> bool:
        """Whether all frames were used equally often."""
        return bool(len(self.uses)) and int(self.uses.min()) == int(self.uses.max())

    def result(self, order: np.ndarray | None = None) -> Result:
        """The result so far; ``order``: numbers of all frames of the recording, by which patterns are counted."""
        run = self._reconstruction
        assert run is not None  # asked for once there is a picture
        if order is not None:
            numbers = np.searchsorted(order, self._data.numbers)
            bound = run.problem.bound
            run.problem.bound = bound.with_(dataset=bound.dataset.with_(pattern_numbers=numbers))
        made = outcome(run, self._config.to_yaml(), judged=False)
        if self._models:
            names = [self._models.get(row, "") for row in range(len(self.uses))]
            made = replace(made, fit={**made.fit, "network_model": np.array(names, bytes)})
        return made


def network_of(config: Config, engine: Engine) -> PatchInitializer | None:
    """The network that an engine asks for: the initial object of the configuration.

    Raises:
        ConfigError: The configuration has none.
    """
    if engine == "iterative":
        return None
    named = config.recipe.settings.get(OBJECT)
    initial = named.initial if isinstance(named, ObjectSettings) else None
    if isinstance(initial, PatchInitializer):
        return initial
    raise ConfigError(
        "--stream engine", f"'{engine}' needs a network that looks at one pattern at a time",
        expected="parameters.object.initial, such as {kind: ptycho_nn, weights: FILE}",
        found="none" if initial is None else initial.kind,
    )  # fmt: skip


def _from_vacuum(config: Config) -> Config:
    """``config`` with an object that starts from vacuum: the network lays its picture there."""
    parameters = dict(config.parameters)
    parameters[OBJECT] = replace(parameters[OBJECT], initial=None)
    return replace(config, parameters=parameters)


def warm_up(config: Config, path: Path) -> None:
    """One batch of a small scan that is made up: compiles what the first frames would otherwise wait for.

    Without effect if the configuration does not fit such a scan.
    """
    known = {name: getattr(config.data, name) for name in ("energy", "wavelength", "voltage", "distance")}
    data = DataSettings(path=str(path), **known, detector_pixel_size=config.data.detector_pixel_size)
    parameters = {name: replace(each, initial=None) for name, each in config.parameters.items()}
    probe = config.recipe.settings.get("probe")
    if isinstance(probe, ProbeSettings):  # without a search
        parameters["probe"] = replace(probe, initial=MeanPatternProbe())
    about = dict(MADE_UP) if data.energy is data.wavelength is data.voltage is None else {}
    rng = np.random.default_rng(0)
    images = rng.poisson(50 * np.hanning(16)[:, None] * np.hanning(16), (SMALLEST_BATCH, 16, 16)).astype(np.uint16)
    frames = [Ready(i, image, (2.0 * (i // 4), 2.0 * (i % 4)), time.time()) for i, image in enumerate(images)]
    try:
        picture = LivePicture(replace(config, data=data, parameters=parameters), about, path)
        for _ in range(2):
            picture.add(frames)
            picture.step(SMALLEST_BATCH)
    except AdorymError as error:
        LOG.debug("no batch before the first frames: %s", error)


def in_memory(run: RunSettings) -> RunSettings:
    """Settings of the run with the object in memory, which a picture needs that is made anew many times a second."""
    if run.store != "h5":
        return run
    return replace(run, store="dp", object_memory=None, driver="memmap", scratch=None)
