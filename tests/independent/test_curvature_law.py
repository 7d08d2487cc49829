"""Curvatures that steps divide by, against the Gauss-Newton matrix by brute force on tiny instances.

What a model gives for the object and the probe bounds the matrix, and is exact along one direction: the object itself,
which scales every amplitude, or a constant exponent. What it gives in blocks is exact up to the step of a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import adapter
import numpy as np
import pytest
from cases import MODELS, insert
from laws import assert_bound, inner, noise, relative_error
from tiny_bragg_scan import GAMMA_RAD, BraggScanTiny
from tiny_holograms import object_of, series
from tiny_multislice import ThickScan
from tiny_scan import Exact, Scan

from adorym.data.dataset import Dataset
from adorym.forward.base import ForwardModel
from adorym.forward.bragg_ptychography import BraggPtychography
from adorym.forward.cone_tomography import ConeTomography
from adorym.forward.crystal import CrystalObject
from adorym.forward.fourier_ptychography import FourierPtychography
from adorym.forward.holography import Holography
from adorym.forward.holotomography import HoloTomography
from adorym.forward.multislice import Multislice
from adorym.forward.object import MixedObject, ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.ptychotomography import PtychoTomography
from adorym.forward.speckle_tracking import SpeckleTracking
from adorym.forward.time_course import TimeSettings
from adorym.forward.tomography import TomogramSettings, Tomography
from adorym.losses.counting import LeastSquares, Poisson
from adorym.optics.bragg_geometry import BraggGeometry
from adorym.optics.probes import GaussianProbe
from adorym.optics.shift import fourier_shift
from adorym.parameters import ParameterSettings
from adorym.registry import component

SMALL = LeastSquares(floor=1e-9)


@component
class Bare(ForwardModel):
    """What somebody writes who fills in `predict` alone."""

    kind: ClassVar[str] = "bare"

    def predict(self, xp: Any, obj: Any, params: Any, batch: Any) -> Any:
        wave = obj[:, None] * fourier_shift(xp, params["probe"], params["probe_positions"])
        return xp.sum(xp.abs2(xp.fft2(wave)), axis=1)


WINDOW, KAPPA = (6, 8), 0.2
SIZES = {
    "time_course": 1.0,
    "rotation_angles": 1.0,
    "tilt": 1.0,
    "object_shift": 10.0,
    "probe_positions": 10.0,
    "intensity_scale": 1.0,
}
# Where a difference is taken over the kinks of a linear interpolation; a factor of two is still seen.
TOLERANCES = {"object_shift": 0.35}


@dataclass(frozen=True)
class Tiny:
    """A model on an instance whose whole Jacobian is cheap.

    Attributes:
        obj: ``(shape, rng) -> object`` as it is stored.
        tight: ``object -> direction`` along which its curvature is exact, or nearly so.
        loosest: Part of it that the matrix has along that direction, at least.
        blocks: Parameters whose curvature comes in exact blocks.
        masked: Whether curvatures know of masked pixels.
        also: Other parameters and what they are set to.
    """

    model: ForwardModel
    dataset: Dataset
    settings: dict[str, ParameterSettings]
    obj: Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
    tight: Callable[[np.ndarray], np.ndarray]
    loosest: float = 1.0
    blocks: tuple[str, ...] = ()
    masked: bool = False
    also: dict[str, Any] | None = None

    def problem(self, mask: bool | None = None, loss: Any = SMALL) -> Any:
        data = self.dataset
        if self.masked if mask is None else mask:
            data = replace(data, mask=np.random.default_rng(3).random(data.patterns.shape) > 0.5)
        problem = adapter.ready(self.model, data, self.settings, loss).problem
        rng = np.random.default_rng(5)
        insert(problem, {"object": self.obj(problem.store.shape, rng)})
        for name, change in (self.also or {}).items():
            present = adapter.present(problem, name)
            insert(problem, {name: present + change * noise(rng, present.shape)})
        return problem


def itself(obj: np.ndarray) -> np.ndarray:
    return obj


def ones(obj: np.ndarray) -> np.ndarray:
    return np.ones_like(obj)


def middle(obj: np.ndarray) -> np.ndarray:
    """1 where all light meets the detector."""
    y, x = (np.abs(np.arange(n) - (n - 1) / 2) < n / 3 for n in obj.shape[:2])
    return np.ones_like(obj) * (y[:, None] * x).reshape(*obj.shape[:2], *(1,) * (obj.ndim - 2))


def transmission(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return 0.8 * np.exp(0.3 * noise(rng, shape, complex_values=True))


def phases(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.exp(0.1j * noise(rng, shape))


def dark(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """An exponent: the transmission is about a half."""
    return 0.7 + 0.2 * noise(rng, shape, complex_values=True)


def volume(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    y, x, z = (np.linspace(-1, 1, n) for n in shape)
    r2 = y[:, None, None] ** 2 + x[:, None] ** 2 + z**2
    return (0.05 + 0.1j) * np.exp(-3 * r2)


def _scan(kind: type[Scan], regime: str, modes: int, **changes: Any) -> Dataset:
    made = kind(regime=regime, modes=modes, window=WINDOW, grid=(2, 2), size_px=1.3, distance_m=5e-5)
    # The sub-pixel part of a position is left out of the object's curvature.
    return made.dataset(probe_positions_px=np.rint(made.positions), **changes)


def _scanned(modes: int, **more: ParameterSettings) -> dict[str, ParameterSettings]:
    given = {"object": ObjectSettings(margin_px=0), "probe_positions": ParameterSettings()}
    return given | {"probe": ProbeSettings(initial=GaussianProbe(fwhm="3 px"), modes=modes, per="run"), **more}


def _thin(regime: str, modes: int, obj: Any = transmission, tight: Any = itself, **settings: Any) -> Tiny:
    made = _scanned(modes, intensity_scale=ParameterSettings()) | settings
    blocks, also = ("probe_positions", "intensity_scale"), {"intensity_scale": 0.1}
    data = _scan(Scan, regime, modes)
    return Tiny(Ptychography(propagation=regime), data, made, obj, tight, blocks=blocks, also=also)


def _changing(model: str) -> Tiny:
    """Coefficients of either sign: the bound is exact along no direction that all patterns share."""
    time = TimeSettings(basis=2)
    if model == "ptychography":
        made = replace(_thin("far_field", 1, object=MixedObject(margin_px=0, time=time)), loosest=0.1)
    else:
        made = replace(_tomography(moving=False), loosest=0.1)
        made.settings["object"] = TomogramSettings(margin_px=0, time=time)
    made.settings["time_course"] = ParameterSettings()
    return replace(made, blocks=("time_course",))


def _thick(regime: str, modes: int) -> Tiny:
    data = _scan(ThickScan, regime, modes, slice_positions_m=np.array([0.0, 1e-6, 3e-6]))
    made = Multislice(propagation=regime)
    return Tiny(made, data, _scanned(modes), phases, itself, 0.9, blocks=("probe_positions",))


def _turned(model: ForwardModel, moving: bool, **parts: Any) -> Tiny:
    names = ("tilt", "object_shift", "axis_tilt") if moving else ()
    settings = {"object": model.refinable["object"].settings(margin_px=1 if moving else 0)}
    settings |= {each: ParameterSettings() for each in ("rotation_angles", *names)}
    settings |= parts.pop("settings", {})
    widths = {"tilt": 0.03, "object_shift": 0.2, "axis_tilt": 0.02}
    also = {each: widths[each] for each in names}
    blocks = ("rotation_angles", *(("tilt", "object_shift") if moving else ()))
    return Tiny(model, settings=settings, obj=volume, blocks=blocks, also=also, **parts)


def _tomography(moving: bool) -> Tiny:
    angles = {"theta_rad": np.linspace(0.13, 2.9, 7), "angle_index": np.arange(7), "open_beam_counts": 1e3}
    data = Dataset(Exact(np.full((7, 3, 6), 1e3)), **angles)
    return _turned(Tomography(center=0.4), moving, dataset=data, tight=ones, masked=True)


def _cone() -> Tiny:
    angles = {"theta_rad": np.linspace(0.13, 5.9, 7), "angle_index": np.arange(7), "open_beam_counts": 1e3}
    beam = {"source_distance_m": 2e-2, "distance_m": 3e-2, "detector_pixel_size_m": (2e-3, 2e-3)}
    data = Dataset(Exact(np.full((7, 3, 6), 1e3)), **angles, **beam)
    # Its poses have the blocks of a parallel beam, but its rays run along planes of voxels, where the kinks are.
    return replace(_turned(ConeTomography(center=0.4), False, dataset=data, tight=ones, masked=True), blocks=())


def _ptychotomography(thickness: str) -> Tiny:
    angles = {"theta_rad": np.linspace(0.23, 2.8, 3), "angle_index": np.repeat(np.arange(3), 2)}
    positions = np.array([[0.0, 0], [1, 2], [0, 1], [1, 1], [0, 2], [1, 0]])
    data = Dataset(Exact(np.ones((6, 5, 5))), positions, energy_ev=5e3, pixel_size_m=(5e-8, 5e-8), **angles)
    settings = {"probe": ProbeSettings(initial=GaussianProbe(fwhm="3 px"))}
    model = PtychoTomography(thickness=thickness)  # type: ignore[arg-type]
    return _turned(model, True, dataset=data, tight=ones, loosest=0.7, settings=settings)


def _holotomography() -> Tiny:
    angles = {"theta_rad": np.linspace(0.23, 2.8, 3), "angle_index": np.repeat(np.arange(3), 3)}
    distances = {"propagation_distance_m": np.linspace(0.01, 0.03, 3)}
    data = series((5, 6), patterns=Exact(np.full((9, 5, 6), 100.0)), **distances, **angles)
    return _turned(HoloTomography(buffer_px=1, center=0.2), True, dataset=data, tight=middle, loosest=0.5)


def _hologram(**model: Any) -> Tiny:
    distances = {"propagation_distance_m": np.linspace(0.02, 0.05, 3)}
    data = series(WINDOW, patterns=Exact(np.full((3, *WINDOW), 100.0)), **distances)
    made, settings = Holography(buffer_px=1, **model), {"object": ObjectSettings(margin_px=0)}
    if not made.homogeneous:
        return Tiny(made, data, settings, lambda shape, rng: object_of(shape), lambda obj: obj * middle(obj), 0.95)
    # A change of the lag dims the beam, and turns its phase besides, which is hardly seen: 1 / (1 + kappa^2).
    return Tiny(made, data, settings, lambda shape, rng: 0.1 * noise(rng, shape) + 0j, middle, 0.95 / (1 + KAPPA**2))


def _speckle() -> Tiny:
    """Short enough a distance that absorption and phase count alike."""
    references = 100 + 40 * np.random.default_rng(4).uniform(-1, 1, (3, *WINDOW))
    data = series(WINDOW, patterns=Exact(references), propagation_distance_m=np.array([0.4]), open_beam_counts=None)
    model = SpeckleTracking(balance=None)
    data = replace(data, extra={"references": references})
    return Tiny(
        model, data, {}, lambda shape, rng: 0.1 * np.abs(noise(rng, shape)) + 0.1j * noise(rng, shape), ones, 0.2
    )


def _microscope() -> Tiny:
    """Lamps on whole pixels of the spectrum: what is between them is left out of the curvature."""
    lamps = np.array([[0.0, 0], [1, 2], [-1, 1], [0, -2]])
    known = {"energy_ev": 1.968, "pixel_size_m": (1.6e-6, 1.6e-6), "extra": {"leds_px": lamps}}
    data = Dataset(Exact(np.full((4, *WINDOW), 100.0)), **known)
    model = FourierPtychography(numerical_aperture=0.15, buffer_px=0)
    return Tiny(model, data, {}, transmission, ones, 0.5)


def _bragg_scan() -> Tiny:
    scan = BraggScanTiny(WINDOW, 1.3)
    model = BraggPtychography(geometry=BraggGeometry(gamma=GAMMA_RAD), slices=2)
    data = scan.dataset(probe_positions_px=np.rint(scan.positions), theta_rad=2e-3 * np.arange(4))
    settings = {
        "object": CrystalObject(),
        "probe": ProbeSettings(initial=GaussianProbe(fwhm="3 px")),
        "probe_positions": ParameterSettings(),
    }
    return Tiny(model, data, settings, phases, itself, 0.3)


TINY: dict[str, Callable[[], Tiny]] = {
    "ptychography-far": lambda: _thin("far_field", 1),
    "ptychography-modes": lambda: _thin("far_field", 2),
    "ptychography-near": lambda: _thin("fresnel", 1),
    "ptychography-exponent": lambda: _thin(
        "far_field", 1, dark, ones, object=ObjectSettings(margin_px=0, representation="delta_beta")
    ),
    "ptychography-bare": lambda: Tiny(
        Bare(), _scan(Scan, "far_field", 2), _scanned(2), transmission, itself, blocks=("probe_positions",)
    ),
    "ptychography-changing": lambda: _changing("ptychography"),
    "tomography-changing": lambda: _changing("tomography"),
    "cone_tomography": lambda: _cone(),
    "multislice-far": lambda: _thick("far_field", 1),
    "multislice-near": lambda: _thick("fresnel", 2),
    "tomography-level": lambda: _tomography(moving=False),
    "tomography-moving": lambda: _tomography(moving=True),
    "ptychotomography-thin": lambda: _ptychotomography("thin"),
    "ptychotomography-multislice": lambda: _ptychotomography("multislice"),
    "holography": lambda: _hologram(),
    "holography-one-material": lambda: _hologram(homogeneous=True, kappa=KAPPA),
    "holotomography": lambda: _holotomography(),
    "speckle_tracking": lambda: _speckle(),
    "fourier_ptychography": lambda: _microscope(),
    "bragg_ptychography": lambda: _bragg_scan(),
}


def test_every_model_with_a_curvature_obeys_the_law():
    def divides(model: ForwardModel) -> bool:
        return any(spec.default_optimizer().needs_curvature for spec in model.refinable.values() if spec.refined)

    curved = {kind for kind, make in MODELS.items() if divides(make()[0].model)}
    volumes = {"tomography", "cone_tomography", "ptychotomography", "holotomography"}
    assert curved | volumes == {make().model.kind for make in TINY.values()} - {"bare"}


@pytest.mark.parametrize("name", TINY)
def test_the_curvature_of_the_object_bounds_the_matrix(name):
    tiny = TINY[name]()
    problem = tiny.problem()
    obj = adapter.present(problem, "object")
    h = np.broadcast_to(adapter.slopes(problem, ["object"], ["object"])[1]["object"], obj.shape)
    slope = adapter.slope(problem, "object", float(np.abs(obj).max()))
    assert_bound(slope, h, tiny.tight(obj).astype(complex), tiny.loosest, rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in TINY if n.startswith(("ptychography", "multislice"))])
def test_the_curvature_of_the_probe_bounds_the_matrix(name):
    problem = TINY[name]().problem()
    probe = adapter.present(problem, "probe")
    h = np.broadcast_to(adapter.slopes(problem, ["probe"], ["probe"])[1]["probe"], probe.shape)
    assert_bound(adapter.slope(problem, "probe", float(np.abs(probe).max())), h, probe, loosest=1.0, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [n for n in TINY if TINY[n]().blocks])
def test_blocks_are_exact(name, masked):
    """Of positions, scales, angles, tilts and shifts; up to the step of a difference."""
    tiny = TINY[name]()
    problem = tiny.problem(masked)
    for parameter in tiny.blocks:
        if masked and parameter == "intensity_scale":
            continue  # bounds its curvature: masked pixels count
        found = adapter.slopes(problem, [parameter], [parameter])[1][parameter]
        exact = adapter.blocks(problem, parameter, SIZES[parameter])
        exact = exact if found.ndim == 3 else np.diagonal(exact, axis1=1, axis2=2)
        # Line integrals, which no wave blurs, have the strongest kinks.
        integrals = isinstance(problem.model, Tomography) and parameter in ("rotation_angles", "tilt")
        tolerance = 0.15 if integrals else TOLERANCES.get(parameter, 0.1)
        assert np.abs(found).max() > 0 and relative_error(found, exact) < tolerance, parameter


@pytest.mark.parametrize("loss", [SMALL, Poisson(floor=1e-9)], ids=lambda each: each.kind)
@pytest.mark.parametrize("name", [n for n in TINY if n.startswith("ptychography")])
def test_products_with_the_matrix_are_exact(name, loss):
    """What second-order solvers work with, with half of the pixels masked."""
    problem = TINY[name]().problem(True, loss)
    obj, rng = adapter.present(problem, "object"), np.random.default_rng(9)
    slope = adapter.slope(problem, "object", float(np.abs(obj).max()))
    for _ in range(3):
        v, w = (noise(rng, obj.shape, complex_values=True) for _ in range(2))
        found, exact = inner(w, adapter.gauss_newton(problem, "object", v)), float(slope(v) @ slope(w))
        assert found == pytest.approx(exact, abs=1e-5 * float(np.linalg.norm(slope(v)) * np.linalg.norm(slope(w))))
