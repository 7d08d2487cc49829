r"""Training of 3D-CDI-NN: what is compared, and in which stages.

The loss has three parts: the mean absolute difference of the moduli, measured and :math:`|F[s\,e^{i\varphi}]|` divided
by its maximum; that of the shapes, by default the squared difference over the sum of the squares; and that of the
phases inside the crystal, by default one minus the cosine of the difference. A branch that is not trained yet is
replaced by the truth in the first part. Stages: (1) encoder and shape; (2) phase alone; (3) encoder and phase; (4)
everything (Chan et al., Appl. Phys. Rev. 8, 021407 (2021), section II C).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from adorym.errors import DataError
from adorym.networks.cdi_nn import BRANCHES, FULL_WIDTH, SIZE, CdiNetwork, decoded, diffraction
from adorym.networks.shards import Examples, Turn
from adorym.networks.trainer import Share, Trainer, TrainerSettings
from adorym.registry import component


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
class TrainingSettings(TrainerSettings):
    """How 3D-CDI-NN is trained.

    Attributes:
        width: Channels at the three scales; (32, 64, 128) is the paper's network.
        dropout: Part of the activations left out.
        stages: What is trained for how long, in order.
        batch_size: Crystals in one step, over all processes.
        modulus_weight: Of the misfit of the moduli.
        shape_weight: Of the misfit of the shapes.
        phase_weight: Of the misfit of the phases.
        power: Power of the modulus that goes in, see `adorym.networks.cdi_nn.CdiNetwork`.
        validation: Part of the crystals that is held out.
        shape_loss: ``overlap``: squared difference over the sum of the squares, as the crystals are aligned;
            ``mean``: mean absolute difference; ``balanced``: that inside and that outside count alike.
        phase_loss: ``cosine``: one minus the cosine of the difference; ``mean``: absolute difference of the codes.
    """

    width: tuple[int, int, int] = FULL_WIDTH
    dropout: float = Field(0.1, ge=0, lt=1)
    stages: tuple[Stage, ...] = STAGES
    batch_size: int = Field(256, ge=1)
    modulus_weight: float = Field(10.0, ge=0)
    shape_weight: float = Field(1.0, ge=0)
    phase_weight: float = Field(0.5, ge=0)
    power: float = Field(0.5, gt=0, le=1)
    validation: float = Field(0.1, gt=0, lt=1)
    shape_loss: Literal["overlap", "mean", "balanced"] = "overlap"
    phase_loss: Literal["cosine", "mean"] = "cosine"


class CdiTrainer(Trainer[CdiNetwork]):
    """Trains 3D-CDI-NN on examples that are in memory.

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
        self.settings = settings
        self.training, self.validation = examples.rows(slice(held_out, None)), examples.rows(slice(0, held_out))
        identity = {"width": settings.width}
        super().__init__(self._network, settings, [s.epochs for s in settings.stages], identity, folder)

    def _network(self) -> CdiNetwork:
        settings = self.settings
        network = CdiNetwork(settings.width, settings.dropout, settings.power).to(self.device)
        for convolution in network.modules():  # the layout that three-dimensional convolutions are fastest in
            for p in convolution.parameters(recurse=False):
                if p.ndim == 5:
                    p.data = p.data.contiguous(memory_format=torch.channels_last_3d)
        return network

    def begin(self, stage: int) -> None:
        for name in BRANCHES:
            getattr(self.network, name).requires_grad_(name in self.settings.stages[stage].branches)

    def steps(self, epoch: int, rng: np.random.Generator) -> Sequence[tuple[np.ndarray, Turn]]:
        n, size = len(self.training), self.settings.batch_size
        order = rng.permutation(n)
        return [(order[i : i + size], Turn.random(rng)) for i in range(0, n, size)]

    def share(self, step: tuple[np.ndarray, Turn]) -> Share:
        rows, turn = step
        mine = np.sort(rows[self.ranks.rank :: self.ranks.size])
        if not len(mine):
            return Share(None, 0, len(rows))
        branches = self.settings.stages[self.state.stage].branches
        parts = self._parts(turn.of(self.training.rows(mine)), branches)
        return Share(torch.stack(list(parts.values())).sum(), len(mine), len(rows))

    def _parts(self, examples: Sequence[np.ndarray], branches: tuple[str, ...]) -> dict[str, Tensor]:
        """Weighted parts of the loss of a batch."""
        settings = self.settings
        modulus, shape, phase = (torch.from_numpy(a).to(self.device, torch.float32) for a in examples)
        given = modulus[:, None].contiguous(memory_format=torch.channels_last_3d)
        with self.autocast():
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
