"""Ptychography of a specimen in several planes, farther apart than the depth of focus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import fft

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.errors import ConfigError
from adorym.optics.geometry import Geometry, Grid
from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.simulate.base import Simulation
from adorym.simulate.diffraction import FarField, Scene, fourier_crop
from adorym.simulate.illumination import FocusedBeam, Illumination, beam_diameter_px, check_beam_fits
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Cells, Phantom, SiemensStar
from adorym.simulate.scans import Scan
from adorym.units import Energy, Length, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]


@dataclass(frozen=True)
class ThickScene:
    """Specimen planes and probe on the simulation's grid.

    Attributes:
        planes: One scene a plane, of which the transmissions are used; the first has the probe.
        gaps_m: Free space behind each plane but the last.
        grid: The window on the simulation's grid.
    """

    planes: tuple[Scene, ...]
    gaps_m: tuple[float, ...]
    grid: Grid

    def expected(self, positions_px: np.ndarray, detector: FarField) -> np.ndarray:
        """Expected photons ``(n, y, x)`` float32 in every pixel."""
        return np.stack([detector.intensity(*waves) for waves in self._exit_waves(positions_px)])

    def _exit_waves(self, positions_px: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first, *others = self.planes
        height, width = self.grid.window_px
        kernels = [self._free_space(gap) for gap in self.gaps_m]
        for position, (waves, rest) in zip(positions_px, first.exit_waves(positions_px), strict=True):
            whole = np.floor((position + first.path_px) * first.oversample + 0.5).astype(int)
            for kernel, plane in zip(kernels, others, strict=True):
                waves = fft.ifft2(fft.fft2(waves) * kernel)
                parts = [plane.transmission[y : y + height, x : x + width] for y, x in whole]
                waves = (waves.reshape(len(parts), -1, height, width) * np.stack(parts)[:, None]).reshape(waves.shape)
            yield waves, rest

    def _free_space(self, distance_m: float) -> np.ndarray:
        """``exp(i (k_z - k) z)`` complex64."""
        qy, qx = self.grid.frequencies_per_m()
        q2 = (qy**2 + qx**2) * self.grid.wavelength_m**2
        return np.exp(-1j * self.grid.wavenumber_per_m * distance_m * q2 / (1 + np.sqrt(1 - q2))).astype(np.complex64)


@register("simulation", "multislice_two_planes")
class TwoPlanes(Simulation):
    """Far-field ptychography of two different specimens, one behind the other.

    The planes lie many depths of focus apart, so that no single image explains the patterns. Specimens and waves are
    sampled ``oversample`` times finer than the reconstruction's pixels, between which the exact propagator of free
    space acts. The data state the spacing that the user believes in, ``recorded_spacing``; ``truth`` has the real one.

    Attributes:
        window_px: (y, x) pixels of the detector.
        object_px: (y, x) size of the object in the reconstruction's pixels.
        energy: Photon energy.
        distance: Specimen to detector.
        detector_pixel: Pitch of the detector's pixels.
        photons: Photons in one exposure.
        spacing: From the first plane to the second.
        recorded_spacing: What the data state; ``spacing`` if absent.
        front: Specimen in the first plane.
        back: Specimen in the second plane.
        illumination: Probe, as it meets the first plane.
        scan: Positions and their errors.
        noise: Photon noise, background, read noise, bad pixels.
        oversample: How much finer the simulation's grid is.
    """

    window_px: tuple[Size, Size] = (64, 64)
    object_px: tuple[Size, Size] = (160, 160)
    energy: Annotated[Energy, Field(gt=0)] = 8800.0
    distance: PositiveLength = 1.0
    detector_pixel: PositiveLength = 172e-6
    photons: Annotated[float, Field(gt=0)] = 1e6
    spacing: PositiveLength = 50e-6
    recorded_spacing: PositiveLength | None = None
    front: Annotated[Phantom, ComponentOf("phantom")] = SiemensStar(spokes=17, rings=3)
    back: Annotated[Phantom, ComponentOf("phantom")] = Cells(count=30)
    illumination: Annotated[Illumination, ComponentOf("illumination")] = FocusedBeam()
    scan: Scan = Scan()
    noise: Noise = Noise()
    oversample: Annotated[int, Field(ge=1, le=8)] = 2

    def __post_init__(self) -> None:
        if any(o < w for o, w in zip(self.object_px, self.window_px, strict=True)):
            raise ConfigError(
                "object_px", "smaller than the window", expected=f">= {self.window_px}", found=self.object_px
            )

    def run(self, seed: int) -> Dataset:
        """Simulate.

        Raises:
            GeometryError: The beam or the scan does not fit.
        """
        for_specimen, for_probe, for_scan, for_noise = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
        window = self._fine(self.window_px)
        modes = self.illumination.modes(window, for_probe)
        check_beam_fits(modes)
        beam = beam_diameter_px(modes) / self.oversample
        field, probe = self._fine(self.object_px), (np.sqrt(self.photons) * modes).astype(np.complex64)
        planes = tuple(
            Scene(each.transmission(field, for_specimen).astype(np.complex64), probe, self.scan.path_px(beam),
                  self.oversample)
            for each in (self.front, self.back)
        )  # fmt: skip
        scene = ThickScene(planes, (self.spacing,), window)
        true = self.scan.positions_px(np.subtract(self.object_px, self.window_px), beam, for_scan)
        patterns, mask = self.noise.measure(scene.expected(true, FarField(self.window_px)), for_noise)
        guess = np.sqrt(self.photons) * fourier_crop(self.illumination.first_guess(window), self.oversample)
        return Dataset(
            patterns=ArrayPatterns(patterns),
            probe_positions_px=self.scan.recorded_px(true, for_scan),
            energy_ev=self.energy,
            pixel_size_m=self._geometry.pixel_size_m("far_field"),
            detector_pixel_size_m=(self.detector_pixel, self.detector_pixel),
            distance_m=self.distance,
            slice_positions_m=np.array([0.0, self.recorded_spacing or self.spacing]),
            mask=mask,
            start_probe=guess.astype(np.complex64),
            truth={
                "object": np.stack([plane.object_px() for plane in planes], axis=-1).astype(np.complex64),
                "object_origin_px": np.zeros(2, int),
                "probe": planes[0].probe_px().astype(np.complex64),
                "probe_positions_px": true,
                "slice_spacing": np.array([self.spacing]),
            },
            format="simulation",
            notes=(f"simulated, seed {seed}",),
        )

    @property
    def _geometry(self) -> Geometry:
        pixel = (self.detector_pixel, self.detector_pixel)
        return Geometry(self.window_px, self.energy, pixel, self.distance)

    def _fine(self, shape: tuple[int, int]) -> Grid:
        """The simulation's grid over ``shape`` pixels of the reconstruction."""
        pixel = self._geometry.pixel_size_m("far_field")
        fine = pixel[0] / self.oversample, pixel[1] / self.oversample
        return Grid((shape[0] * self.oversample, shape[1] * self.oversample), fine, wavelength_m(self.energy))
