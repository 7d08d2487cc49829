r"""Near-field holograms of a thin specimen, simulated on a finer grid than the one that reconstructs.

The specimen is sampled ``oversample`` times finer than the reconstruction's pixel and stands in vacuum. The wave behind
it goes to each distance by the exact transfer function of free space, in a field twice as wide as light can reach, and
the fine intensity is read where the detector's pixels lie by splines of fifth order: neither propagator nor
interpolation are those of the reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy  # its slow parts load at their first use
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.optics.affine import IDENTITY, AffineParts, from_pixels, half_side_px
from adorym.optics.buffer import buffer_px
from adorym.optics.geometry import Grid, fresnel_scaling
from adorym.registry import component, register
from adorym.schema import ComponentOf
from adorym.simulate.base import NamedExperiment, Simulation, generators, simulated
from adorym.simulate.diffraction import free_space
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Electrode, Phantom, Pictures
from adorym.units import Angle, Energy, Length, Pixels, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]
SPLINE = 5


@component
class Misalignment:
    """How the pictures of the second to last distance lie against the first: drawn evenly between minus and plus this.

    Attributes:
        rotation: Rotation about the beam.
        scale: Relative error of the magnification, of each axis on its own.
        shear: Tangent of the shear angle.
        shift: Translation along each axis.
    """

    rotation: Annotated[Angle, Field(ge=0)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    shear: Annotated[float, Field(ge=0)] = 0.0
    shift: Annotated[Pixels, Field(ge=0)] = 0.0

    def maps_px(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``(n, 6)`` maps, the first the identity."""
        maps = [IDENTITY]
        for _ in range(n - 1):
            y, x = rng.uniform(-1, 1, 2) * self.shift
            rotation = float(rng.uniform(-1, 1) * self.rotation)
            s_y, s_x = 1 + rng.uniform(-1, 1, 2) * self.scale
            shear = float(rng.uniform(-1, 1) * self.shear)
            maps.append(AffineParts((float(y), float(x)), rotation, (float(s_y), float(s_x)), shear).map_px())
        return np.stack(maps)


@dataclass(frozen=True)
class _Plane:
    """The simulation's grid: ``fine`` samples; the middle ``seen`` pixels of the reconstruction are the field."""

    fine: Grid
    seen: tuple[int, int]
    oversample: int

    def embedded(self, transmission: np.ndarray) -> np.ndarray:
        """``transmission`` of the field in vacuum."""
        edges = [n - k for n, k in zip(self.fine.window_px, transmission.shape, strict=True)]
        return np.pad(transmission, [(edge // 2, edge - edge // 2) for edge in edges], constant_values=1)

    def _middle(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        first = [(n - k) // 2 for n, k in zip(self.fine.window_px, shape, strict=True)]
        return tuple(slice(f, f + k) for f, k in zip(first, shape, strict=True))

    def propagated(self, wave: np.ndarray, distance_m: float) -> np.ndarray:
        """Intensity ``(Y, X)`` at a distance."""
        return np.abs(scipy.fft.ifft2(scipy.fft.fft2(wave) * free_space(self.fine, distance_m))) ** 2

    def read(self, image: np.ndarray, map_px: np.ndarray, window_px: tuple[int, int]) -> np.ndarray:
        """``image`` where ``map_px`` takes the pixels of a window."""
        r_y, r_x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in window_px), indexing="ij")
        rows = map_px.reshape(2, 3)
        at = [
            (a * r_y + b * r_x + t) * self.oversample + (n - 1) / 2
            for (a, b, t), n in zip(rows, self.fine.window_px, strict=True)
        ]
        return scipy.ndimage.map_coordinates(image, at, order=SPLINE, mode="nearest")

    def band_limited(self, whole: np.ndarray) -> np.ndarray:
        """``whole`` without the detail that the pixels of the reconstruction cannot hold."""
        return scipy.fft.ifft2(self._held(whole))

    def _held(self, whole: np.ndarray) -> np.ndarray:
        """Spectrum of ``whole`` up to the Nyquist frequency of the pixels of the reconstruction."""
        spectrum = scipy.fft.fft2(whole)
        for axis, n in enumerate(whole.shape):
            frequency = np.abs(scipy.fft.fftfreq(n)) * self.oversample
            keep = (frequency < 0.5) + 0.5 * (frequency == 0.5)
            spectrum = spectrum * np.expand_dims(keep, 1 - axis)
        return spectrum

    def on_pixels(self, whole: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """``whole`` in the middles of ``shape`` pixels of the reconstruction, finer details filtered out."""
        # The middle of a pixel lies (oversample - 1) / 2 samples behind its first.
        smooth = scipy.fft.ifft2(scipy.ndimage.fourier_shift(self._held(whole), -(self.oversample - 1) / 2))
        cut = smooth[self._middle((shape[0] * self.oversample, shape[1] * self.oversample))]
        return cut[:: self.oversample, :: self.oversample]


@register("simulation", "holography")
class Holography(Simulation):
    """A distance series of near-field holograms, in a parallel or a cone beam, misaligned and with noise.

    The data set states the distances with their error; ``truth`` holds the true ones, the maps and the object.

    Attributes:
        window_px: (y, x) pixels of the detector.
        energy: Photon energy.
        detector_pixel: Pitch of the detector's pixels.
        distances: Sample to detector, one per hologram.
        source_distances: Focus to sample, one per hologram or one for all; none for a parallel beam.
        distance_error: Error of the distances that the data set states: stated minus true (effective) distance.
        photons: Photons in a pixel without the specimen.
        phantom: Specimen; it fills the field of view of the finest pixel.
        misalignment: Misalignment of the holograms relative to the first.
        noise: Photon noise, background, read noise, bad pixels.
        oversample: How much finer the simulation's grid is.
        blur: Width (sigma) of the Gaussian that the wave behind the specimen is smoothed by: that of optics or
            detector.
        band_limited: Whether the wave behind the specimen has no detail finer than the reconstruction's pixel can
            hold; else such detail reaches the detector and is noise to any reconstruction.
    """

    window_px: tuple[Size, Size] = (256, 256)
    energy: Annotated[Energy, Field(gt=0)] = 17500.0
    detector_pixel: PositiveLength = 1e-6
    distances: tuple[PositiveLength, ...] = (0.4, 0.6, 0.8, 1.0)
    source_distances: tuple[PositiveLength, ...] | None = None
    distance_error: Length = 0.0
    photons: Annotated[float, Field(gt=0)] = 4000.0
    phantom: Annotated[Phantom, ComponentOf("phantom")] = Pictures()
    misalignment: Misalignment = Misalignment()
    noise: Noise = Noise()
    oversample: Annotated[int, Field(ge=1, le=8)] = 2
    blur: Annotated[Pixels, Field(ge=0)] = 0.0
    band_limited: bool = False

    def __post_init__(self) -> None:
        n, given = len(self.distances), self.source_distances
        if not n:
            raise ConfigError("distances", "there is none", expected="one per hologram")
        if given is not None and len(given) not in (1, n):
            raise ConfigError("source_distances", "their number does not fit", expected=f"{n}, or 1", found=len(given))

    def run(self, seed: int) -> Dataset:
        """Simulate."""
        for_specimen, for_maps, for_noise = generators(seed, 3)
        distances, ratios, pixel = self._geometry()
        plane = self._plane(distances, ratios, pixel)
        field = Grid(
            (plane.seen[0] * self.oversample, plane.seen[1] * self.oversample),
            plane.fine.pixel_size_m,
            plane.fine.wavelength_m,
        )
        wave = plane.embedded(self.phantom.transmission(field, for_specimen))
        if self.band_limited:
            wave = plane.band_limited(wave)
        if self.blur:
            wave = scipy.fft.ifft2(scipy.ndimage.fourier_gaussian(scipy.fft.fft2(wave), self.blur * self.oversample))
        maps = self.misalignment.maps_px(len(distances), for_maps)
        expected = np.stack(
            [
                plane.read(plane.propagated(wave, z), each * ratio, self.window_px)
                for z, each, ratio in zip(distances, maps, ratios, strict=True)
            ]
        )
        patterns, mask = self.noise.measure(self.photons * np.maximum(expected, 0), for_noise)
        edge = [(n - w) // 2 for n, w in zip(plane.seen, self.window_px, strict=True)]
        return simulated(
            seed,
            patterns.astype(np.float32),
            energy_ev=self.energy,
            pixel_size_m=(pixel, pixel),
            detector_pixel_size_m=(self.detector_pixel, self.detector_pixel),
            propagation_distance_m=distances + self.distance_error,
            magnification=None if self.source_distances is None else ratios.max() / ratios * self._largest(),
            open_beam_counts=self.photons,
            mask=mask,
            truth={
                "object": plane.on_pixels(wave, plane.seen).astype(np.complex64),
                "object_origin_px": np.array(edge),
                "propagation_distances_m": distances,
                "affine": from_pixels(maps, half_side_px(self.window_px)),
            },
        )

    def _largest(self) -> float:
        return self.detector_pixel / self._geometry()[2]

    def _geometry(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Effective distances, pixel ratios ``(d,)`` and the pixel computed with."""
        if self.source_distances is None:
            return np.array(self.distances), np.ones(len(self.distances)), self.detector_pixel
        pitch = (self.detector_pixel, self.detector_pixel)
        distances, magnification, _ = fresnel_scaling(np.array(self.source_distances), np.array(self.distances), pitch)
        return distances, magnification.max() / magnification, self.detector_pixel / float(magnification.max())

    def _plane(self, distances: np.ndarray, ratios: np.ndarray, pixel: float) -> _Plane:
        wavelength, fine = wavelength_m(self.energy), pixel / self.oversample
        seen = [n + 2 * int(np.ceil(n * (ratios.max() - 1) / 2)) for n in self.window_px]
        # Twice the reach of the finest fringes that the reconstruction knows, and room for the maps.
        coarse = Grid((seen[0], seen[1]), (pixel, pixel), wavelength)
        room = 0.1 + self.misalignment.rotation + self.misalignment.scale + self.misalignment.shear
        edges, _ = buffer_px(coarse, 2 * float(np.abs(distances).max()), room, limit=4.0)
        whole = [(n + 2 * e) * self.oversample for n, e in zip(seen, edges, strict=True)]
        return _Plane(Grid((whole[0], whole[1]), (fine, fine), wavelength), (seen[0], seen[1]), self.oversample)


@register("simulation", "holography_of_pictures")
class HolographyOfPictures(NamedExperiment):
    """Four holograms of two photographs, misaligned and stated 2 cm too near: section 3.2 of the Adorym paper.

    Magnitude 0.6 to 1 and phase +-0.5 rad, 17.5 keV, pixels of 1 um, 40, 60, 80 and 100 cm
    (Du et al., Opt. Express 29, 10000 (2021)).

    Attributes:
        size_px: Width and height of the holograms.
        amplitude_picture: Picture shown by the magnitude: one of scikit-image's, or a file.
        phase_picture: Picture shown by the phase.
        band_limited: Whether the specimen has no detail finer than the pixels can hold.
        photons: Photons in a pixel without the specimen; 0 for no noise.
        misaligned: Whether holograms 2 to 4 have random affine errors.
    """

    size_px: Size = 512
    amplitude_picture: str = "camera"
    phase_picture: str = "astronaut"
    band_limited: bool = True
    photons: Annotated[float, Field(ge=0)] = 4000.0
    misaligned: bool = True

    def experiment(self) -> Holography:
        errors = Misalignment()
        if self.misaligned:
            errors = Misalignment(rotation=np.deg2rad(1.0), scale=0.01, shear=0.01, shift=self.size_px / 128)
        return Holography(
            window_px=(self.size_px, self.size_px),
            distance_error=-0.02,
            photons=self.photons or 4000.0,
            phantom=Pictures(
                amplitude=(0.6, 1.0),
                phase=1.0,
                amplitude_picture=self.amplitude_picture,
                phase_picture=self.phase_picture,
                moved=False,
            ),
            misalignment=errors,
            noise=Noise(poisson=self.photons > 0),
            band_limited=self.band_limited,
        )


@register("simulation", "holography_of_electrode")
class HolographyOfElectrode(NamedExperiment):
    """Three holograms of a battery's electrode in a cone beam, of one material: as in section 3.3 of the Adorym paper.

    The paper measured four and used three of them; here they are simulated, with materials and distances of its kind,
    at 17.5 keV.

    Attributes:
        size_px: Width and height of the holograms.
        kappa: delta / beta of the material.
        photons: Photons in a pixel without the specimen; 0 for no noise.
    """

    size_px: Size = 256
    kappa: Annotated[float, Field(gt=0)] = 120.0
    photons: Annotated[float, Field(ge=0)] = 20000.0

    def run(self, seed: int) -> Dataset:
        data = super().run(seed)
        return data.with_(truth=data.truth | {"kappa": np.array([self.kappa])})

    def experiment(self) -> Holography:
        return Holography(
            window_px=(self.size_px, self.size_px),
            energy=17500.0,
            detector_pixel=4e-6,
            distances=(1.0, 0.995, 0.98),
            source_distances=(0.1, 0.105, 0.12),
            photons=self.photons or 20000.0,
            phantom=Electrode(absorption=1 / self.kappa),
            noise=Noise(poisson=self.photons > 0),
            band_limited=True,
        )
