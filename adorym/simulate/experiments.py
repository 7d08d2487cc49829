"""Experiments made in the computer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from adorym.data.dataset import Dataset
from adorym.errors import ConfigError
from adorym.optics.geometry import Geometry, Grid, Regime
from adorym.registry import component, register
from adorym.schema import ComponentOf, build
from adorym.simulate.base import NamedExperiment, Simulation, generators, simulated
from adorym.simulate.diffraction import Detector, FarField, NearField, Scene, fourier_crop, free_space
from adorym.simulate.illumination import FocusedBeam, Illumination, beam_diameter_px, check_beam_fits
from adorym.simulate.noise import Noise
from adorym.simulate.phantoms import Cells, Phantom, SiemensStar
from adorym.simulate.scans import Scan
from adorym.units import Energy, Length, Pixels, wavelength_m

Size = Annotated[int, Field(ge=8)]
PositiveLength = Annotated[Length, Field(gt=0)]


@component
class ScannedExperiment(Simulation):
    """Ptychography of a specimen in one plane or in several.

    Specimens, probe and propagation live on a grid ``oversample`` times finer than the reconstruction's; see
    `adorym.simulate.diffraction`. The data set states the recorded positions, ``truth`` the true ones.

    Attributes:
        window_px: (y, x) pixels of the detector.
        object_px: (y, x) size of the object in the reconstruction's pixels; the scan fills it.
        energy: Photon energy.
        distance: Specimen to detector.
        detector_pixel: Pitch of the detector's pixels.
        photons: Photons in the beam that falls on the specimen during one exposure.
        illumination: Probe, as it meets the first plane.
        scan: Positions, travel during an exposure, errors of the recorded positions.
        noise: Photon noise, background, read noise, bad pixels.
        oversample: How much finer the simulation's grid is.
    """

    window_px: tuple[Size, Size] = (64, 64)
    object_px: tuple[Size, Size] = (256, 256)
    energy: Annotated[Energy, Field(gt=0)] = 8800.0
    distance: PositiveLength = 1.0
    detector_pixel: PositiveLength = 172e-6
    photons: Annotated[float, Field(gt=0)] = 1e6
    illumination: Annotated[Illumination, ComponentOf("illumination")] = FocusedBeam()
    scan: Scan = Scan()
    noise: Noise = Noise()
    oversample: Annotated[int, Field(ge=1, le=8)] = 2

    def __post_init__(self) -> None:
        if any(o < w for o, w in zip(self.object_px, self.window_px, strict=True)):
            raise ConfigError(
                "object_px", "smaller than the window", expected=f">= {self.window_px}", found=self.object_px
            )

    @abstractmethod
    def _planes(self, grid: Grid, rng: np.random.Generator) -> list[np.ndarray]:
        """Transmission ``(y, x)`` of every plane."""

    def run(self, seed: int) -> Dataset:
        """Simulate.

        Raises:
            GeometryError: The beam or the scan does not fit, or the near field is not sampled.
        """
        for_specimen, for_probe, for_scan, for_noise = generators(seed, 4)
        window = self._fine(self.window_px)
        modes = self.illumination.modes(window, for_probe)
        check_beam_fits(modes)
        beam = beam_diameter_px(modes) / self.oversample
        first, *others = (p.astype(np.complex64) for p in self._planes(self._fine(self.object_px), for_specimen))
        probe, gap = (np.sqrt(self.photons) * modes).astype(np.complex64), self._gap(window)
        scene = Scene(first, probe, self.scan.path_px(beam), self.oversample, tuple((gap, each) for each in others))
        true = self.scan.positions_px(np.subtract(self.object_px, self.window_px), beam, for_scan)
        patterns, mask = self.noise.measure(scene.expected(true, self._detector(window)), for_noise)
        modes_at_rest = probe.astype(np.complex128)
        guess = np.sqrt(self.photons) * fourier_crop(self.illumination.first_guess(window), self.oversample)
        known = {
            "probe_positions_px": self.scan.recorded_px(true, for_scan),
            "energy_ev": self.energy,
            "pixel_size_m": self._geometry.pixel_size_m(self._regime),
            "detector_pixel_size_m": (self.detector_pixel, self.detector_pixel),
            "distance_m": self.distance,
            "mask": mask,
            "start_probe": guess.astype(np.complex64),
            "truth": {
                "object": scene.object_px().astype(np.complex64),
                "object_origin_px": np.zeros(2, int),
                "probe": scene.probe_px().astype(np.complex64),
                "probe_at_rest": fourier_crop(modes_at_rest, self.oversample).astype(np.complex64),
                "probe_positions_px": true,
            },
        }
        return simulated(seed, patterns, **known)

    @property
    def _regime(self) -> Regime:
        return "far_field"

    @property
    def _geometry(self) -> Geometry:
        return Geometry(self.window_px, self.energy, (self.detector_pixel, self.detector_pixel), self.distance)

    def _fine(self, shape: tuple[int, int]) -> Grid:
        """The simulation's grid over ``shape`` pixels of the reconstruction."""
        pixel = self._geometry.pixel_size_m(self._regime)
        fine = pixel[0] / self.oversample, pixel[1] / self.oversample
        return Grid((shape[0] * self.oversample, shape[1] * self.oversample), fine, wavelength_m(self.energy))

    def _gap(self, window: Grid) -> np.ndarray:
        """Transfer function of the space between neighboring planes."""
        return np.ones(1)

    def _detector(self, window: Grid) -> Detector:
        return FarField(self.window_px)


@register("simulation", "ptychography")
class Ptychography(ScannedExperiment):
    """Ptychography of a thin specimen, in the far or in the near field.

    Attributes:
        propagation: Far field, or near field of a parallel beam or (with ``source_distance``) of a point source.
        source_distance: Focus to specimen, near field only; none for a parallel beam.
        phantom: Specimen.
        integrate: Whether pixels integrate the intensity over their area instead of reading it in their middle.
    """

    propagation: Regime = "far_field"
    source_distance: PositiveLength | None = None
    phantom: Annotated[Phantom, ComponentOf("phantom")] = SiemensStar()
    integrate: bool = False

    def __post_init__(self) -> None:
        if self.source_distance is not None and self.propagation == "far_field":
            raise ConfigError("source_distance", "has no effect in the far field", remedy="leave it out")
        super().__post_init__()

    def run(self, seed: int) -> Dataset:
        data = super().run(seed)
        if self.propagation == "far_field":
            return data
        distance = np.array([self._geometry.effective_distance_m])
        return data.with_(source_distance_m=self.source_distance, propagation_distance_m=distance)

    def _planes(self, grid: Grid, rng: np.random.Generator) -> list[np.ndarray]:
        return [self.phantom.transmission(grid, rng)]

    @property
    def _regime(self) -> Regime:
        return self.propagation

    @property
    def _geometry(self) -> Geometry:
        return replace(super()._geometry, source_distance_m=self.source_distance)

    def _detector(self, window: Grid) -> Detector:
        if self.propagation == "far_field":
            return FarField(self.window_px, self.integrate)
        return NearField(window, self._geometry.effective_distance_m, self.oversample, self.integrate)


@register("simulation", "multislice_two_planes")
class TwoPlanes(ScannedExperiment):
    """Far-field ptychography of two different specimens, one behind the other.

    The planes lie many depths of focus apart, so that no single image explains the patterns; between them the exact
    propagator of free space acts. The data state the spacing that the user believes in, ``recorded_spacing``; ``truth``
    has the real one.

    Attributes:
        spacing: From the first plane to the second.
        recorded_spacing: What the data state; ``spacing`` if absent.
        front: Specimen in the first plane.
        back: Specimen in the second plane.
    """

    object_px: tuple[Size, Size] = (160, 160)
    spacing: PositiveLength = 50e-6
    recorded_spacing: PositiveLength | None = None
    front: Annotated[Phantom, ComponentOf("phantom")] = SiemensStar(spokes=17, rings=3)
    back: Annotated[Phantom, ComponentOf("phantom")] = Cells(count=30)

    def run(self, seed: int) -> Dataset:
        data = super().run(seed)
        truth = data.truth | {"slice_spacing": np.array([self.spacing])}
        return data.with_(slice_positions_m=np.array([0.0, self.recorded_spacing or self.spacing]), truth=truth)

    def _planes(self, grid: Grid, rng: np.random.Generator) -> list[np.ndarray]:
        return [each.transmission(grid, rng) for each in (self.front, self.back)]

    def _gap(self, window: Grid) -> np.ndarray:
        return free_space(window, self.spacing).astype(np.complex64)


@register("simulation", "siemens_star_fly_scan")
class SiemensStarFlyScan(NamedExperiment):
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

    def experiment(self) -> Ptychography:
        scan = {"pattern": "fly", "step": 9.5, "duty": self.duty, "position_error": self.position_error}
        return build(Ptychography, {"photons": self.photons, "scan": scan})
