"""Full-field near-field images of a thick specimen at many angles: where projections no longer tell what is seen."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import fft

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.optics.geometry import Grid
from adorym.registry import register
from adorym.simulate.base import Simulation
from adorym.simulate.noise import Noise
from adorym.simulate.ptychotomography import cone_with_grains, turned
from adorym.units import Angle, Energy, Length, Pixels, wavelength_m

Positive = Annotated[float, Field(gt=0)]


@register("simulation", "full_field_cone")
class FullFieldCone(Simulation):
    """Plane-wave images of a cone with grains that is thicker than the depth of focus.

    At every angle the volume is rotated by cubic interpolation, and the wave is propagated slice by slice and on to the
    detector in the paraxial approximation.

    Attributes:
        volume_px: Size of the volume along each axis, and of the images.
        voxel: Size of a voxel.
        energy: Photon energy.
        phase: Phase shift of one voxel of the cone's wall.
        angles: Number of angles.
        range: Rotation in all; the last angle is left out.
        distance: Distance from the volume's last slice to the detector.
        photons: Photons in a pixel of the open beam.
        center: x of the rotation axis from the middle of the images, which the data do not record.
        drift: Shift of the object between the first and the last angle, along y and x, which the data do not record.
        noise: Photon noise, background, read noise, bad pixels.
    """

    volume_px: Annotated[int, Field(ge=16)] = 64
    voxel: Annotated[Length, Field(gt=0)] = 5e-9
    energy: Annotated[Energy, Field(gt=0)] = 1000.0
    phase: Angle = 0.03
    angles: Annotated[int, Field(ge=1)] = 30
    range: Angle = np.pi
    distance: Annotated[Length, Field(gt=0)] = 3e-7
    photons: Positive = 1e5
    center: Pixels = 0.0
    drift: Pixels = 0.0
    noise: Noise = Noise()

    def run(self, seed: int) -> Dataset:
        for_specimen, for_noise = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
        n = self.volume_px
        volume = cone_with_grains((n, n, n), for_specimen) * np.float32(self.phase)
        theta = np.linspace(0, self.range, self.angles, endpoint=False)
        shift = self.drift * (np.linspace(0, 1, self.angles) - 0.5)[:, None] * np.ones(2)
        seen = shift + np.array([0.0, self.center])
        expected = [self._image(turned(volume, theta[a], np.zeros(3), seen[a])) for a in range(self.angles)]
        patterns, mask = self.noise.measure(np.stack(expected).astype(np.float32), for_noise)
        k_voxel = 2 * np.pi / wavelength_m(self.energy) * self.voxel
        return Dataset(
            patterns=ArrayPatterns(patterns),
            angle_index=np.arange(self.angles),
            theta_rad=theta,
            energy_ev=self.energy,
            pixel_size_m=(self.voxel, self.voxel),
            propagation_distance_m=np.array([self.distance]),
            open_beam_counts=self.photons,
            mask=mask,
            truth={
                "delta_beta": (np.stack([volume.real, volume.imag], axis=-1) / k_voxel).astype(np.float32),
                "rotation_center_px": np.array([self.center]),
                "object_shift_px": shift,
            },
            format="simulation",
            notes=(f"simulated, seed {seed}",),
        )

    def _image(self, volume: np.ndarray) -> np.ndarray:
        """Expected photons ``(y, x)``."""
        grid = Grid(volume.shape[:2], (self.voxel, self.voxel), wavelength_m(self.energy))
        qy, qx = grid.frequencies_per_m()
        chirp = -1j * np.pi * grid.wavelength_m * (qy**2 + qx**2)
        step, slices = np.exp(chirp * self.voxel), np.exp(-(volume.imag + 1j * volume.real)).astype(np.complex64)
        wave = np.full(volume.shape[:2], np.sqrt(self.photons), np.complex64)
        for z in range(volume.shape[2] - 1):
            wave = fft.ifft2(step * fft.fft2(wave * slices[..., z]))
        wave = fft.ifft2(np.exp(chirp * self.distance) * fft.fft2(wave * slices[..., -1]))
        return np.abs(wave) ** 2
