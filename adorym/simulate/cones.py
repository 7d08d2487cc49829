r"""A cone with grains at many angles: scanned by a probe, or seen as a whole by a plane wave.

The specimen is a hollow cone of silicon with metal grains in and on it, upright along the rotation axis, as in the
original Adorym's tests. It is sampled ``oversample`` times finer than the reconstruction's voxels; at every angle the
fine volume is turned by cubic interpolation and the wave goes through it slice by slice in fine pixels. Angles, tilts,
shifts and positions are not what the data state.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.optics.geometry import Grid
from adorym.optics.poses import make_poses
from adorym.registry import component, register
from adorym.simulate.base import Simulation, generators, simulated
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
    return scipy.ndimage.affine_transform(volume, matrix, offset, order=3, mode="constant")


def slices_of(volume: np.ndarray) -> np.ndarray:
    """Transmission ``(y, x, z)`` complex64 of each slice of ``k dz (delta + i beta)``."""
    return np.exp(-(volume.imag + 1j * volume.real)).astype(np.complex64)


def paraxial(grid: Grid, distance_m: float) -> np.ndarray:
    """Transfer function ``(y, x)`` of free space in the paraxial approximation."""
    qy, qx = grid.frequencies_per_m()
    return np.exp(-1j * np.pi * grid.wavelength_m * distance_m * (qy**2 + qx**2))


@component
class ConeExperiment(Simulation):
    """A cone with grains that turns.

    Attributes:
        volume_px: Size of the volume along each axis, in the reconstruction's voxels.
        voxel: Size of a voxel, and of a pixel in the object.
        energy: Photon energy.
        phase: Phase shift of one voxel of the cone's wall.
        angles: Number of angles.
        range: Rotation in all; the last angle is left out.
        center: x of the rotation axis from the middle of the volume, which the data do not tell.
        drift: Shift of the object between the first and the last angle, along y and x, which the data do not tell.
        noise: Photon noise, background, read noise, bad pixels.
    """

    volume_px: Annotated[int, Field(ge=16)] = 64
    voxel: Annotated[Length, Field(gt=0)] = 10e-9
    energy: Annotated[Energy, Field(gt=0)] = 5000.0
    phase: Angle = 0.03
    angles: Annotated[int, Field(ge=1)] = 30
    range: Angle = np.pi
    center: Pixels = 0.0
    drift: Pixels = 0.0
    noise: Noise = Noise()

    def _motion(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Angles ``(a,)``, shifts of the object ``(a, 2)``, and where its axis is seen ``(a, 2)``."""
        theta = np.linspace(0, self.range, self.angles, endpoint=False)
        shift = self.drift * (np.linspace(0, 1, self.angles) - 0.5)[:, None] * np.ones(2)
        return theta, shift, shift + np.array([0.0, self.center])

    def _simulated(self, seed: int, expected: np.ndarray, volume: np.ndarray, rng: np.random.Generator) -> Dataset:
        """The data set of ``expected`` photons and of ``volume``, ``k dz (delta + i beta)`` on the voxels."""
        patterns, mask = self.noise.measure(expected, rng)
        theta, shift, _ = self._motion()
        k_voxel = 2 * np.pi / wavelength_m(self.energy) * self.voxel
        truth = {
            "delta_beta": (np.stack([volume.real, volume.imag], axis=-1) / k_voxel).astype(np.float32),
            "rotation_center_px": np.array([self.center]),
            "object_shift_px": shift,
        }
        known = {"theta_rad": theta, "angle_index": np.repeat(np.arange(self.angles), len(patterns) // self.angles)}
        pixel = (self.voxel, self.voxel)
        return simulated(seed, patterns, **known, energy_ev=self.energy, pixel_size_m=pixel, mask=mask, truth=truth)


@register("simulation", "full_field_cone")
class FullFieldCone(ConeExperiment):
    """Images of a cone with grains, lit by a plane wave, that is thicker than the depth of focus.

    The wave goes on from the volume to the detector in the paraxial approximation.

    Attributes:
        distance: From the volume's last slice to the detector.
        photons: Photons in a pixel of the open beam.
    """

    voxel: Annotated[Length, Field(gt=0)] = 5e-9
    energy: Annotated[Energy, Field(gt=0)] = 1000.0
    distance: Annotated[Length, Field(gt=0)] = 3e-7
    photons: Positive = 1e5

    def run(self, seed: int) -> Dataset:
        for_specimen, for_noise = generators(seed, 2)
        volume = cone_with_grains((self.volume_px,) * 3, for_specimen) * np.float32(self.phase)
        theta, _, seen = self._motion()
        expected = [self._image(turned(volume, theta[a], np.zeros(3), seen[a])) for a in range(self.angles)]
        data = self._simulated(seed, np.stack(expected).astype(np.float32), volume, for_noise)
        return data.with_(propagation_distance_m=np.array([self.distance]), open_beam_counts=self.photons)

    def _image(self, volume: np.ndarray) -> np.ndarray:
        """Expected photons ``(y, x)``."""
        grid = Grid(volume.shape[:2], (self.voxel, self.voxel), wavelength_m(self.energy))
        step, slices = paraxial(grid, self.voxel), slices_of(volume)
        wave = np.full(volume.shape[:2], np.sqrt(self.photons), np.complex64)
        for z in range(volume.shape[2] - 1):
            wave = scipy.fft.ifft2(step * scipy.fft.fft2(wave * slices[..., z]))
        wave = scipy.fft.ifft2(paraxial(grid, self.distance) * scipy.fft.fft2(wave * slices[..., -1]))
        return np.abs(wave) ** 2


@register("simulation", "ptychotomography_cone")
class ConePtychoTomography(ConeExperiment):
    """Far-field ptychotomography of a cone with grains.

    Attributes:
        window_px: Pixels of the detector along both axes.
        overlap: Linear overlap of neighboring positions.
        probe_px: Radius (1 / e^2 of the intensity) of the Gaussian probe in pixels.
        photons: Photons in one exposure.
        tilt_error: Largest tilt of each angle about each axis, which the data do not know.
        position_error: Root mean square length of the error of the recorded positions.
        oversample: How much finer the simulation's grid is.
    """

    window_px: Annotated[int, Field(ge=8)] = 32
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.6
    probe_px: Annotated[Pixels, Field(gt=0)] = 6.0
    photons: Positive = 1e6
    tilt_error: Annotated[Angle, Field(ge=0)] = 0.0
    position_error: Annotated[Pixels, Field(ge=0)] = 0.0
    oversample: Annotated[int, Field(ge=1, le=4)] = 2

    def run(self, seed: int) -> Dataset:
        for_specimen, for_motion, for_scan, for_noise = generators(seed, 4)
        n, s = self.volume_px, self.oversample
        fine = cone_with_grains((n * s,) * 3, for_specimen) * np.float32(self.phase / s)
        theta, _, seen = self._motion()
        tilt = for_motion.uniform(-self.tilt_error, self.tilt_error, (self.angles, 3))
        positions, probe = self._positions(for_scan), self._probe()
        recorded = positions + self.position_error / np.sqrt(2) * for_scan.standard_normal(positions.shape)
        expected = [
            self._angle(turned(fine, theta[a], tilt[a], s * seen[a]), positions[a], probe) for a in range(self.angles)
        ]
        coarse = fine.reshape(n, s, n, s, n, s).sum((1, 3, 5)) / s**2
        data = self._simulated(seed, np.concatenate(expected), coarse, for_noise)
        return data.with_(
            probe_positions_px=recorded.reshape(-1, 2),
            start_probe=probe[None, ::s, ::s].astype(np.complex64) * s,
            truth=data.truth | {"probe_positions_px": positions.reshape(-1, 2), "tilt_rad": tilt},
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
        step = paraxial(grid, self.voxel / s)
        slices = np.pad(
            slices_of(turned), [(size, size), (size, size), (0, 0)], constant_values=1
        )  # the window may hang over
        detector, out = FarField((self.window_px, self.window_px)), []
        fy, fx = scipy.fft.fftfreq(size)[:, None], scipy.fft.fftfreq(size)[None, :]
        for position in positions * s + (s - 1) / 2:  # a coarse voxel's middle lies between fine ones
            whole = np.floor(position + 0.5).astype(int) + size
            rest = position + size - whole
            wave = scipy.fft.ifft2(scipy.fft.fft2(probe) * np.exp(-2j * np.pi * (fy * rest[0] + fx * rest[1])))
            part = slices[whole[0] : whole[0] + size, whole[1] : whole[1] + size]
            for z in range(part.shape[2]):
                wave = scipy.fft.ifft2(step * scipy.fft.fft2(wave * part[..., z]))
            out.append(detector.intensity(wave[None].astype(np.complex64), rest[None]))
        return np.stack(out)
