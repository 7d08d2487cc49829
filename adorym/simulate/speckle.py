r"""Pictures of speckle with and without a specimen, by waves on a finer grid than the one that reconstructs.

A diffuser bends a plane wave, which goes to the specimen and from there to the detector by the exact transfer
function of free space, in a field twice as wide as the detector. No rays are traced.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.optics.geometry import Grid
from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.simulate.base import Simulation, generators, simulated
from adorym.simulate.diffraction import free_space
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Cells, Phantom
from adorym.units import Angle, Energy, Length, Pixels, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]


@register("simulation", "speckle_tracking")
class SpeckleExperiment(Simulation):
    """Pictures of a specimen behind a diffuser at several positions, and of the diffuser alone, in a parallel beam.

    Attributes:
        window_px: (y, x) pixels of the detector.
        energy: Photon energy.
        pixel: Pitch of the detector's pixels.
        diffuser_distance: Diffuser to specimen.
        distance: Specimen to detector.
        diffusers: Number of positions of the diffuser.
        diffuser: Root mean square phase of the diffuser.
        grain: Size of its grains.
        photons: Photons in a pixel without the specimen.
        phantom: Specimen.
        blur: Width (sigma) of the Gaussian that the specimen is smoothed by.
        noise: Photon noise, background, read noise, bad pixels.
        oversample: How much finer the simulation's grid is.
    """

    window_px: tuple[Size, Size] = (128, 128)
    energy: Annotated[Energy, Field(gt=0)] = 20e3
    pixel: PositiveLength = 1e-6
    diffuser_distance: PositiveLength = 0.3
    distance: PositiveLength = 0.5
    diffusers: Annotated[int, Field(ge=1)] = 8
    diffuser: Annotated[Angle, Field(gt=0)] = 0.3
    grain: Annotated[Pixels, Field(gt=0)] = 2.0
    photons: Annotated[float, Field(gt=0)] = 4000.0
    phantom: Annotated[Phantom, ComponentOf("phantom")] = Cells(count=12, phase=2.0, absorption=0.02)
    blur: Annotated[Pixels, Field(ge=0)] = 4.0
    noise: Noise = Noise()
    oversample: Annotated[int, Field(ge=1, le=8)] = 2

    def run(self, seed: int) -> Dataset:
        """Simulate."""
        for_specimen, for_diffuser, for_noise = generators(seed, 3)
        pixel, n = self.pixel / self.oversample, self.oversample
        fine = Grid((2 * n * self.window_px[0], 2 * n * self.window_px[1]), (pixel, pixel), wavelength_m(self.energy))
        wide = Grid((2 * self.window_px[0], 2 * self.window_px[1]), (self.pixel, self.pixel), fine.wavelength_m)
        specimen = self._smooth(self.phantom.transmission(fine, for_specimen))
        expected = []
        for _ in range(self.diffusers):
            lit = scipy.fft.ifft2(
                scipy.fft.fft2(self._diffuser(wide, for_diffuser)) * free_space(fine, self.diffuser_distance)
            )
            waves = scipy.fft.ifft2(scipy.fft.fft2(np.stack([lit * specimen, lit])) * free_space(fine, self.distance))
            expected.append(self._pixels(np.abs(waves) ** 2))
        counts, mask = self.noise.measure(self.photons * np.concatenate(expected), for_noise)
        return simulated(
            seed,
            counts[::2].astype(np.float32),
            energy_ev=self.energy,
            pixel_size_m=(self.pixel, self.pixel),
            detector_pixel_size_m=(self.pixel, self.pixel),
            propagation_distance_m=np.array([self.distance]),
            mask=mask,
            extra={"references": np.maximum(counts[1::2], 0).astype(np.float32)},
            truth={"object": self._pixels(specimen[None])[0].astype(np.complex64)},
        )

    def _smooth(self, specimen: np.ndarray) -> np.ndarray:
        """``specimen`` with its phase and absorption smoothed; its phase must not wrap."""
        depth = -np.log(np.abs(specimen)) - 1j * np.unwrap(np.unwrap(np.angle(specimen)), axis=0)
        width = self.blur * self.oversample
        return np.exp(
            -scipy.ndimage.gaussian_filter(depth.real, width) - 1j * scipy.ndimage.gaussian_filter(depth.imag, width)
        )

    def _diffuser(self, wide: Grid, rng: np.random.Generator) -> np.ndarray:
        """Transmission on the fine grid; what is drawn does not depend on how fine it is."""
        noise = scipy.fft.fftshift(scipy.fft.fft2(rng.standard_normal(wide.window_px)))
        edges = [(size * (self.oversample - 1) // 2,) * 2 for size in wide.window_px]
        spectrum = scipy.fft.ifftshift(np.pad(noise, edges))
        screen = scipy.fft.ifft2(scipy.ndimage.fourier_gaussian(spectrum, self.grain * self.oversample)).real
        return np.exp(1j * self.diffuser * screen / screen.std())

    def _pixels(self, fine: np.ndarray) -> np.ndarray:
        """Means ``(n, y, x)`` over the detector's pixels, in the middle of the field."""
        (y, x), n = self.window_px, self.oversample
        first = [(size - n * k) // 2 for size, k in zip(fine.shape[1:], (y, x), strict=True)]
        cut = fine[:, first[0] : first[0] + n * y, first[1] : first[1] + n * x]
        return cut.reshape(len(cut), y, n, x, n).mean((2, 4))
