"""Experiments made in the computer."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.errors import ConfigError
from adorym.optics.geometry import Geometry, Grid
from adorym.registry import register
from adorym.schema import ComponentOf, build
from adorym.simulate.base import Simulation
from adorym.simulate.diffraction import Detector, FarField, NearField, Scene, fourier_crop
from adorym.simulate.illumination import FocusedBeam, Illumination, beam_diameter_px, check_beam_fits
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Phantom, SiemensStar
from adorym.simulate.scans import Scan
from adorym.units import Energy, Length, Pixels, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]


@register("simulation", "ptychography")
class Ptychography(Simulation):
    """Ptychography of a thin specimen, in the far or in the near field.

    Specimen, probe and propagation live on a grid ``oversample`` times finer than the reconstruction's; see
    `adorym.simulate.diffraction`. The data set states the recorded positions, ``truth`` the true ones.

    Attributes:
        propagation: Far field, or near field of a parallel beam or (with ``source_distance``) of a point source.
        window_px: (y, x) pixels of the detector.
        object_px: (y, x) size of the object in the reconstruction's pixels; the scan fills it.
        energy: Photon energy.
        distance: Specimen to detector.
        source_distance: Focus to specimen, near field only; none for a parallel beam.
        detector_pixel: Pitch of the detector's pixels.
        photons: Photons in the beam that falls on the specimen during one exposure.
        phantom: Specimen.
        illumination: Probe.
        scan: Positions, travel during an exposure, errors of the recorded positions.
        noise: Photon noise, background, read noise, bad pixels.
        oversample: How much finer the simulation's grid is.
        integrate: Whether pixels integrate the intensity over their area instead of reading it in their middle.
    """

    propagation: Literal["far_field", "near_field"] = "far_field"
    window_px: tuple[Size, Size] = (64, 64)
    object_px: tuple[Size, Size] = (256, 256)
    energy: Annotated[Energy, Field(gt=0)] = 8800.0
    distance: PositiveLength = 1.0
    source_distance: PositiveLength | None = None
    detector_pixel: PositiveLength = 172e-6
    photons: Annotated[float, Field(gt=0)] = 1e6
    phantom: Annotated[Phantom, ComponentOf("phantom")] = SiemensStar()
    illumination: Annotated[Illumination, ComponentOf("illumination")] = FocusedBeam()
    scan: Scan = Scan()
    noise: Noise = Noise()
    oversample: Annotated[int, Field(ge=1, le=8)] = 2
    integrate: bool = False

    def __post_init__(self) -> None:
        if self.source_distance is not None and self.propagation == "far_field":
            raise ConfigError("source_distance", "has no effect in the far field", remedy="leave it out")
        if any(o < w for o, w in zip(self.object_px, self.window_px, strict=True)):
            raise ConfigError(
                "object_px", "smaller than the window", expected=f">= {self.window_px}", found=self.object_px
            )

    def run(self, seed: int) -> Dataset:
        """Simulate.

        Raises:
            GeometryError: The beam or the scan does not fit, or the near field is not sampled.
        """
        for_specimen, for_probe, for_scan, for_noise = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
        window = self._fine(self.window_px)
        modes = self.illumination.modes(window, for_probe)
        check_beam_fits(modes)
        beam = beam_diameter_px(modes) / self.oversample
        scene = Scene(
            transmission=self.phantom.transmission(self._fine(self.object_px), for_specimen).astype(np.complex64),
            modes=(np.sqrt(self.photons) * modes).astype(np.complex64),
            path_px=self.scan.path_px(beam),
            oversample=self.oversample,
        )
        room = np.subtract(self.object_px, self.window_px)
        true = self.scan.positions_px(room, beam, for_scan)
        patterns, mask = self.noise.measure(scene.expected(true, self._detector(window)), for_noise)
        guess = np.sqrt(self.photons) * fourier_crop(self.illumination.first_guess(window), self.oversample)
        return Dataset(
            patterns=ArrayPatterns(patterns),
            probe_positions_px=self.scan.recorded_px(true, for_scan),
            energy_ev=self.energy,
            pixel_size_m=self._geometry.pixel_size_m(self.propagation),
            detector_pixel_size_m=(self.detector_pixel, self.detector_pixel),
            distance_m=self.distance,
            source_distance_m=self.source_distance,
            propagation_distance_m=self._propagation_distance_m(),
            mask=mask,
            start_probe=guess.astype(np.complex64),
            truth=_truth(scene, true),
            format="simulation",
            notes=(f"simulated, seed {seed}",),
        )

    @property
    def _geometry(self) -> Geometry:
        pixel = (self.detector_pixel, self.detector_pixel)
        return Geometry(self.window_px, self.energy, pixel, self.distance, self.source_distance)

    def _fine(self, shape: tuple[int, int]) -> Grid:
        """The simulation's grid over ``shape`` pixels of the reconstruction."""
        pixel = self._geometry.pixel_size_m(self.propagation)
        fine = pixel[0] / self.oversample, pixel[1] / self.oversample
        return Grid((shape[0] * self.oversample, shape[1] * self.oversample), fine, wavelength_m(self.energy))

    def _detector(self, window: Grid) -> Detector:
        if self.propagation == "far_field":
            return FarField(self.window_px, self.integrate)
        return NearField(window, self._geometry.effective_distance_m, self.oversample, self.integrate)

    def _propagation_distance_m(self) -> np.ndarray | None:
        if self.propagation == "far_field":
            return None
        return np.array([self._geometry.effective_distance_m])


@register("simulation", "siemens_star_fly_scan")
class SiemensStarFlyScan(Simulation):
    """A gold resolution target, scanned on the fly with a stage that is off by nearly two pixels.

    380 patterns of 64 x 64 pixels, 1e6 photons each, 13 nm pixel. The beam travels a whole step during an exposure, so
    one probe mode does not explain the patterns and about five do; positions have to be refined to see the star.

    Attributes:
        photons: Photons in one exposure.
        position_error: Error of the recorded positions, pixels root mean square.
        duty: Part of a step travelled with the shutter open.
    """

    photons: Annotated[float, Field(gt=0)] = 1e6
    position_error: Annotated[Pixels, Field(ge=0)] = 1.75
    duty: Annotated[float, Field(gt=0, le=1)] = 1.0

    def run(self, seed: int) -> Dataset:
        return self.experiment().run(seed)

    def experiment(self) -> Ptychography:
        """The settings that this name stands for."""
        scan = {"pattern": "fly", "step": 9.5, "duty": self.duty, "position_error": self.position_error}
        return build(Ptychography, {"photons": self.photons, "scan": scan})


def _truth(scene: Scene, positions_px: np.ndarray) -> dict[str, np.ndarray]:
    """What went in, on the reconstruction's pixels."""
    return {
        "object": scene.object_px().astype(np.complex64),
        "object_origin_px": np.zeros(2, int),
        "probe": scene.probe_px().astype(np.complex64),
        "probe_at_rest": scene.probe_at_rest_px().astype(np.complex64),
        "probe_positions_px": positions_px,
    }
