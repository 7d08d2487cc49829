"""Bragg coherent diffraction of one crystal, made in the computer."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.optics.bragg_geometry import BraggGeometry
from adorym.registry import register
from adorym.simulate.base import Simulation, generators, simulated
from adorym.simulate.crystals import Strain, phases, ramp_phase, without_ramp
from adorym.simulate.polyhedra import Shape, orientations, polyhedra
from adorym.units import Angle, Energy, Length, Pixels
from adorym.wrapper import get_backend
from adorym.wrapper.base import Backend

Size = Annotated[int, Field(ge=8)]
# The truth keeps frequencies up to the detector's edge only: what a perfect reconstruction could have.
SIMULATED_STRAIN = Strain(eigenstrain=(1.5, 3.0), relaxed_part=0.0, dislocation_part=0.0, unstrained_part=0.0)


@register("simulation", "bragg_crystal")
class BraggCrystal(Simulation):
    """A rocking scan through a Bragg peak of a faceted, strained crystal.

    The crystal is drawn on voxels ``oversample`` times finer than the reconstruction's, so that its facets are sharper
    than these resolve; the detector sees the middle of its pattern.

    Attributes:
        frames: Angles of the rocking scan.
        window_px: (y, x) pixels of the detector.
        photons: Photons in all frames together.
        shape: Which solids.
        strain: Which phases.
        background: Mean background photons in every pixel.
        coherence_blur: Standard deviation of the Gaussian that partial coherence convolves the pattern with.
        peak_offset: Largest distance of the peak from the middle, along each axis, fractions included.
        hot_pixels: Number of stray voxels with counts that have nothing to do with the crystal.
        dead_part: Fraction of the pixels that measure nothing.
        energy: Photon energy.
        distance: Crystal to detector.
        detector_pixel: Pitch of the pixels.
        rocking_step: Angle from one frame to the next.
        step_error: Standard deviation of the frames' places on the rocking curve, in steps, which the data do not
            record.
        oversample: How much finer the crystal is drawn.
    """

    frames: Size = 48
    window_px: tuple[Size, Size] = (56, 64)
    photons: Annotated[float, Field(gt=0)] = 1e7
    shape: Shape = Shape(oversampling=(2.8, 3.2), aspect=(0.8, 1.0))
    strain: Strain = SIMULATED_STRAIN
    background: Annotated[float, Field(ge=0)] = 0.0
    coherence_blur: Annotated[Pixels, Field(ge=0)] = 0.0
    peak_offset: Annotated[Pixels, Field(ge=0)] = 0.5
    hot_pixels: int = Field(0, ge=0)
    dead_part: Annotated[float, Field(ge=0, lt=1)] = 0.0
    energy: Annotated[Energy, Field(gt=0)] = 9000.0
    distance: Annotated[Length, Field(gt=0)] = 0.6
    detector_pixel: Annotated[Length, Field(gt=0)] = 55e-6
    rocking_step: Angle = 1.5e-4
    step_error: float = Field(0.0, ge=0)
    oversample: Annotated[int, Field(ge=1, le=4)] = 2

    def run(self, seed: int) -> Dataset:
        """Simulate."""
        xp = get_backend("torch", device="cpu", precision="double")
        for_crystal, for_noise = generators(seed, 2)
        crystal = self._crystal(xp, for_crystal)
        places = self.step_error * for_noise.standard_normal(self.frames)
        expected, truth = self._expected(crystal, places)
        counts, mask = self._measured(expected, for_noise)
        theta = (np.arange(self.frames) - self.frames // 2) * self.rocking_step
        return simulated(
            seed,
            counts.astype(np.float32),
            angle_index=np.arange(self.frames),
            theta_rad=theta,
            energy_ev=self.energy,
            detector_pixel_size_m=(self.detector_pixel, self.detector_pixel),
            distance_m=self.distance,
            mask=mask,
            truth={
                "crystal": np.moveaxis(truth, 0, 2).astype(np.complex64),
                "rocking_positions_px": (np.arange(self.frames) - self.frames // 2 + places),
            },
        )

    def _crystal(self, xp: Backend, rng: np.random.Generator) -> np.ndarray:
        """``(z, y, x)`` complex on the fine grid."""
        z, y, x = (n * self.oversample for n in (self.frames, *self.window_px))
        turns = orientations(rng, 1)
        filling = polyhedra(xp, rng, turns, (z, y, x), self.shape)
        phase = xp.to_numpy(without_ramp(xp, phases(xp, rng, filling, turns, self.strain), filling))[0]
        offset = rng.uniform(-self.peak_offset, self.peak_offset, 3)
        return xp.to_numpy(filling)[0] * np.exp(1j * (phase + xp.to_numpy(ramp_phase(xp, offset[None], (z, y, x)))[0]))

    def _expected(self, crystal: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected counts ``(z, y, x)`` and the crystal on the reconstruction's voxels, in square root of photons."""
        wave = scipy.fft.fftshift(scipy.fft.fftn(crystal, norm="ortho"))
        middle = [slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(wave.shape, self._counts, strict=True)]
        seen = wave[tuple(middle)]
        scale = np.sqrt(self.photons / (np.abs(seen) ** 2).sum())
        truth = scipy.fft.ifftn(scipy.fft.ifftshift(seen * scale), norm="ortho")
        intensity = np.abs(seen * scale) ** 2
        if places.any():
            n = self.frames
            z = np.arange(n) - n // 2
            ramps = np.exp(-2j * np.pi / n * (z + places)[:, None] * z) / np.sqrt(n)
            # Index 0 of the truth is the corner; frames are counted from the middle.
            volume = scipy.fft.fftshift(truth, axes=0)
            frames = np.tensordot(ramps, volume, 1)
            intensity = np.abs(scipy.fft.fftshift(scipy.fft.fft2(frames, norm="ortho"), axes=(1, 2))) ** 2
        if self.coherence_blur:
            intensity = scipy.ndimage.gaussian_filter(intensity, self.coherence_blur, mode="wrap", truncate=6)
        return intensity + self.background, scipy.fft.fftshift(truth)

    @property
    def _counts(self) -> tuple[int, int, int]:
        return (self.frames, *self.window_px)

    def _measured(self, expected: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        counts = rng.poisson(expected).astype(float)
        for _ in range(self.hot_pixels):
            place = tuple(int(rng.integers(0, n)) for n in counts.shape)
            counts[place] += expected.max() * rng.uniform(0.01, 0.2)
        if not self.dead_part:
            return counts, None
        mask = rng.random(counts.shape[1:]) >= self.dead_part
        return np.where(mask, counts, 0), mask

    def geometry(self) -> BraggGeometry:
        """A 111 reflection of gold in the horizontal plane, for turning the result into the laboratory."""
        return BraggGeometry(gamma=np.deg2rad(34.0), rocking_axis="y", rocking_step=self.rocking_step)
