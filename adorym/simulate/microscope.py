r"""Pictures of a microscope under one lamp after another, made on a finer grid than the one that reconstructs.

The sample goes on beyond the field of view: the simulation's field is twice as wide. The pupil is computed where each
lamp's light puts it, between the pixels of the spectrum.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.optics.geometry import Grid
from adorym.optics.microscope import spectrum_places, subdivision
from adorym.registry import register
from adorym.schema import ComponentOf
from adorym.simulate.base import Simulation, generators, simulated
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Cells, Phantom
from adorym.units import Energy, Length, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]
MARGIN_PX = 2


@register("simulation", "fourier_ptychography")
class Microscope(Simulation):
    """Fourier ptychography of a thin sample with a square array of lamps.

    The data state the nominal places of the lamps, ``truth`` the true ones.

    Attributes:
        window_px: (y, x) pixels of the camera.
        energy: Photon energy; the default is red light of 0.63 um.
        pixel: Pixel of the camera divided by the magnification.
        numerical_aperture: That of the objective.
        defocus: Distance of the sample from the focus, an aberration of the pupil.
        lamps: Number of lamps along each side of the array; its middle is on the axis.
        pitch: From one lamp to the next.
        led_distance: Lamps to sample.
        led_error: Standard deviation of the lamps' places.
        photons: Photons in a pixel of a bright picture without the sample.
        phantom: Sample.
        noise: Photon noise, background, read noise, bad pixels.
        oversample: How much finer than the reconstruction's the simulation's grid is.
    """

    window_px: tuple[Size, Size] = (64, 64)
    energy: Annotated[Energy, Field(gt=0)] = 1.968
    pixel: PositiveLength = 1.6e-6
    numerical_aperture: Annotated[float, Field(gt=0, lt=1)] = 0.1
    defocus: Length = 20e-6
    lamps: Annotated[int, Field(ge=1)] = 9
    pitch: PositiveLength = 3.5e-3
    led_distance: PositiveLength = 80e-3
    led_error: Annotated[Length, Field(ge=0)] = 0.0
    photons: Annotated[float, Field(gt=0)] = 1e4
    phantom: Annotated[Phantom, ComponentOf("phantom")] = Cells(count=60, phase=1.0)
    noise: Noise = Noise()
    oversample: Annotated[int, Field(ge=1, le=4)] = 2

    def run(self, seed: int) -> Dataset:
        """Simulate."""
        for_specimen, for_lamps, for_noise = generators(seed, 3)
        camera = Grid(self.window_px, (self.pixel, self.pixel), wavelength_m(self.energy))
        side = (np.arange(self.lamps) - (self.lamps - 1) / 2) * self.pitch
        nominal = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        lamps = nominal + self.led_error * for_lamps.standard_normal(nominal.shape)
        times = subdivision(spectrum_places(nominal, self.led_distance, camera), self.window_px, MARGIN_PX)
        n, fine = 2 * times * self.oversample, self.pixel / (times * self.oversample)
        wide = Grid((n * self.window_px[0], n * self.window_px[1]), (fine, fine), camera.wavelength_m)
        specimen = self.phantom.transmission(wide, for_specimen)
        spectrum = scipy.fft.fft2(specimen)
        expected = np.stack([self._picture(spectrum, wide, each, n // 2) for each in lamps])
        counts, mask = self.noise.measure(self.photons * expected, for_noise)
        return simulated(
            seed,
            counts.astype(np.float32),
            energy_ev=self.energy,
            pixel_size_m=(self.pixel, self.pixel),
            mask=mask,
            extra={"leds_m": nominal},
            truth={
                "object": self._middle(_on_pixels(specimen, self.oversample), times).astype(np.complex64),
                "leds_m": lamps,
            },
        )

    def _picture(self, spectrum: np.ndarray, wide: Grid, lamp_m: np.ndarray, skip: int) -> np.ndarray:
        """Intensity ``(y, x)`` in the middles of the camera's pixels, ``skip`` samples apart; 1 in vacuum."""
        sine = lamp_m / np.sqrt((lamp_m**2).sum() + self.led_distance**2)
        qy, qx = (
            (q - s / wide.wavelength_m) * wide.wavelength_m for q, s in zip(wide.frequencies_per_m(), sine, strict=True)
        )
        radius, step = np.hypot(qy, qx), wide.wavelength_m / max(wide.extent_m)
        inside = np.clip(0.5 + (self.numerical_aperture - radius) / step, 0, 1)
        bent = np.exp(-1j * np.pi * self.defocus / wide.wavelength_m * radius**2)
        return self._middle(np.abs(scipy.fft.ifft2(spectrum * inside * bent)) ** 2, skip)[::skip, ::skip]

    def _middle(self, whole: np.ndarray, times: int) -> np.ndarray:
        """The field of view of ``whole``, which has ``times`` samples a pixel of the camera and is twice as wide."""
        (y, x), (height, width) = (times * n // 2 for n in self.window_px), (times * n for n in self.window_px)
        return whole[y : y + height, x : x + width]


def _on_pixels(fine: np.ndarray, factor: int) -> np.ndarray:
    """Every ``factor``-th sample of ``fine``, without the details that these cannot hold."""
    shape = [n // factor for n in fine.shape]
    first = [n // 2 - k // 2 for n, k in zip(fine.shape, shape, strict=True)]
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(fine))
    cut = spectrum[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]
    return scipy.fft.ifft2(scipy.fft.ifftshift(cut)) / factor**2
