"""Iterative phasing of a Bragg peak as an initializer, or, with no epochs, as the whole reconstruction."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.data.volume import UNEVEN, Volume, crystal_extent, evened, read_volume, rocking_places, unevenness
from adorym.errors import ConfigError
from adorym.forward.object import FirstObject, Initializer
from adorym.initializers.phasing_run import Phased, Phaser, PhasingSettings, ShrinkWrapSettings
from adorym.initializers.sequence import steps_of
from adorym.initializers.starts import Ranked, Ranking, bred, ranked
from adorym.metrics.crystal import DISAGREEING
from adorym.registry import register
from adorym.wrapper import get_backend

LOG = logging.getLogger("adorym")
# Voxels phased together; further starts follow.
BATCH_VOXELS = 1 << 25
# Measured: bytes of a voxel of a start while it is phased, of one that is kept, and of those that are compared.
BYTES_PHASING, BYTES_FOUND, BYTES_RANKING = 110, 30, 40

# With fewer starts there are no two to combine beside the best.
FEWEST_BRED = 3
# Last steps of ``finish`` that are averaged.
FINISH_AVERAGE = 10


@register("initializer", "phasing")
class Phasing(PhasingSettings, Initializer):
    """Phases by alternating projections: ER, HIO, RAAR, difference map, with shrink-wrap, from random starts.

    Attributes:
        starts: Number of random starts, which run together.
        generations: Number of times that all starts are phased. After each but the last the worse half is culled, and
            combinations of the others take its place: for strong strain, where starts disagree.
        rank_by: Criterion for the best start.
        mean_of: Number of best starts to average, without those that do not agree; all if absent, 1 for the best alone.
        agreement: Smallest complex overlap with the best for a start to be averaged.
        finish: Sequence that the mean goes through in the support of the best; an empty text for none. What the starts
            have in common is better determined than any of them, and projections make it fit the data.
        first_support: Sides of the first support divided by those of the crystal, estimated from the
            autocorrelation.
        device: ``auto``, ``cpu`` or ``cuda[:index]``.
    """

    expensive: ClassVar[bool] = True

    starts: int = Field(4, ge=1)
    generations: int = Field(1, ge=1)
    rank_by: Ranking = "chi2"
    mean_of: int | None = Field(None, ge=1)
    agreement: float = Field(0.85, gt=0, le=1)
    finish: str = "30*ER"
    first_support: float = Field(1.1, gt=0)
    device: Literal["auto", "cpu", "cuda"] | str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        steps_of(self.finish or "ER")
        if self.mean_of is not None and self.mean_of > self.starts:
            raise ConfigError("mean_of", "more than there are starts", expected=f"<= {self.starts}", found=self.mean_of)

        if self.generations > 1 and self.starts < FEWEST_BRED:
            expected = f"{FEWEST_BRED} starts or more"
            raise ConfigError("generations", "too few starts to combine", expected=expected, found=self.starts)

    def make(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self.start(dataset, shape, rng).rows(0, shape[0])

    def start(self, dataset: Dataset, shape: tuple[int, ...], rng: np.random.Generator) -> FirstObject:
        volume = peak_of(dataset)
        check_shape(volume, shape)
        found = self.phase(volume, rng)
        self.tell(found)
        return FirstObject.of(as_object(self.finished(found, volume)), diagnostics(found))

    def phase(self, volume: Volume, rng: np.random.Generator) -> Ranked:
        """All starts of the last generation, the best first."""
        phaser, box = self._phaser(volume, self), first_support(volume, self.first_support)
        objects = np.stack([random_start(volume, box, rng) for _ in range(self.starts)])
        size = max(1, BATCH_VOXELS // box.size)

        def phased(objects: np.ndarray, support: np.ndarray) -> Ranked:
            supports = np.broadcast_to(support, objects.shape)
            parts = [phaser.run(objects[i : i + size], supports[i : i + size]) for i in range(0, self.starts, size)]
            return ranked(Phased.joined(parts), volume.modulus, volume.good, self.rank_by)

        found = phased(objects, box)
        for left in reversed(range(1, self.generations)):
            LOG.info("phasing: %d generations to come, chi2 %.5f (best)", left, float(found.chi2[0]))
            kept = bred(found.objects, self.starts)
            fresh = [random_start(volume, box, rng) for _ in range(self.starts - len(kept))]
            found = phased(np.stack([*kept, *fresh]), found.objects[0] != 0)
        return found

    def _phaser(self, volume: Volume, settings: PhasingSettings) -> Phaser:
        xp = get_backend("torch", device=self.device, precision="single")
        return Phaser(xp, volume.modulus, volume.good, settings)

    def tell(self, found: Ranked) -> None:
        """Write misfit and agreement of the starts to the log; a warning if most differ from the best."""
        others = found.overlap[1:]
        if not len(others):
            LOG.info("phasing: one start, chi2 %.5f", float(found.chi2[0]))
            return
        said = "phasing: %d starts, chi2 %.5f (best) to %.5f; overlap of the others with the best %.3f (median)"
        numbers = (len(found.chi2), float(found.chi2[0]), float(found.chi2.max()), float(np.median(others)))
        LOG.info(said, *numbers)
        if np.median(others) < DISAGREEING:
            LOG.warning(
                "the starts of the phasing disagree: their overlap with the best is %.2f; look at the support, at the "
                "oversampling ('adorym prepare' tells it), and try more starts or iterations", numbers[-1],
            )  # fmt: skip

    def bytes_at_once(self, voxels: int) -> int:
        """About how much memory phasing ``voxels`` takes, besides the counts."""
        at_once = min(self.starts, max(1, BATCH_VOXELS // voxels))
        return voxels * (at_once * BYTES_PHASING + self.starts * BYTES_FOUND + BYTES_RANKING)

    def chosen(self, found: Ranked) -> np.ndarray:
        """``(z, y, x)`` the best, or the mean of the best that agree, within the support of the best.

        The others were moved onto it by fractions of a voxel, and are nowhere exactly zero.
        """
        n = self.mean_of or self.starts
        alike = found.objects[:n][found.overlap[:n] >= self.agreement]
        if len(alike) < n:
            LOG.info("phasing: %d of %d starts agree with the best: only they are averaged", len(alike), n)
        return np.where(found.objects[0] != 0, alike.mean(0), 0)

    def finished(self, found: Ranked, volume: Volume) -> np.ndarray:
        """``(z, y, x)`` what is `chosen`, after ``finish``."""
        chosen = self.chosen(found)
        if not self.finish:
            return chosen
        last = PhasingSettings(sequence=self.finish, shrink_wrap=ShrinkWrapSettings(every=0), average=FINISH_AVERAGE)
        return self._phaser(volume, last).run(chosen[None], (chosen != 0)[None]).objects[0]


def peak_of(dataset: Dataset) -> Volume:
    """The counts of ``dataset`` at even steps of the rocking angle."""
    volume, places = read_volume(dataset), rocking_places(dataset)
    return volume if unevenness(places) <= UNEVEN else evened(volume, places)


def check_shape(volume: Volume, shape: tuple[int, ...]) -> None:
    """Refuse an object that is not on the grid conjugate to the data."""
    z, y, x = volume.shape
    if tuple(shape) != (y, x, z):
        raise ConfigError(
            "parameters.object.initial", "phasing needs an object of the shape of the data, (y, x, z)",
            expected=(y, x, z), found=tuple(shape), remedy="it is for models of Bragg CDI, such as 'bragg_cdi'",
        )  # fmt: skip


def as_object(crystal: np.ndarray) -> np.ndarray:
    """From ``(z, y, x)`` to the object's ``(y, x, z)``."""
    return np.ascontiguousarray(np.moveaxis(crystal, 0, 2)).astype(np.complex128)


def first_support(volume: Volume, factor: float) -> np.ndarray:
    """A box in the middle of the array, ``factor`` times the estimated size of the crystal."""
    sides = np.clip(np.rint(factor * crystal_extent(volume)), 2, np.array(volume.shape) - 1)
    near = [np.abs(np.arange(n) - (n - 1) / 2) <= side / 2 for n, side in zip(volume.shape, sides, strict=True)]
    z, y, x = np.meshgrid(*near, indexing="ij", sparse=True)
    return z & y & x


def random_start(volume: Volume, support: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random phases within the support, with the measured power."""
    power = float(volume.counts.sum(dtype=np.float64))
    level = np.sqrt(power / max(int(support.sum()), 1))
    return support * level * np.exp(2j * np.pi * rng.random(support.shape))


def diagnostics(found: Ranked) -> dict[str, np.ndarray]:
    """Diagnostics for the result: misfit, support and agreement of the starts, and their transfer function."""
    kept = {"starts_chi2": found.chi2, "starts_voxels": found.voxels, "starts_overlap": found.overlap}
    if len(found.objects) > 1:
        kept |= {"prtf": found.transfer.value, "prtf_frequency": found.transfer.frequency}
    return kept
