r"""Bragg ptychography of a strained film, made in the computer.

Density and phase of the film are functions of the place in the laboratory. At each position they are sampled along the
exit beam and across it, on upright voxels half as large as the skew ones that reconstruct; the wave behind the film is
summed with the full phase of every voxel at every rocking angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.optics.bragg_geometry import Beam, BraggGeometry, lattice_m
from adorym.registry import register
from adorym.simulate.base import Simulation, generators, simulated
from adorym.units import Angle, Energy, Length, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]
Y = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Film:
    """A film with holes in a smooth, uneven displacement field.

    Attributes:
        normal: Unit vector (x, y, z) across the film.
        thickness_m: Thickness.
        holes: ``(n, 4)`` places (x, y, z) and radii of columns across the film that are empty.
        lobes: ``(n, 5)`` places, radii and heights in rad of the lobes of the phase.
    """

    normal: np.ndarray
    thickness_m: float
    holes: np.ndarray
    lobes: np.ndarray

    def at(self, r: np.ndarray) -> np.ndarray:
        """Complex amplitude at places ``(..., 3)`` in meters."""
        depth = r @ self.normal
        density = np.clip(0.5 + (0.5 * self.thickness_m - np.abs(depth)) / (0.1 * self.thickness_m), 0, 1)
        across = r - depth[..., None] * self.normal
        for *place, radius in self.holes:
            away = np.linalg.norm(across - np.array(place), axis=-1)
            density = density * np.clip(0.5 + (away - radius) / (0.2 * radius), 0, 1)
        phase = sum(h * np.exp(-((r - np.array(p)) ** 2).sum(-1) / (2 * w**2)) for *p, w, h in self.lobes)
        return density * np.exp(1j * np.asarray(phase))


@register("simulation", "bragg_ptychography")
class BraggScan(Simulation):
    """A focused beam scans a strained film at each of several rocking angles.

    The film is crossed by its lattice planes. The beam is known across its way; ``truth`` holds the film on the voxels
    of the reconstruction.

    Attributes:
        window_px: (y, x) pixels of the detector.
        angles: Number of rocking angles.
        scan: (y, x) number of positions.
        step: From one position to the next.
        position_error: Standard deviation of the positions' errors.
        beam: Full width of the beam at half maximum.
        thickness: Thickness of the film.
        strain: Largest phase of a lobe of the displacement field.
        photons: Mean number of photons in a pattern at the middle of the rocking curve.
        energy: Photon energy.
        distance: Film to detector.
        detector_pixel: Pitch of the pixels.
        gamma: Angle of the detector arm, in the horizontal plane; the film turns about y.
        rocking_step: Angle from one rocking angle to the next.
    """

    window_px: tuple[Size, Size] = (48, 64)
    angles: Annotated[int, Field(ge=2)] = 12
    scan: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (8, 8)
    step: PositiveLength = 70e-9
    position_error: Annotated[Length, Field(ge=0)] = 0.0
    beam: PositiveLength = 200e-9
    thickness: PositiveLength = 220e-9
    strain: Angle = 1.5
    photons: Annotated[float, Field(gt=0)] = 1e6
    energy: Annotated[Energy, Field(gt=0)] = 9000.0
    distance: PositiveLength = 0.6
    detector_pixel: PositiveLength = 55e-6
    gamma: Angle = float(np.deg2rad(34.0))
    rocking_step: Angle = 5e-4

    def run(self, seed: int) -> Dataset:
        """Simulate."""
        for_film, for_scan, for_noise = generators(seed, 3)
        nominal = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in self.scan), indexing="ij"), -1)
        nominal = self.step * (nominal.reshape(-1, 2) + for_scan.uniform(-0.15, 0.15, (nominal[..., 0].size, 2)))
        beams = nominal + self.position_error * for_scan.standard_normal(nominal.shape)
        film = self._film(for_film)
        expected = np.stack([self._patterns(film, each) for each in beams], axis=1)  # (angle, position, y, x)
        factor = self.photons / expected[self.angles // 2].sum((1, 2)).mean()
        n, pixel = len(beams), self._pixel_m
        corners, true = ((each - nominal.min(0)) / pixel for each in (nominal, beams))
        line = [(np.arange(k) - (k - 1) / 2) * p for k, p in zip(self.window_px, pixel, strict=True)]
        probe = self._beam(line[0][:, None], line[1])
        return simulated(
            seed,
            for_noise.poisson(factor * expected).reshape(-1, *self.window_px).astype(np.float32),
            probe_positions_px=np.tile(corners, (self.angles, 1)),
            angle_index=np.repeat(np.arange(self.angles), n),
            theta_rad=self._turns,
            energy_ev=self.energy,
            detector_pixel_size_m=(self.detector_pixel, self.detector_pixel),
            distance_m=self.distance,
            start_probe=probe[None].astype(np.complex64),
            truth={
                "object": self._truth(film, nominal.min(0), corners),
                "probe_positions_px": np.tile(true, (self.angles, 1)),
            },
        )

    def geometry(self) -> BraggGeometry:
        """Angles of the experiment."""
        return BraggGeometry(gamma=self.gamma, rocking_axis="y")

    @property
    def _turns(self) -> np.ndarray:
        return (np.arange(self.angles) - self.angles // 2) * self.rocking_step

    @property
    def _pixel_m(self) -> np.ndarray:
        return wavelength_m(self.energy) * self.distance / (np.array(self.window_px) * self.detector_pixel)

    def _film(self, rng: np.random.Generator) -> Film:
        half = 0.5 * self.gamma
        normal, along = np.array([np.sin(half), 0, np.cos(half)]), np.array([np.cos(half), 0, -np.sin(half)])
        reach = 0.5 * self.step * np.array(self.scan) + 0.5 * self.beam

        def places(n: int) -> np.ndarray:
            y, x = rng.uniform(-1, 1, (2, n)) * reach[:, None]
            return y[:, None] * Y + x[:, None] * along

        holes = np.column_stack([places(4), rng.uniform(0.25, 0.5, 4) * self.beam])
        lobes = places(14) + rng.uniform(-0.5, 0.5, (14, 1)) * self.thickness * normal
        heights = self.strain * rng.uniform(0.4, 1, 14) * rng.choice([-1, 1], 14)
        lobes = np.column_stack([lobes, rng.uniform(0.4, 1.0, 14) * self.beam, heights])
        return Film(normal, self.thickness, holes, lobes)

    def _beam(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Wave of the beam at places across it: out of focus, and wider along x than along y."""
        width = self.beam / np.sqrt(2 * np.log(2))
        y, x = y / width, x / (1.2 * width)
        return np.exp(-(y**2) - x**2 + 1.2j * (y**2 + 0.7 * x**2) + 0.5j * x * y)

    def _patterns(self, film: Film, beam_m: np.ndarray) -> np.ndarray:
        """Relative intensities ``(angle, y, x)`` with the beam at (y, x)."""
        g, fine, k = self.gamma, self._pixel_m / 2, 2 * np.pi / wavelength_m(self.energy)
        rows, columns, exit_beam = Y, np.array([np.cos(g), 0, -np.sin(g)]), np.array([np.sin(g), 0, np.cos(g)])
        u, v = ((np.arange(2 * n) - n) * d for n, d in zip(self.window_px, fine, strict=True))
        deep = 0.55 * self.thickness / np.cos(g / 2) + 2 * self.beam * np.tan(g / 2)
        w = np.linspace(-deep, deep, 2 * int(deep / min(fine)) + 1)
        center = beam_m[0] * Y + beam_m[1] * np.array([1.0, 0, 0])
        center = center - np.array([0, 0, 1.0]) * (center @ film.normal) / film.normal[2]
        middle = [np.abs(a) < 3 * self.beam for a in (u, v)]  # beyond, there is no beam
        r = (
            center
            + u[middle[0]][:, None, None, None] * rows
            + v[middle[1]][:, None, None] * columns
            + w[:, None] * exit_beam
        )
        lit = film.at(r) * self._beam(r[..., 1] - beam_m[0], r[..., 0] - beam_m[1])
        q = k * (exit_beam - np.array([0, 0, 1.0]))
        found = []
        for turn in self._turns:
            step = -turn * np.cross(Y, q)  # of the detector in the reciprocal space of the crystal
            wave = np.zeros((u.size, v.size), complex)
            wave[np.ix_(*middle)] = (lit * np.exp(-1j * (r @ step))).sum(-1)
            far = scipy.fft.fftshift(np.abs(scipy.fft.fft2(wave)) ** 2)
            y, x = (n // 2 for n in self.window_px)
            found.append(far[y : y + self.window_px[0], x : x + self.window_px[1]])
        return np.array(found)

    def _truth(self, film: Film, first_m: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """The film ``(y, x, z)`` on the voxels of a reconstruction, from the data's position (0, 0) on."""
        beam = Beam(self.energy, self.distance, (self.detector_pixel,) * 2, self.rocking_step)
        lattice = lattice_m(self.geometry().steps_per_m(beam), (self.angles, *self.window_px))
        across = lattice[[1, 0], 1:]
        # Where the window's middle is, if its corner is the data's position (0, 0).
        middle = np.linalg.solve(across, first_m)
        most = np.ceil(np.linalg.solve(across, (corners * self._pixel_m).T).max(1)).astype(int) + self.window_px
        y, x = (np.arange(n) - (k - 1) / 2 + m for n, k, m in zip(most, self.window_px, middle, strict=True))
        z = np.arange(self.angles) - (self.angles - 1) / 2
        steps = np.stack(np.broadcast_arrays(z, y[:, None, None], x[:, None]), axis=-1)
        return film.at(steps @ lattice.T).astype(np.complex64)
