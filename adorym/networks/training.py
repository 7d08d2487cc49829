r"""Training of 3D-CDI-NN: what is compared, in which stages, and how training resumes after an interruption.

The loss has three parts: the mean absolute difference of the moduli, measured and :math:`|F[s\,e^{i\varphi}]|` divided
by its maximum; that of the shapes, by default the squared difference over the sum of the squares; and that of the
phases inside the crystal, by default one minus the cosine of the difference. A branch that is not trained yet is
replaced by the truth in the first part. Stages: (1) encoder and shape; (2) phase alone; (3) encoder and phase; (4)
everything (Chan et al., Appl. Phys. Rev. 8, 021407 (2021), section II C).
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from adorym.data.atomic import whole_file
from adorym.errors import ConfigError, DataError, RunError
from adorym.networks.cdi_nn import BRANCHES, FULL_WIDTH, SIZE, CdiNetwork, decoded, diffraction
from adorym.networks.ranks import Ranks
from adorym.networks.shards import Examples, Turn
from adorym.registry import component

LOG = logging.getLogger("adorym")
CHECKPOINT = "training.pt"


@component
class Stage:
    """One stage of a training.

    Attributes:
        branches: What is trained: ``encoder``, ``shape``, ``phase``; the rest is frozen.
        epochs: Times that every crystal is looked at.
    """

    branches: tuple[Literal["encoder", "shape", "phase"], ...] = BRANCHES  # type: ignore[assignment]
    epochs: int = Field(10, ge=0)


STAGES = (
    Stage(branches=("encoder", "shape"), epochs=50),
    Stage(branches=("phase",), epochs=50),
    Stage(branches=("encoder", "phase"), epochs=50),
    Stage(branches=("encoder", "shape", "phase"), epochs=50),
)


@component
class TrainingSettings:
    """How a network is trained.

    Attributes:
        width: Channels at the three scales; (32, 64, 128) is the paper's network.
        dropout: Part of the activations left out.
        stages: What is trained for how long, in order.
        batch_size: Crystals in one step, over all processes.
        learning_rate: Of Adam at the beginning of each stage; it falls to nothing by the end of it.
        modulus_weight: Of the misfit of the moduli.
        shape_weight: Of the misfit of the shapes.
        phase_weight: Of the misfit of the phases.
        power: Power of the modulus that goes in, see `adorym.networks.cdi_nn.CdiNetwork`.
        validation: Part of the crystals that is held out.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
        shape_loss: ``overlap``: squared difference over the sum of the squares, as the crystals are aligned;
            ``mean``: mean absolute difference; ``balanced``: that inside and that outside count alike.
        phase_loss: ``cosine``: one minus the cosine of the difference; ``mean``: absolute difference of the codes.
        mixed_precision: Convolutions in half precision on CUDA.
        bfloat16: Convolutions in bfloat16 on the CPU: nearly twice as fast where the processor has it (AVX512-BF16).
        threads: CPU threads; the library's choice if absent.
        seed: Seed of the random generator.
    """

    width: tuple[int, int, int] = FULL_WIDTH
    dropout: float = Field(0.1, ge=0, lt=1)
    stages: tuple[Stage, ...] = STAGES
    batch_size: int = Field(256, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    modulus_weight: float = Field(10.0, ge=0)
    shape_weight: float = Field(1.0, ge=0)
    phase_weight: float = Field(0.5, ge=0)
    power: float = Field(0.5, gt=0, le=1)
    validation: float = Field(0.1, gt=0, lt=1)
    device: str = "auto"
    shape_loss: Literal["overlap", "mean", "balanced"] = "overlap"
    phase_loss: Literal["cosine", "mean"] = "cosine"
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


class Trainer:
    """Trains a network on examples that are in memory; the caller may own the loop.

    Args:
        examples: Patterns and crystals of 32^3 voxels.
        settings: How.
        folder: Where the checkpoint is kept; none if ``None``.

    Raises:
        DataError: The examples have another size, or there are too few.
    """

    def __init__(self, examples: Examples, settings: TrainingSettings, folder: Path | None = None) -> None:
        if examples.modulus.shape[1:] != (SIZE,) * 3:
            raise DataError(
                "data", "the crystals have the wrong size", expected=(SIZE,) * 3, found=examples.modulus.shape[1:]
            )
        held_out = max(1, round(settings.validation * len(examples)))
        if held_out >= len(examples):
            raise DataError("data", "too few crystals to hold some out", expected=">= 2", found=len(examples))
        self.settings, self.folder, self.state = settings, folder, State()
        self.device = _device(settings.device)
        self.ranks = Ranks(self.device)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.network = CdiNetwork(settings.width, settings.dropout, settings.power).to(self.device)
        for convolution in self.network.modules():  # the layout that three-dimensional convolutions are fastest in
            for p in convolution.parameters(recurse=False):
                if p.ndim == 5:
                    p.data = p.data.contiguous(memory_format=torch.channels_last_3d)
        self.training, self.validation = examples.rows(slice(held_out, None)), examples.rows(slice(0, held_out))
        self._optimizer = self._new_optimizer()
        on_gpu = self.device.startswith("cuda")
        lower = torch.float16 if on_gpu else torch.bfloat16
        self._lower = lower if (settings.mixed_precision if on_gpu else settings.bfloat16) else None
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._lower == torch.float16)

    # -- the loop ----------------------------------------------------------------------------------------------------
    def epochs(self) -> Iterator[Mapping[str, float]]:
        """Train to the end of the last stage; yields after each epoch what the history keeps of it."""
        stages = self.settings.stages
        while self.state.stage < len(stages):
            stage = stages[self.state.stage]
            while self.state.epoch < stage.epochs:
                start = time.perf_counter()
                loss = self._epoch(stage)
                record = {"stage": self.state.stage + 1.0, "loss": loss, **self.validate()}
                record["time_s"] = time.perf_counter() - start
                for name, value in record.items():
                    self.state.history.setdefault(name, []).append(value)
                self.state.epoch += 1
                self.save()
                yield record
            self.state.stage, self.state.epoch = self.state.stage + 1, 0
            self._optimizer = self._new_optimizer()
        self.ranks.close()

    def _epoch(self, stage: Stage) -> float:
        n, size = len(self.training), self.settings.batch_size
        done = sum(s.epochs for s in self.settings.stages[: self.state.stage]) + self.state.epoch
        rng = np.random.default_rng((self.settings.seed, done))
        torch.manual_seed(int(rng.integers(1 << 31)) + self.ranks.rank)
        order = rng.permutation(n)
        turns = [Turn.random(rng) for _ in range(0, n, size)]
        for name in BRANCHES:
            getattr(self.network, name).requires_grad_(name in stage.branches)
        total, steps = 0.0, -(-n // size)
        for i in range(steps):
            rate = 0.5 * (1 + math.cos(math.pi * (self.state.epoch + i / steps) / stage.epochs))
            for group in self._optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * rate
            rows = order[i * size : (i + 1) * size]
            total += self._step(stage, rows, turns[i])
        mean = self.ranks.sum_values([total])[0] / n
        if not math.isfinite(mean):
            raise RunError("train", "the loss is not a number", remedy="lower 'learning_rate'")
        return mean

    def _step(self, stage: Stage, rows: np.ndarray, turn: Turn) -> float:
        mine = np.sort(rows[self.ranks.rank :: self.ranks.size])
        self.network.train()
        self._optimizer.zero_grad(set_to_none=True)
        value = 0.0
        if len(mine):
            examples = turn.of(self.training.rows(mine))
            loss = torch.stack(list(self._parts(examples, stage.branches).values())).sum()
            value = float(loss.detach()) * len(mine)
            self._scaler.scale(loss * (len(mine) / len(rows))).backward()
        trained = [p for p in self.network.parameters() if p.requires_grad]
        for p in trained:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        self.ranks.sum_gradients(trained)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return value

    def _parts(self, examples: Sequence[np.ndarray], branches: tuple[str, ...]) -> dict[str, Tensor]:
        """Weighted parts of the loss of a batch."""
        settings = self.settings
        modulus, shape, phase = (torch.from_numpy(a).to(self.device, torch.float32) for a in examples)
        given = modulus[:, None].contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.partition(":")[0], dtype=self._lower, enabled=self._lower is not None):
            code = self.network.encode(given)
            parts: dict[str, Tensor] = {}
            found, twist = shape, phase
            if "shape" in branches:
                found = self.network.shape(code)[:, 0].float()
                parts["shape"] = settings.shape_weight * SHAPE_LOSSES[settings.shape_loss](found, shape)
            if "phase" in branches:
                answer = self.network.phase(code)[:, 0].float()
                twist = decoded(answer)
                # Outside the crystal a phase means nothing.
                parts["phase"] = settings.phase_weight * _mean_over(
                    PHASE_LOSSES[settings.phase_loss](twist - phase), shape
                )
        parts["modulus"] = settings.modulus_weight * (diffraction(found, twist) - modulus).abs().mean()
        return parts

    def validate(self) -> dict[str, float]:
        """Means over the held-out crystals, with all branches: every part of the loss, unweighted by stage."""
        self.network.eval()
        sums: dict[str, float] = {}
        with torch.no_grad():
            for start in range(0, len(self.validation), self.settings.batch_size):
                part = self.validation.rows(slice(start, start + self.settings.batch_size))
                for name, value in self._parts(part.arrays, BRANCHES).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(part)
        return {f"validation_{name}": value / len(self.validation) for name, value in sums.items()}

    # -- going on ------------------------------------------------------------------------------------------------------
    def _new_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)

    def save(self) -> None:
        """Write the checkpoint: weights, optimizer, and where the training stands."""
        if self.folder is None or self.ranks.rank != 0:
            return
        content = {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "state": vars(self.state),
            "width": self.settings.width,
        }
        with whole_file(self.folder / CHECKPOINT) as partial:
            torch.save(content, partial)

    def resume(self) -> None:
        """Resume from the checkpoint in the folder.

        Raises:
            DataError: There is none, or it is damaged.
            ConfigError: It is that of a network of another width.
        """
        path = (self.folder or Path()) / CHECKPOINT
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, RuntimeError, EOFError) as error:
            raise DataError(str(path), "no training to resume", found=str(error).splitlines()[0]) from error
        if tuple(content["width"]) != tuple(self.settings.width):
            raise ConfigError(
                "width", "the checkpoint is that of another network", expected=content["width"],
                found=self.settings.width, remedy="choose another folder",
            )  # fmt: skip
        self.network.load_state_dict(content["network"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._scaler.load_state_dict(content["scaler"])
        self.state = State(**content["state"])


def train(trainer: Trainer, watch: Callable[[Mapping[str, float]], None] | None = None) -> dict[str, Any]:
    """Train to the end; returns the history as arrays."""
    for record in trainer.epochs():
        if watch is not None:
            watch(record)
    return {name: np.array(values) for name, values in trainer.state.history.items()}


def _mean_over(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the crystals of each one's weighted mean, so that it does not matter how they are distributed."""
    axes = (-3, -2, -1)
    return ((values * weights).sum(axes) / weights.sum(axes).clamp(min=1e-6)).mean()


def _overlap_loss(found: Tensor, wanted: Tensor) -> Tensor:
    axes = (-3, -2, -1)
    power = found.square().sum(axes) + wanted.square().sum(axes)
    return ((found - wanted).square().sum(axes) / power.clamp(min=1e-6)).mean()


def _balanced_loss(found: Tensor, wanted: Tensor) -> Tensor:
    difference = (found - wanted).abs()
    return 0.5 * (_mean_over(difference, wanted) + _mean_over(difference, 1 - wanted))


# Nine voxels in ten are empty: under a plain mean, nothing everywhere is nearly an answer.
SHAPE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "overlap": _overlap_loss,
    "mean": lambda found, wanted: (found - wanted).abs().mean(),
    "balanced": _balanced_loss,
}


# A wrong sign costs under the absolute difference hardly more than no phase at all, which is then what is learnt.
PHASE_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": lambda difference: 1 - torch.cos(difference),
    "mean": lambda difference: difference.abs() / (2 * math.pi),
}


def _device(name: str) -> str:
    if name == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        # Of several processes on a machine each has its own.
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device", "no CUDA device on this machine", found=name, remedy="use 'auto'")
    return name
