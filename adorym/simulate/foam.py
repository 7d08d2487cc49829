r"""Tomography of a foam: a ball of matter full of bubbles, whose line integrals are known exactly.

A ball of radius r whose middle is seen at :math:`c'` dims the line through p by :math:`2\mu\sqrt{r^2 - |p - c'|^2}`.
No grid is involved, so that a reconstruction shares none with the simulation.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from adorym.data.dataset import ArrayPatterns, Dataset, Patterns
from adorym.data.flat_fields import Drift, DriftingPatterns
from adorym.data.patterns import CorrectedPatterns
from adorym.optics.poses import make_poses
from adorym.registry import register
from adorym.simulate.base import Simulation, generators
from adorym.units import Angle, Energy, Length, Pixels
from adorym.wrapper import get_backend

NonNegative = Annotated[float, Field(ge=0)]
SUB = 3  # points along each axis over which a pixel integrates


def foam(count: int, radius_px: float, sizes: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """``(count + 1, 4)``: (y, x, z, radius) of the ball and of bubbles in it that do not touch, large ones first.

    ``sizes`` are the largest and the smallest bubble, as parts of the ball's radius.
    """
    balls = [np.array([0, 0, 0, radius_px])]
    for size in radius_px * np.geomspace(*sizes, count):
        for _ in range(200):
            place = rng.uniform(-radius_px, radius_px, 3)
            if np.linalg.norm(place) + size > 0.95 * radius_px:
                continue
            others = np.array(balls[1:]).reshape(-1, 4)
            if (np.linalg.norm(others[:, :3] - place, axis=1) > others[:, 3] + size).all():
                balls.append(np.array([*place, size]))
                break
    return np.array(balls)


def line_integrals_of(balls: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``(y, x)`` lengths of matter, averaged over pixels, of balls whose middles (y, x) are seen from the center."""
    fine = (shape[0] * SUB, shape[1] * SUB)
    y, x = ((np.arange(n) - (n - 1) / 2) / SUB for n in fine)
    total = np.zeros(fine)
    for number, (cy, cx, _, r) in enumerate(balls):
        rows, columns = (slice(*np.searchsorted(a, (c - r, c + r))) for a, c in ((y, cy), (x, cx)))
        inside = r**2 - (y[rows, None] - cy) ** 2 - (x[None, columns] - cx) ** 2
        total[rows, columns] += (2 if number == 0 else -2) * np.sqrt(np.maximum(inside, 0))
    return total.reshape(shape[0], SUB, shape[1], SUB).mean((1, 3))


def density_of(balls: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Part of each voxel ``(y, x, z)`` that holds matter, edges blurred over one voxel."""
    y, x, z = (np.arange(n) - (n - 1) / 2 for n in shape)
    density = np.zeros(shape)
    for number, (cy, cx, cz, r) in enumerate(balls):
        spans = [slice(*np.searchsorted(a, (c - r - 1, c + r + 1))) for a, c in ((y, cy), (x, cx), (z, cz))]
        distance = np.sqrt(
            (y[spans[0], None, None] - cy) ** 2
            + (x[None, spans[1], None] - cx) ** 2
            + (z[None, None, spans[2]] - cz) ** 2
        )
        covered = np.clip(0.5 + r - distance, 0, 1)
        density[tuple(spans)] += covered if number == 0 else -covered
    return np.clip(density, 0, 1)


@register("simulation", "tomography_foam")
class FoamTomography(Simulation):
    """Raw counts of a foam ball at many angles, with flat and dark fields, as a beamline writes them.

    Attributes:
        size_px: (y, x) pixels of the detector.
        angles: Number of projections.
        range: Rotation in all; the last angle is left out.
        counts: Counts in a pixel of the open beam.
        absorption: Line integral of the attenuation through the middle of the massive ball.
        radius: Of the ball, as a part of half the shorter side.
        bubbles: Number of bubbles.
        bubble_sizes: Largest and smallest, as parts of the ball's radius.
        center: x of the rotation axis from the middle of the detector.
        tilt_error: Root mean square of the tilts of each angle, about every axis.
        shift_error: Root mean square of the shift of each angle, y and x.
        drift: Shift of the last angle against the first, along x.
        beam_drift: Of the beam's middle between the first and the last angle, as a part of the detector's width; the
            flat fields are from before and after.
        vignette: By how much the beam is weaker at the edges of the detector.
        gain_spread: Spread of what pixels count, over what the flat field tells: the cause of rings.
        dark: Counts without beam.
        pixel_size: Of the detector and of the volume.
        energy: Photon energy.
    """

    size_px: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = (16, 128)
    angles: Annotated[int, Field(ge=2)] = 120
    range: Angle = np.pi
    counts: Annotated[float, Field(gt=0)] = 1e4
    absorption: Annotated[float, Field(gt=0)] = 1.0
    radius: Annotated[float, Field(gt=0, lt=1)] = 0.8
    bubbles: Annotated[int, Field(ge=0)] = 150
    bubble_sizes: tuple[float, float] = (0.25, 0.04)
    center: Pixels = 0.0
    tilt_error: Annotated[Angle, Field(ge=0)] = 0.0
    shift_error: Annotated[Pixels, Field(ge=0)] = 0.0
    drift: Pixels = 0.0
    beam_drift: float = 0.0
    vignette: Annotated[float, Field(ge=0, lt=1)] = 0.3
    gain_spread: NonNegative = 0.0
    dark: NonNegative = 100.0
    pixel_size: Annotated[Length, Field(gt=0)] = 1e-6
    energy: Annotated[Energy, Field(gt=0)] = 2e4

    def run(self, seed: int) -> Dataset:
        for_specimen, for_motion, for_noise = generators(seed, 3)
        ny, nx = self.size_px
        radius = self.radius * nx / 2
        balls = foam(self.bubbles, radius, self.bubble_sizes, for_specimen)
        per_voxel = self.absorption / (2 * radius)
        theta = np.linspace(0, self.range, self.angles, endpoint=False)
        tilt = self.tilt_error * for_motion.standard_normal((self.angles, 3))
        shift = self.shift_error * for_motion.standard_normal((self.angles, 2))
        shift[:, 1] += self.drift * (np.linspace(0, 1, self.angles) - 0.5)
        seen = self._seen(balls, theta, tilt, shift)
        passed = np.exp(-per_voxel * np.stack([line_integrals_of(each, self.size_px) for each in seen]))
        raw, dark, flats = self._counted(passed, for_noise)
        flat = (flats - dark).mean(0)
        level = float(flat.mean())
        patterns: Patterns = CorrectedPatterns(ArrayPatterns(raw), dark, level / flat)
        if self.beam_drift:
            patterns = DriftingPatterns(patterns, Drift.of(flats - dark, np.linspace(0, 1, self.angles)))
        density = density_of(balls, (ny, nx, nx))
        return Dataset(
            patterns=patterns,
            angle_index=np.arange(self.angles),
            theta_rad=theta,
            energy_ev=self.energy,
            pixel_size_m=(self.pixel_size, self.pixel_size),
            open_beam_counts=level,
            truth={
                "attenuation": (per_voxel / self.pixel_size * density).astype(np.float32),
                "rotation_center_px": np.array([self.center]),
                "tilt_rad": tilt,
                "object_shift_px": shift,
            },
            format="simulation",
            notes=(f"simulated, seed {seed}",),
        )

    def _seen(self, balls: np.ndarray, theta: np.ndarray, tilt: np.ndarray, shift: np.ndarray) -> list[np.ndarray]:
        """The balls with their middles where each angle sees them."""
        xp = get_backend("autograd", precision="double")
        poses = make_poses(xp, theta, tilt, shift, np.array([self.center]))
        # The poses lead from the detector to the object: their inverse leads back.
        back = [(balls[:, :3] - t) @ m for m, t in zip(poses.matrices, poses.shifts, strict=True)]
        return [np.column_stack([middles, balls[:, 3]]) for middles in back]

    def _counted(self, passed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw counts ``(a, y, x)``, dark field, flat fields ``(1 or 2, y, x)``, each the mean of twenty frames."""
        ny, nx = self.size_px
        y, x = np.linspace(-1, 1, ny)[:, None], np.linspace(-1, 1, nx)[None, :]
        middle = 2 * self.beam_drift * (np.linspace(0, 1, self.angles) - 0.5)[:, None, None]
        beam = self.counts * (1 - self.vignette * ((x - middle) ** 2 + y**2) / 2)
        gain = 1 + self.gain_spread * rng.standard_normal((ny, nx))
        raw = rng.poisson(beam * gain * passed + self.dark).astype(np.float32)
        dark = rng.poisson(self.dark, (20, ny, nx)).mean(0)
        ends = beam[[0, -1]] if self.beam_drift else beam[:1]
        flats = np.stack([rng.poisson(each + self.dark, (20, ny, nx)).mean(0) for each in ends])
        return raw, dark.astype(np.float32), flats.astype(np.float32)
