r"""Groups of diffraction patterns of synthetic objects, made on the fly for the training of networks.

The patterns are computed here, in NumPy, and not by the models that reconstruct:
:math:`I = n \sum_m |\mathcal F[P_m(r - d)\, O(r)]|^2`, and photons are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.errors import ConfigError
from adorym.networks.pattern_source import GroupBatch, PatternSource
from adorym.optics.modes import beam_diameter_px, scale_power
from adorym.registry import component
from adorym.simulate.synthetic_objects import SyntheticObjects

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@component
class ProbeFamily:
    """Probes that are drawn at random: focused apertures with or without a central stop, and Gaussian beams.

    Attributes:
        radius: (smallest, largest) radius of the aperture, Fourier pixels; of a Gaussian where its amplitude is 1 / e.
        stop: Largest radius of the central stop, part of that of the aperture.
        diameter: Largest diameter of the defocused beam, part of the window.
        gaussian: Part of the probes that are Gaussian beams.
    """

    radius: tuple[Positive, Positive] = (5.0, 14.0)
    stop: Fraction = 0.5
    diameter: Annotated[float, Field(gt=0, le=0.9)] = 0.6
    gaussian: Annotated[float, Field(ge=0, le=1)] = 0.25

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """A probe ``(1, y, x)`` complex64 of power 1, the beam in the middle."""
        radius = rng.uniform(*self.radius) * size / 64
        frequency = np.fft.fftfreq(size, 1 / size)
        from_middle = np.hypot(frequency[:, None], frequency)
        if rng.uniform() < self.gaussian:
            pupil = np.exp(-((from_middle / radius) ** 2))
        else:
            stop = rng.uniform(0, self.stop) if rng.uniform() < 0.7 else 0.0
            edges = [np.clip(0.5 + r - from_middle, 0, 1) for r in (radius, stop * radius)]
            pupil = edges[0] - (edges[1] if stop else 0.0)
        # The rim's phase tilts the rim's rays: they meet the specimen at this part of the window from the axis.
        lens = 0.5 * np.pi * radius * rng.uniform(0, self.diameter) * rng.choice([-1, 1])
        middle = np.exp(-2j * np.pi * frequency * (size - 1) / 2 / size)
        spectrum = pupil * np.exp(1j * lens * (from_middle / radius) ** 2) * middle[:, None] * middle
        return scale_power(scipy.fft.ifft2(spectrum)[None], 1.0).astype(np.complex64)


@component
class SyntheticSettings:
    """How patterns for a training are made.

    Attributes:
        objects: The objects.
        patterns: Groups in an epoch.
        object_px: Side of an object.
        pool: Objects that are made; each is used again, mirrored and turned, with other positions.
        patterns_per_object: Groups of a batch that are cut out of one object.
        photons: (least, most) photons in the beam of one exposure; drawn evenly on a logarithmic scale.
        overlap: (least, most) linear overlap of neighbors in a group.
        position_error: Root mean square error, in pixels, of the positions of a group as they are recorded.
        dead_pixels: Part of the detector's pixels that are masked, others in every batch.
        beam_stop: Radius of a beam stop, in pixels; none if 0.
    """

    objects: SyntheticObjects = SyntheticObjects()
    patterns: int = Field(2048, ge=1)
    object_px: int = Field(160, ge=96)
    pool: int = Field(128, ge=1)
    patterns_per_object: int = Field(8, ge=1)
    photons: tuple[Positive, Positive] = (3e3, 1e6)
    overlap: tuple[Fraction, Fraction] = (0.4, 0.8)
    position_error: float = Field(0.0, ge=0)
    dead_pixels: Fraction = 0.0
    beam_stop: float = Field(0.0, ge=0)


@dataclass(frozen=True, eq=False)
class SyntheticPatterns(PatternSource):
    """Patterns of synthetic objects for given probes, or for new ones of a family in every batch.

    Attributes:
        settings: How they are made.
        probes: ``(m, y, x)`` complex each, of any power.
        family: Probes to draw instead.
        size: Side of a pattern.
        group: Patterns in a group.
        seed: Seed of the random generator.
    """

    settings: SyntheticSettings
    probes: tuple[np.ndarray, ...]
    family: ProbeFamily | None
    size: int
    group: int
    seed: int
    length: int = field(init=False)
    _kept: dict[int, np.ndarray] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", self.settings.patterns)
        if self.settings.object_px < 1.5 * self.size:
            raise ConfigError(
                "patterns.object_px", "too small for the patterns", expected=f">= {1.5 * self.size:g}",
                found=self.settings.object_px,
            )  # fmt: skip

    def batch(self, number: tuple[int, ...], size: int) -> GroupBatch:
        made, rng = self.settings, np.random.default_rng((self.seed, 0, *number))
        parts = [
            self._of_object(min(made.patterns_per_object, size - start), rng)
            for start in range(0, size, made.patterns_per_object)
        ]
        good = self._good(rng)
        counts, probe, corners, photons, unseen, truth = (np.concatenate(each) for each in zip(*parts, strict=True))
        return GroupBatch(counts, probe, corners, photons, unseen, truth, good)

    def _good(self, rng: np.random.Generator) -> np.ndarray | None:
        made = self.settings
        if not made.dead_pixels and not made.beam_stop:
            return None
        y = scipy.fft.fftfreq(self.size, 1 / self.size)
        good = np.hypot(y[:, None], y) >= made.beam_stop
        return good & (rng.uniform(size=good.shape) >= made.dead_pixels)

    def _object(self, rng: np.random.Generator) -> np.ndarray:
        """One of the pool, mirrored and turned."""
        made, number = self.settings, int(rng.integers(self.settings.pool))
        if number not in self._kept:
            own = np.random.default_rng((self.seed, 1, number))
            self._kept[number] = made.objects.make(number, (made.object_px,) * 2, own)
        mirrored = self._kept[number][:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
        return mirrored.T if rng.uniform() < 0.5 else mirrored

    def _photons(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        low, high = np.log(self.settings.photons)
        return np.exp(rng.uniform(low, high, shape))

    def _probe(self, rng: np.random.Generator) -> np.ndarray:
        if self.family is not None:
            return self.family.draw(self.size, rng)
        return self.probes[rng.integers(len(self.probes))]

    def _of_object(self, groups: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Counts, probes with their offsets, corners, photons, other counts and truth of some groups."""
        made, obj = self.settings, self._object(rng)
        probe = scale_power(self._probe(rng), 1.0)
        positions = self._positions(groups, beam_diameter_px(probe), rng)
        photons = self._photons((groups, 1, 1, 1), rng)
        (counts, unseen), patches = _exposed(obj, probe, positions, photons, rng)
        stated = positions + made.position_error / np.sqrt(2) * rng.standard_normal(positions.shape)
        corners = np.rint(stated).astype(np.int64)
        known = shifted(probe, stated - corners)
        first = corners - corners.min(1, keepdims=True)
        return counts, known.astype(np.complex64), first, photons.astype(np.float32), unseen, patches

    def scan(self, number: int, side: int = 6) -> Dataset:
        """A scan of ``side`` x ``side`` positions over an object, with its truth; the same for the same number."""
        made, rng = self.settings, np.random.default_rng((self.seed, 2, number))
        probe = scale_power(self._probe(rng), 1.0)
        step = (1 - rng.uniform(*made.overlap)) * beam_diameter_px(probe)
        size = int(np.ceil((side - 1) * step)) + self.size + 6
        obj = made.objects.make(number, (size, size), rng)
        grid = 3 + step * np.argwhere(np.ones((side, side)))
        true = grid + np.minimum(0.2 * step, 2.5) * rng.uniform(-1, 1, grid.shape)
        photons = float(self._photons((1,), rng)[0])
        (counts, _), _ = _exposed(obj, probe, true[:, None], np.full((len(true), 1, 1, 1), photons), rng)
        stated = true + made.position_error / np.sqrt(2) * rng.standard_normal(true.shape)
        good = self._good(rng)
        return Dataset(
            patterns=ArrayPatterns(scipy.fft.fftshift(counts[:, 0], axes=(-2, -1))),
            probe_positions_px=stated,
            start_probe=probe * np.sqrt(photons),
            mask=None if good is None else scipy.fft.fftshift(good),
            truth={"object": obj, "probe": probe * np.sqrt(photons), "probe_positions_px": true},
            format="simulation",
        )

    def _positions(self, groups: int, diameter: float, rng: np.random.Generator) -> np.ndarray:
        """``(groups, group, 2)``: one place and neighbors around it, in directions evenly spread, or a raster."""
        side = math.isqrt(self.group)
        if side > 2 and side * side == self.group:
            return self._raster(groups, side, diameter, rng)
        reach, room = 0.7 * diameter, self.settings.object_px - self.size
        edge = min(reach if self.group > 1 else 0.0, 0.45 * room)
        places = rng.uniform(edge, room - edge, (groups, 1, 2))
        if self.group == 1:
            return places
        step = (1 - rng.uniform(*self.settings.overlap, (groups, 1))) * diameter
        turn = rng.uniform(0, 2 * np.pi, (groups, 1)) + 2 * np.pi * np.arange(self.group - 1) / (self.group - 1)
        turn, step = turn + 0.3 * rng.standard_normal(turn.shape), step * rng.uniform(0.8, 1.2, turn.shape)
        around = places + step[..., None] * np.stack([np.sin(turn), np.cos(turn)], -1)
        return np.clip(np.concatenate([places, around], 1), 0, room)

    def _raster(self, groups: int, side: int, diameter: float, rng: np.random.Generator) -> np.ndarray:
        """``(groups, side * side, 2)``: small scans, each with its own step, positions off by up to a fifth of it."""
        room = self.settings.object_px - self.size
        step = (1 - rng.uniform(*self.settings.overlap, (groups, 1, 1))) * diameter
        step = np.clip(step, 1.0, room / (side - 0.6))
        first = rng.uniform(0.2 * step, room - (side - 0.8) * step, (groups, 1, 2))
        grid = np.argwhere(np.ones((side, side), bool))
        return first + step * (grid + rng.uniform(-0.2, 0.2, (groups, side * side, 2)))


def _exposed(
    obj: np.ndarray, probe: np.ndarray, positions: np.ndarray, photons: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Counts ``(2, b, c, y, x)`` float32 of two exposures at ``positions`` ``(b, c, 2)``, and patches of ``obj``."""
    n = probe.shape[-1]
    corners = np.rint(positions).astype(np.int64)
    y, x = (corners[..., axis, None] + np.arange(n) for axis in (0, 1))
    patches = obj[y[..., :, None], x[..., None, :]]
    waves = scipy.fft.fft2(
        (shifted(probe, positions - corners) * patches[:, :, None]).astype(np.complex64), norm="ortho"
    )
    expected = photons * np.sum(np.abs(waves) ** 2, axis=2)
    return rng.poisson(np.stack([expected] * 2)).astype(np.float32), patches


def shifted(probe: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Modes ``(..., m, y, x)`` of ``probe`` ``(m, y, x)`` moved by ``offsets`` ``(..., 2)``, at most half a pixel."""
    n = probe.shape[-1]
    frequency = scipy.fft.fftfreq(n)
    turns = np.exp(-2j * np.pi * offsets[..., None] * frequency)
    kernel = turns[..., 0, :, None] * turns[..., 1, None, :]
    return scipy.fft.ifft2(scipy.fft.fft2(probe) * kernel[..., None, :, :])
