r"""Training of the network for ptychography, without labels.

The forward model of ptychography predicts the counts of every pattern from the patches that the network gives after
each pass, and the Poisson deviance of the counts, divided by the counts of the pattern, is what falls. Earlier passes
count a quarter. The counts are not those that the network saw, but of the same exposure with noise of their own, so
that it gains nothing by fitting noise: simulated patterns are counted twice, and each photon of a measured one goes to
either side by chance, which leaves independent Poisson counts. True patches, where the patterns are simulated, serve
for the figures of the validation alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import Poisson
from adorym.networks.pattern_source import GroupBatch, PatternSource
from adorym.networks.ptycho_nn import PatternGroups, PtychoNetwork
from adorym.networks.trainer import Share, Trainer, TrainerSettings
from adorym.registry import component
from adorym.wrapper import get_backend

EARLIER = 0.25  # weight of the passes before the last
LIT = 0.1  # part of the brightest illumination above which a pixel counts in the figures
PHYSICS, LOSS = Ptychography(), Poisson()


@component
class PtychoSettings(TrainerSettings):
    """How a network for ptychography is trained.

    Attributes:
        size: Side N of a pattern.
        width: Channels at the finest scale.
        passes: Comparisons of object and patterns.
        corrections: Corrections by the physics alone before each of them.
        group: Patterns in a group: 1 for live use, 4 for neighbors that must agree.
        epochs: Number of epochs.
        batch_size: Groups in one step, over all processes.
        validation: Held-out groups of each family.
    """

    size: Literal[64, 128] = 64
    width: int = Field(16, ge=1)
    passes: int = Field(2, ge=1)
    corrections: int = Field(3, ge=0)
    group: int = Field(1, ge=1)
    epochs: int = Field(40, ge=0)
    batch_size: int = Field(16, ge=1)
    validation: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)


class PtychoTrainer(Trainer[PtychoNetwork]):
    """Trains `PtychoNetwork` on the patterns of a source.

    Args:
        source: Patterns to learn from.
        held_out: Patterns for the validation by name, such as that of a family; never those that are learnt from.
        settings: How.
        folder: Where the checkpoint is kept; none if ``None``.
    """

    clip = 1.0

    def __init__(
        self,
        source: PatternSource,
        held_out: Mapping[str, PatternSource],
        settings: PtychoSettings,
        folder: Path | None = None,
    ) -> None:
        self.settings, self._source = settings, source
        self._held_out = {name: each.batch((0,), settings.validation) for name, each in held_out.items()}
        identity = {name: getattr(settings, name) for name in ("size", "width", "passes", "corrections", "group")}
        super().__init__(self._network, settings, [settings.epochs], identity, folder)
        self._xp = get_backend("torch", device=self.device, precision="single", threads=settings.threads)

    def _network(self) -> PtychoNetwork:
        made = self.settings
        return PtychoNetwork(made.size, made.width, made.passes, made.corrections)

    def steps(self, epoch: int, rng: np.random.Generator) -> Sequence[tuple[int, int, int]]:
        size = self.settings.batch_size
        starts = range(0, self._source.length, size)
        return [(epoch, i, min(size, self._source.length - start)) for i, start in enumerate(starts)]

    def share(self, step: tuple[int, int, int]) -> Share:
        epoch, number, size = step
        own = len(range(self.ranks.rank, size, self.ranks.size))
        if not own:
            return Share(None, 0, size)
        batch = self._source.batch((epoch, number, self.ranks.rank), own)
        passes = self._patches(batch)
        weights = [EARLIER] * (len(passes) - 1) + [1.0]
        loss = torch.stack([w * self.deviance(batch, obj) for w, obj in zip(weights, passes, strict=True)]).sum()
        return Share(loss, own, size)

    def _patches(self, batch: GroupBatch) -> Sequence[Tensor]:
        def core(number: int, given: Tensor) -> Tensor:
            with self.autocast():
                return self.network.core(number, given)

        return self.network.unrolled(groups_of(batch, self.device), core)

    def deviance(self, batch: GroupBatch, obj: Tensor) -> Tensor:
        """Mean over the patterns of the Poisson deviance a count."""
        xp, device = self._xp, self.device
        learnt = batch.counts if batch.unseen is None else batch.unseen
        patches, counts = obj.flatten(0, 1), torch.from_numpy(learnt).to(device).flatten(0, 1)
        probe = torch.from_numpy(batch.probe).to(device).flatten(0, 1)
        photons = torch.from_numpy(batch.photons).to(device).expand(*batch.counts.shape[:2], 1, 1).reshape(-1, 1)
        # A prediction in the far field asks nothing of the batch.
        none = cast(Any, None)
        predicted = PHYSICS.detected(xp, patches[:, None] * probe, none, {"intensity_scale": photons}, none)
        good = _good(batch, device)
        if good is not None:
            keep = good.expand(*batch.counts.shape).flatten(0, 1)
            counts, predicted = counts * keep, predicted * keep
        floor = LOSS.floor * counts.mean((-2, -1), keepdim=True)
        terms = LOSS.terms(xp, predicted + floor, counts + floor)
        return (terms.sum((-2, -1)) / counts.sum((-2, -1)).clamp(min=1)).mean()

    def validate(self) -> dict[str, float]:
        """Deviance a count of each held-out source and, where the truth is known, errors of phase and amplitude."""
        self.network.eval()
        found = {}
        with torch.no_grad():
            for name, batch in self._held_out.items():
                obj = self._patches(batch)[-1]
                found[f"validation_{name}"] = float(self.deviance(batch, obj))
        return found

    def scores(self) -> dict[str, dict[str, float]]:
        """Errors of the held-out patches by name: see `patch_errors`; empty for measured patterns."""
        self.network.eval()
        with torch.no_grad():
            return {
                name: patch_errors(batch, self._patches(batch)[-1].cpu().numpy())
                for name, batch in self._held_out.items()
                if batch.truth is not None
            }


def groups_of(batch: GroupBatch, device: str) -> PatternGroups:
    """What the network takes."""
    arrays = batch.counts / batch.photons, batch.probe, batch.corners_px, batch.photons
    intensity, probe, corners, photons = (torch.from_numpy(a).to(device) for a in arrays)
    return PatternGroups(intensity, probe, corners, photons, _good(batch, device))


def _good(batch: GroupBatch, device: str) -> Tensor | None:
    if batch.good is None:
        return None
    good = torch.from_numpy(batch.good).to(device)
    return good[None, None] if good.ndim == 2 else good


def patch_errors(batch: GroupBatch, patches: np.ndarray) -> dict[str, float]:
    """Errors of ``patches`` ``(b, c, y, x)`` where they are lit, each pattern's or group's phase offset removed.

    ``phase_mae_rad`` and ``amplitude_mae`` are means with the illumination as weight.
    """
    assert batch.truth is not None  # checked by the callers
    light = np.sum(np.abs(batch.probe) ** 2, axis=2)
    light = np.where(light > LIT * light.max((-2, -1), keepdims=True), light, 0)
    product = patches * batch.truth.conj() * light
    turn = product.sum((1, 2, 3), keepdims=True)
    difference = np.abs(np.angle(product * np.exp(-1j * np.angle(turn))))
    size = np.abs(np.abs(patches) - np.abs(batch.truth))
    return {
        "phase_mae_rad": float((difference * light).sum() / light.sum()),
        "amplitude_mae": float((size * light).sum() / light.sum()),
    }
