"""What the trainings of all networks share: epochs in stages, Adam, checkpoints, resuming, several processes."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from adorym.comm import communicator
from adorym.data.atomic import whole_file
from adorym.errors import ConfigError, DataError, RunError
from adorym.networks.ranks import Ranks
from adorym.registry import component

LOG = logging.getLogger("adorym")
CHECKPOINT = "training.pt"
N = TypeVar("N", bound=nn.Module)


@component
class TrainerSettings:
    """What all trainings have.

    Attributes:
        learning_rate: Of Adam at the beginning of each stage; it falls to nothing by the end of it.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
        mixed_precision: Convolutions in half precision on CUDA.
        bfloat16: Convolutions in bfloat16 on the CPU: nearly twice as fast where the processor has it (AVX512-BF16).
        threads: CPU threads; the library's choice if absent.
        seed: Seed of the random generator.
    """

    learning_rate: float = Field(1e-3, gt=0)
    device: str = "auto"
    mixed_precision: bool = True
    bfloat16: bool = False
    threads: int | None = Field(None, ge=1)
    seed: int = Field(1, ge=0)


@dataclass
class State:
    """Where a training stands.

    Attributes:
        stage: Number of the stage.
        epoch: Epochs done in it.
        history: One entry an epoch: stage, loss, the validation's parts, seconds.
    """

    stage: int = 0
    epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Share:
    """This process's share of a batch.

    Attributes:
        loss: Mean loss over the share; ``None`` if it is empty.
        own: Examples in the share.
        all: Examples in the batch, over all processes.
    """

    loss: Tensor | None
    own: int
    all: int


class Trainer(ABC, Generic[N]):
    """Trains a network; the caller may own the loop.

    Args:
        make: Makes the network; called after the random generator has its seed.
        settings: How it is trained.
        stages: Epochs of each stage.
        identity: What makes weights fit a network, such as its width; kept in the checkpoint.
        folder: Where the checkpoint is kept; none if ``None``.

    Attributes:
        clip: Largest norm of a step's gradient; no limit if ``None``.
    """

    clip: float | None = None

    def __init__(
        self,
        make: Callable[[], N],
        settings: TrainerSettings,
        stages: Sequence[int],
        identity: Mapping[str, Any],
        folder: Path | None = None,
    ) -> None:
        self.folder, self.state, self._settings = folder, State(), settings
        self._stages, self._identity = tuple(stages), dict(identity)
        self.device = _device(settings.device)
        self.ranks = Ranks(self.device)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.network = make().to(self.device)
        self._optimizer = self._new_optimizer()
        on_gpu = self.device.startswith("cuda")
        lower = torch.float16 if on_gpu else torch.bfloat16
        self.lower = lower if (settings.mixed_precision if on_gpu else settings.bfloat16) else None
        self._scaler = torch.amp.GradScaler("cuda", enabled=self.lower == torch.float16)

    @property
    def n_epochs(self) -> int:
        """Epochs of all stages."""
        return sum(self._stages)

    # -- what each network does its own way ----------------------------------------------------------------------------
    @abstractmethod
    def steps(self, epoch: int, rng: np.random.Generator) -> Sequence[Any]:
        """What each step of an epoch needs; ``epoch`` counts from the first stage on."""

    @abstractmethod
    def share(self, step: Any) -> Share:
        """The loss of this process's share of the batch of a step."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures of held-out examples; the names begin with ``validation_``."""

    def begin(self, stage: int) -> None:
        """Make the network ready for an epoch of a stage."""

    def autocast(self) -> torch.autocast:
        """The precision of the convolutions."""
        return torch.autocast(self.device.partition(":")[0], dtype=self.lower, enabled=self.lower is not None)

    # -- the loop ----------------------------------------------------------------------------------------------------
    def epochs(self) -> Iterator[Mapping[str, float]]:
        """Train to the end of the last stage; yields after each epoch what the history keeps of it."""
        while self.state.stage < len(self._stages):
            while self.state.epoch < self._stages[self.state.stage]:
                start = time.perf_counter()
                loss = self._epoch()
                record = {"stage": self.state.stage + 1.0, "loss": loss, **self.validate()}
                record["time_s"] = time.perf_counter() - start
                for name, value in record.items():
                    self.state.history.setdefault(name, []).append(value)
                self.state.epoch += 1
                self.save()
                yield record
            self.state.stage, self.state.epoch = self.state.stage + 1, 0
            self._optimizer = self._new_optimizer()

    def _epoch(self) -> float:
        done = sum(self._stages[: self.state.stage]) + self.state.epoch
        rng = np.random.default_rng((self._settings.seed, done))
        torch.manual_seed(int(rng.integers(1 << 31)) + self.ranks.rank)
        steps = self.steps(done, rng)
        self.begin(self.state.stage)
        total, count = 0.0, 0
        for i, step in enumerate(steps):
            part = (self.state.epoch + i / len(steps)) / self._stages[self.state.stage]
            for group in self._optimizer.param_groups:
                group["lr"] = self._settings.learning_rate * 0.5 * (1 + math.cos(math.pi * part))
            value, size = self._step(step)
            total, count = total + value, count + size
        mean = self.ranks.sum_values([total])[0] / count
        if not math.isfinite(mean):
            raise RunError("train", "the loss is not a number", remedy="lower 'learning_rate'")
        return mean

    def _step(self, step: Any) -> tuple[float, int]:
        """Sum of the loss over this process's share, and the size of the batch."""
        self.network.train()
        self._optimizer.zero_grad(set_to_none=True)
        made, value = self.share(step), 0.0
        if made.loss is not None:
            value = float(made.loss.detach()) * made.own
            self._scaler.scale(made.loss * (made.own / made.all)).backward()
        trained = [p for p in self.network.parameters() if p.requires_grad]
        for p in trained:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        self.ranks.sum_gradients(trained)
        if self.clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(trained, self.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return value, made.all

    # -- going on ------------------------------------------------------------------------------------------------------
    def _new_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.network.parameters(), lr=self._settings.learning_rate)

    def save(self) -> None:
        """Write the checkpoint: weights, optimizer, and where the training stands."""
        if self.folder is None or self.ranks.rank != 0:
            return
        content = {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "state": vars(self.state),
            **self._identity,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / CHECKPOINT) as partial:
            torch.save(content, partial)

    def resume(self) -> None:
        """Resume from the checkpoint in the folder.

        Raises:
            DataError: There is none, or it is damaged.
            ConfigError: It is that of another network.
        """
        path = (self.folder or Path()) / CHECKPOINT
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, RuntimeError, EOFError) as error:
            raise DataError(str(path), "no training to resume", found=str(error).splitlines()[0]) from error
        for name, wanted in self._identity.items():
            if content.get(name) != wanted:
                raise ConfigError(
                    name, "the checkpoint is that of another network", expected=content.get(name), found=wanted,
                    remedy="choose another folder",
                )  # fmt: skip
        self.network.load_state_dict(content["network"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._scaler.load_state_dict(content["scaler"])
        self.state = State(**content["state"])


def train(
    trainer: Trainer[Any], *, resume: bool = False, watch: Callable[[Mapping[str, float]], None] | None = None
) -> dict[str, Any]:
    """Train to the end; returns the history as arrays.

    Args:
        trainer: The training.
        resume: Continue that of the checkpoint in its folder.
        watch: Called on the first process after every epoch with its entry of the history.

    Raises:
        ConfigError: The folder holds a training, and it is not to be resumed.
    """
    if resume:
        trainer.resume()
    elif trainer.folder is not None and (trainer.folder / CHECKPOINT).is_file():
        raise ConfigError(
            str(trainer.folder), "already holds a training",
            remedy="continue it with '--resume', or choose another folder",
        )  # fmt: skip
    for record in trainer.epochs():
        if watch is not None and trainer.ranks.rank == 0:
            watch(record)
    return {name: np.array(values) for name, values in trainer.state.history.items()}


def _device(name: str) -> str:
    if name == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        # Of several processes on a machine each has its own.
        return f"cuda:{communicator().local_rank % torch.cuda.device_count()}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device", "no CUDA device on this machine", found=name, remedy="use 'auto'")
    return name
