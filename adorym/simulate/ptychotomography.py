r"""Ptychotomography of a cone with grains, at angles, tilts and positions that the data do not know exactly.

The specimen is a hollow cone of silicon with metal grains in and on it, upright along the rotation axis, as in the
original Adorym's tests. It is sampled ``oversample`` times finer than the reconstruction's voxels; at every angle the
fine volume is turned by cubic interpolation and the probe goes through it slice by slice in fine pixels.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import fft, ndimage

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.optics.geometry import Grid
from adorym.optics.poses import make_poses
from adorym.registry import register
from adorym.simulate.base import Simulation
from adorym.simulate.diffraction import FarField
from adorym.simulate.noise import Noise
from adorym.units import Angle, Energy, Length, Pixels, wavelength_m
from adorym.wrapper import get_backend

CONE_REACH = 0.36  # half the height of the cone, in sizes of the volume
Positive = Annotated[float, Field(gt=0)]


def cone_with_grains(shape: tuple[int, int, int], rng: np.random.Generator, grains: int = 60) -> np.ndarray:
    """``(y, x, z)`` complex64: delta + i beta of the specimen, 1 for the walls of the cone, more for the grains."""
    size = min(shape)
    y, x, z = ((np.arange(n) - (n - 1) / 2) / size for n in shape)
    y, x, z = y[:, None, None], x[None, :, None], z[None, None, :]
    height = (y + 0.36) / 0.72
    radius, blur = np.hypot(x, z), 1.0 / size
    outer = 0.08 + 0.24 * np.clip(height, 0, 1)
    inside = np.clip(0.5 + (0.36 - np.abs(y)) / blur, 0, 1)
    shell = np.clip(0.5 + (outer - radius) / blur, 0, 1) - np.clip(0.5 + (0.72 * outer - radius) / blur, 0, 1)
    volume = (inside * shell).astype(np.complex64) * (1 + 0.03j)
    for _ in range(grains):
        level, turn, r = rng.uniform(0.04, 0.96), rng.uniform(0, 2 * np.pi), rng.uniform(0.012, 0.035)
        away = (0.08 + 0.24 * level) * rng.choice([0.86, 1.0, 0.5])
        at = (0.72 * level - 0.36, away * np.cos(turn), away * np.sin(turn))
        distance = np.sqrt((y - at[0]) ** 2 + (x - at[1]) ** 2 + (z - at[2]) ** 2)
        grain = np.clip(0.5 + (r - distance) / blur, 0, 1)
        volume = volume * (1 - grain) + grain * np.complex64(2.2 + 0.2j)
    return volume.astype(np.complex64)


def turned(volume: np.ndarray, theta: float, tilt: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The volume ``(y, x, z)`` as the beam meets it, by cubic interpolation; ``shift`` (y, x) in its voxels."""
    xp = get_backend("autograd", precision="double")
    poses = make_poses(xp, np.array([theta]), tilt[None], shift[None])
    matrix, middle = poses.matrices[0], (np.array(volume.shape) - 1) / 2
    offset = middle + poses.shifts[0] - matrix @ middle
    parts = [
        ndimage.affine_transform(part, matrix, offset, order=3, mode="constant") for part in (volume.real, volume.imag)
    ]
    return parts[0] + 1j * parts[1]


@register("simulation", "ptychotomography_cone")
class ConePtychoTomography(Simulation):
    """Far-field ptychotomography of a cone with grains.

    Attributes:
        volume_px: Size of the volume along each axis, in the reconstruction's voxels.
        window_px: Pixels of the detector along both axes.
        voxel: Size of a voxel, and of a pixel in the object.
        energy: Photon energy.
        phase: Phase shift of one voxel of the cone's wall.
        angles: Number of angles.
        range: Rotation in all; the last angle is left out.
        overlap: Linear overlap of neighboring positions.
        probe_px: Radius (1 / e^2 of the intensity) of the Gaussian probe in pixels.
        photons: Photons in one exposure.
        tilt_error: Largest tilt of each angle about each axis, which the data do not record.
        position_error: Root mean square length of the error of the recorded positions.
        center: x of the rotation axis from the middle of the volume, which the data do not record.
        drift: Shift of the object between the first and the last angle, along y and x, which the data do not record.
        oversample: How much finer the simulation's grid is.
        noise: Photon noise, background, read noise, bad pixels.
    """

    volume_px: Annotated[int, Field(ge=16)] = 64
    window_px: Annotated[int, Field(ge=8)] = 32
    voxel: Annotated[Length, Field(gt=0)] = 10e-9
    energy: Annotated[Energy, Field(gt=0)] = 5000.0
    phase: Angle = 0.03
    angles: Annotated[int, Field(ge=1)] = 30
    range: Angle = np.pi
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.6
    probe_px: Annotated[Pixels, Field(gt=0)] = 6.0
    photons: Positive = 1e6
    tilt_error: Annotated[Angle, Field(ge=0)] = 0.0
    position_error: Annotated[Pixels, Field(ge=0)] = 0.0
    center: Pixels = 0.0
    drift: Pixels = 0.0
    oversample: Annotated[int, Field(ge=1, le=4)] = 2
    noise: Noise = Noise()

    def run(self, seed: int) -> Dataset:
        for_specimen, for_motion, for_scan, for_noise = map(
            np.random.default_rng, np.random.SeedSequence(seed).spawn(4)
        )
        n, s = self.volume_px, self.oversample
        fine = cone_with_grains((n * s,) * 3, for_specimen) * np.float32(self.phase / s)
        theta = np.linspace(0, self.range, self.angles, endpoint=False)
        tilt = for_motion.uniform(-self.tilt_error, self.tilt_error, (self.angles, 3))
        shift = self.drift * (np.linspace(0, 1, self.angles) - 0.5)[:, None] * np.ones(2)
        seen = shift + np.array([0.0, self.center])
        positions = self._positions(for_scan)
        recorded = positions + self.position_error / np.sqrt(2) * for_scan.standard_normal(
            (self.angles, *positions.shape[1:])
        )
        probe = self._probe()
        expected = [
            self._angle(turned(fine, theta[a], tilt[a], self.oversample * seen[a]), positions[a], probe)
            for a in range(self.angles)
        ]
        patterns, mask = self.noise.measure(np.concatenate(expected), for_noise)
        coarse = fine.reshape(n, s, n, s, n, s).sum((1, 3, 5)) / s**2
        k_voxel = 2 * np.pi / wavelength_m(self.energy) * self.voxel
        return Dataset(
            patterns=ArrayPatterns(patterns),
            probe_positions_px=recorded.reshape(-1, 2),
            angle_index=np.repeat(np.arange(self.angles), positions.shape[1]),
            theta_rad=theta,
            energy_ev=self.energy,
            pixel_size_m=(self.voxel, self.voxel),
            mask=mask,
            start_probe=probe[None, ::s, ::s].astype(np.complex64) * s,
            truth={
                "delta_beta": (np.stack([coarse.real, coarse.imag], axis=-1) / k_voxel).astype(np.float32),
                "probe_positions_px": positions.reshape(-1, 2),
                "tilt_rad": tilt,
                "rotation_center_px": np.array([self.center]),
                "object_shift_px": shift,
            },
            format="simulation",
            notes=(f"simulated, seed {seed}",),
        )

    def _positions(self, rng: np.random.Generator) -> np.ndarray:
        """``(angle, tile, 2)`` true positions: a grid, every point displaced a little, another at each angle.

        The middle of the beam goes to the edges of the cone, the window beyond them.
        """
        reach, step = CONE_REACH * self.volume_px, (1 - self.overlap) * 2 * self.probe_px
        line = np.linspace(-reach, reach, max(2, 1 + int(np.ceil(2 * reach / step))))
        line = line + (self.volume_px - self.window_px) / 2
        grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        return grid + rng.uniform(-1.5, 1.5, (self.angles, *grid.shape))

    def _probe(self) -> np.ndarray:
        """``(y, x)`` complex128 on the fine grid: a Gaussian beam with some curvature."""
        size = self.window_px * self.oversample
        # The sample that a coarse pixel falls on stays where it is: fine sample ``oversample * i`` is pixel i.
        y = np.arange(size) / self.oversample - (self.window_px - 1) / 2
        r2 = (y[:, None] ** 2 + y[None, :] ** 2) / self.probe_px**2
        probe = np.exp(-r2 + 1j * r2)
        return probe * np.sqrt(self.photons / np.sum(np.abs(probe) ** 2))

    def _angle(self, turned: np.ndarray, positions: np.ndarray, probe: np.ndarray) -> np.ndarray:
        """Expected photons ``(tile, y, x)`` of one angle."""
        s, size = self.oversample, self.window_px * self.oversample
        grid = Grid((size, size), (self.voxel / s, self.voxel / s), wavelength_m(self.energy))
        qy, qx = grid.frequencies_per_m()
        step = np.exp(-1j * np.pi * grid.wavelength_m * (self.voxel / s) * (qy**2 + qx**2))
        slices = np.exp(-(turned.imag + 1j * turned.real)).astype(np.complex64)
        slices = np.pad(slices, [(size, size), (size, size), (0, 0)], constant_values=1)  # the window may hang over
        detector, out = FarField((self.window_px, self.window_px)), []
        fy, fx = fft.fftfreq(size)[:, None], fft.fftfreq(size)[None, :]
        for position in positions * s + (s - 1) / 2:  # a coarse voxel's middle lies between fine ones
            whole = np.floor(position + 0.5).astype(int) + size
            rest = position + size - whole
            wave = fft.ifft2(fft.fft2(probe) * np.exp(-2j * np.pi * (fy * rest[0] + fx * rest[1])))
            part = slices[whole[0] : whole[0] + size, whole[1] : whole[1] + size]
            for z in range(part.shape[2]):
                wave = fft.ifft2(step * fft.fft2(wave * part[..., z]))
            out.append(detector.intensity(wave[None].astype(np.complex64), rest[None]))
        return np.stack(out)
