"""One small instance of every registered component, so that registering one enrols it in the laws.

`tests/test_cases.py` fails if a registered name lacks an entry in `CASES`. A forward model has its entries in `MODELS`
besides: one for each of its regimes, with a data set that it describes exactly and the truth of every parameter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bragg_scan import DEPTH, GAMMA_RAD, BraggScanTiny
from tiny_crystal import LATTICE_M, REFLECTIONS, Peak
from tiny_holograms import joined, series, truth_of
from tiny_multislice import ThickScan
from tiny_scan import REGIMES, Exact, Scan

# Imported for what they register as well.
import adorym.data.open
import adorym.simulate.experiments  # noqa: F401
from adorym import registry
from adorym.constraints import limits
from adorym.constraints import object as of_object
from adorym.constraints import probe as of_probe
from adorym.constraints.support import ShrinkWrap, Support
from adorym.data import rings
from adorym.data.dataset import Dataset
from adorym.data.layouts import LAYOUTS
from adorym.data.readers.entry import CxiReader, NexusReader
from adorym.data.readers.native import NativeReader
from adorym.data.readers.ptypy import PtypyReader
from adorym.engine.checks import start_value
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import predict_patterns
from adorym.engine.problem import Problem
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.base import ForwardModel
from adorym.forward.bragg_cdi import BraggCdi
from adorym.forward.bragg_ptychography import BraggPtychography
from adorym.forward.cone_tomography import ConeTomography
from adorym.forward.crystal import CrystalObject
from adorym.forward.fourier_ptychography import FourierPtychography
from adorym.forward.holography import Holography
from adorym.forward.holotomography import HoloTomography
from adorym.forward.multi_peak import MultiPeak
from adorym.forward.multislice import Multislice
from adorym.forward.object import MixedObject, ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.ptychotomography import PtychoTomography
from adorym.forward.rocking_curve import RockingCurve
from adorym.forward.speckle_tracking import SpeckleTracking
from adorym.forward.time_course import TimeSettings
from adorym.forward.tomography import TomogramSettings, Tomography
from adorym.initializers import (
    algorithms,
    network,
    off_axis,
    phase_contrast,
    phasing,
    ptycho_network,
    simple,
    tomographic,
)
from adorym.losses.base import Loss
from adorym.losses.counting import Huber, Intensity, LeastSquares, Mixed, Poisson, Student
from adorym.object_space import Transmission
from adorym.optics import probes
from adorym.optics.bragg_geometry import BraggGeometry
from adorym.optics.probe_search import AutoProbe
from adorym.optics.projector import Fourier, Joseph, Rotate
from adorym.optimizers import first_order, schedules
from adorym.optimizers.preconditioned import Preconditioned
from adorym.parameters import ParameterSettings
from adorym.regularizers import sparsity
from adorym.regularizers.crosstalk import SliceCrosstalk, SliceSmoothness
from adorym.regularizers.variation import TotalVariation
from adorym.simulate import (
    bragg,
    bragg_scan,
    cones,
    experiments,
    foam,
    holograms,
    illumination,
    microscope,
    phantoms,
    speckle,
)
from adorym.solvers import library, memory, newton, preconditioners, splitting
from adorym.stream import growing, policy, position_file, pva, replay, targets
from adorym.stream import network as stream_network

# Need projections of a volume at several angles.
VOLUME_INITIALIZERS = {"filtered_back_projection", "sirt", "cgls"}
# Initializers that read holograms.
OF_HOLOGRAMS = {
    "back_propagation",
    "contrast_transfer",
    "off_axis",
    "one_material",
    "paganin",
    "transport_of_intensity",
}
OBJECT_SHAPE = (30, 34)  # of the cases that act on an object
PROBE_SHAPE = (3, 12, 14)  # of those that act on a probe


def _support(folder: Path) -> Support:
    y, x = np.indices(OBJECT_SHAPE)
    np.save(folder / "support.npy", (y - 12) ** 2 + (x - 18) ** 2 < 80)
    return Support(mask=str(folder / "support.npy"))


def _object_file(folder: Path) -> simple.File:
    rng = np.random.default_rng(8)
    np.save(folder / "object.npy", rng.normal(size=OBJECT_SHAPE) + 1j * rng.normal(size=OBJECT_SHAPE))
    return simple.File(path=str(folder / "object.npy"))


def _ptycho_network(folder: Path) -> ptycho_network.PtychoNn:
    (folder / "weights.safetensors").touch()
    return ptycho_network.PtychoNn(weights=str(folder / "weights.safetensors"), compare=2)


def _probe_file(folder: Path) -> probes.FileProbe:
    np.save(folder / "probe.npy", Scan(modes=PROBE_SHAPE[0], window=PROBE_SHAPE[1:]).probe())
    return probes.FileProbe(path=str(folder / "probe.npy"))


def _small_experiment(folder: Path) -> experiments.Ptychography:
    return experiments.Ptychography(window_px=(24, 28), object_px=(50, 56), photons=1e4)


def _fourier(folder: Path) -> Fourier:
    return pytest.importorskip("finufft") and Fourier(tolerance=1e-9)


def _fourier_wavelet(folder: Path) -> rings.FourierWavelet:
    return pytest.importorskip("pywt") and rings.FourierWavelet(sigma=2.0)


def _plain(cls: type, **fields: Any) -> Callable[[Path], Any]:
    return lambda folder: cls(**fields)


CASES: dict[str, dict[str, Callable[[Path], Any]]] = {
    "constraint": {
        "magnitude_limit": _plain(of_object.MagnitudeLimit, maximum=1.0, minimum=0.3),
        "phase_limit": _plain(of_object.PhaseLimit, maximum=0.05, minimum=-0.2),
        "non_negativity": _plain(of_object.NonNegativity),
        "phase_only": _plain(of_object.PhaseOnly),
        "absorption_only": _plain(of_object.AbsorptionOnly),
        "homogeneous": _plain(of_object.Homogeneous),
        "support": _support,
        "shrink_wrap": _plain(ShrinkWrap, threshold=0.4, blur=1.5),
        "probe_power": _plain(of_probe.ProbePower, photons=1e4),
        "orthogonal_modes": _plain(of_probe.OrthogonalModes),
        "probe_support": _plain(of_probe.ProbeSupport, radius=4.0),
        "probe_fourier_support": _plain(of_probe.ProbeFourierSupport, radius=5.0, stop=1.0),
        "position_limit": _plain(limits.PositionLimit, maximum=0.5),
        "limit": _plain(limits.Limit, parameter="background", minimum=0.2, maximum=0.9),
    },
    "forward_model": {
        "holotomography": _plain(HoloTomography, buffer_px=4),
        "ptychography": _plain(Ptychography),
        "bragg_cdi": _plain(BraggCdi),
        "bragg_ptychography": _plain(BraggPtychography, geometry=BraggGeometry(gamma=GAMMA_RAD), slices=3),
        "cone_tomography": _plain(ConeTomography, center=0.5),
        "rocking_curve": _plain(RockingCurve),
        "multi_peak": _plain(MultiPeak, reflections=REFLECTIONS, lattice=LATTICE_M),
        "holography": _plain(Holography, buffer_px=4),
        "fourier_ptychography": _plain(FourierPtychography, numerical_aperture=0.1, led_distance=0.08),
        "speckle_tracking": _plain(SpeckleTracking, references="references.h5", scattering=3.0),
        "multislice": _plain(Multislice, slices=3, spacing=2e-6),
        "tomography": _plain(Tomography, center=1.5),
        "ptychotomography": _plain(PtychoTomography, thickness="multislice"),
    },
    "illumination": {
        "focused_beam": _plain(illumination.FocusedBeam, aperture=4.0),
        "diffused_beam": _plain(illumination.DiffusedBeam),
    },
    "initializer": {
        "constant": _plain(simple.Constant, magnitude=0.9, phase=0.2),
        "random": _plain(simple.Random, magnitude_sigma=0.1, phase_sigma=0.2),
        "file": _object_file,
        "phasing": _plain(phasing.Phasing, sequence="3*HIO + 2*ER", starts=2),
        "cdi_nn": _plain(network.CdiNn, sequence="2*ER"),
        "ptycho_nn": _ptycho_network,
        "filtered_back_projection": _plain(tomographic.FilteredBackProjection),
        "sirt": _plain(tomographic.Sirt, iterations=3),
        "cgls": _plain(tomographic.Cgls, iterations=3),
        "contrast_transfer": _plain(phase_contrast.ContrastTransfer, regularization=0.01),
        "transport_of_intensity": _plain(phase_contrast.TransportOfIntensity, sample="homogeneous", kappa=30.0),
        "paganin": _plain(phase_contrast.Paganin, kappa=30.0),
        "one_material": _plain(phase_contrast.OneMaterial, kappa=30.0),
        "off_axis": _plain(off_axis.OffAxis, carrier=(0.1, 0.25)),
        "back_propagation": _plain(phase_contrast.BackPropagation, propagation="fresnel"),
    },
    "phasing_algorithm": {
        "er": _plain(algorithms.ErrorReduction),
        "hio": _plain(algorithms.HybridInputOutput, beta=0.8),
        "raar": _plain(algorithms.RelaxedReflections),
        "dm": _plain(algorithms.DifferenceMap),
    },
    "ring_filter": {"sorting": _plain(rings.Sorting, width=7), "fourier_wavelet": _fourier_wavelet},
    "projector": {"joseph": _plain(Joseph), "rotate": _plain(Rotate), "fourier": _fourier},
    "loss": {
        "least_squares": _plain(LeastSquares),
        "poisson": _plain(Poisson),
        "mixed": _plain(Mixed, read_noise=0.3, gain=2.0),
        "intensity": _plain(Intensity),
        "huber": _plain(Huber, threshold=0.8),
        "student": _plain(Student, degrees=3.0),
    },
    "optimizer": {
        "gradient_descent": _plain(first_order.GradientDescent, learning_rate=0.3),
        "momentum": _plain(first_order.Momentum, learning_rate=0.05),
        "adam": _plain(first_order.Adam, learning_rate=0.05),
        "rmsprop": _plain(first_order.RMSProp, learning_rate=0.02),
        "preconditioned": _plain(Preconditioned, learning_rate=0.7, regularization=0.05),
    },
    "source": {
        "replay": _plain(replay.Replay, address="scan.h5", rate=500.0),
        "zmq": _plain(stream_network.Zmq, address="localhost:5555", queue=10),
        "hdf5": _plain(growing.GrowingFile, address="scan.h5", data="entry/data/data"),
        "folder": _plain(growing.GrowingFolder, address="frames", files="*.cbf"),
        "positions": _plain(position_file.PositionFile, address="positions.csv", first=1),
        "pva": _plain(pva.Pva, address="detector:image", position="y,x"),
    },
    "policy": {
        "block": _plain(policy.Block, room=5),
        "newest": _plain(policy.Newest, room=5),
        "every": _plain(policy.Every, n=3),
    },
    "target": {
        "zmq": _plain(targets.ZmqTarget, address="*:5555"),
        "pva": _plain(targets.PvaTarget, address="picture"),
    },
    "phantom": {
        "vacuum": _plain(phantoms.Vacuum),
        "siemens_star": _plain(phantoms.SiemensStar, spokes=9, rings=2),
        "pictures": _plain(phantoms.Pictures),
        "cells": _plain(phantoms.Cells, count=4),
        "electrode": _plain(phantoms.Electrode, count=4),
    },
    "probe": {
        "plane": _plain(probes.PlaneProbe),
        "gaussian": _plain(probes.GaussianProbe, fwhm="4 px"),
        "aperture": _plain(probes.ApertureProbe, outer_radius="4 px", central_stop="1 px"),
        "mean_pattern": _plain(probes.MeanPatternProbe),
        "auto": _plain(AutoProbe),
        "file": _probe_file,
        "data": _plain(probes.DataProbe),
    },
    "reader": {
        "adorym": _plain(NativeReader),
        "cxi": _plain(CxiReader),
        "nexus": _plain(NexusReader),
        "nxtomo": _plain(registry.lookup("reader", "nxtomo")),
        "ptypy": _plain(PtypyReader),
        **{name: _plain(registry.lookup("reader", name)) for name in LAYOUTS},
    },
    "regularizer": {
        "total_variation": _plain(TotalVariation, weight=0.02),
        "l1": _plain(sparsity.L1, weight=0.3),
        "l2": _plain(sparsity.L2, weight=0.3),
        "reweighted_l1": _plain(sparsity.ReweightedL1, weight=0.3, epsilon=0.2),
        "smoothness": _plain(sparsity.Smoothness, parameter="probe_positions", weight=0.4, order=2),
        "slice_crosstalk": _plain(SliceCrosstalk, weight=0.1),
        "slice_smoothness": _plain(SliceSmoothness, weight=0.1),
    },
    "schedule": {
        "constant": _plain(schedules.Constant),
        "late_decay": _plain(schedules.LateDecay, hold=0.4, final=0.1),
        "exponential": _plain(schedules.Exponential, decay=0.9, minimum=0.2),
        "cosine": _plain(schedules.Cosine, final=0.05),
        "steps": _plain(schedules.Steps, at=(3, 6), decay=0.5),
    },
    "preconditioner": {
        "intensity": _plain(preconditioners.Intensity, regularization=0.2),
        "estimated": _plain(preconditioners.Estimated, probes=3),
        "none": _plain(preconditioners.Unscaled),
    },
    "solver": {
        "conjugate_gradient": _plain(memory.ConjugateGradient),
        "lbfgs": _plain(memory.LBFGS, pairs=5),
        "levenberg_marquardt": _plain(newton.LevenbergMarquardt),
        "curveball": _plain(newton.Curveball),
        "proximal_gradient": _plain(splitting.ProximalGradient),
        "admm": _plain(splitting.ADMM, inner=3),
        "scipy": _plain(library.Scipy, iterations=12),
    },
    "simulation": {
        "ptychography": _small_experiment,
        "multislice_two_planes": _plain(experiments.TwoPlanes, window_px=(24, 28), object_px=(50, 56), photons=1e4),
        "tomography_foam": _plain(foam.FoamTomography, size_px=(8, 20), angles=6, bubbles=5),
        "ptychotomography_cone": _plain(cones.ConePtychoTomography, volume_px=16, window_px=10, angles=2, probe_px=2.0),
        "full_field_cone": _plain(cones.FullFieldCone, volume_px=16, angles=2),
        "holography": _plain(holograms.Holography, window_px=(16, 20), distances=(0.01, 0.02), detector_pixel=2e-6),
        "holography_of_electrode": _plain(holograms.HolographyOfElectrode, size_px=24),
        "holography_of_pictures": _plain(holograms.HolographyOfPictures, size_px=24),
        "fourier_ptychography": _plain(microscope.Microscope, window_px=(16, 20), lamps=3),
        "speckle_tracking": _plain(speckle.SpeckleExperiment, window_px=(16, 20), diffusers=2),
        "siemens_star_fly_scan": _plain(experiments.SiemensStarFlyScan),
        "bragg_ptychography": _plain(bragg_scan.BraggScan, window_px=(16, 20), angles=3, scan=(2, 2)),
        "bragg_crystal": _plain(bragg.BraggCrystal, frames=12, window_px=(14, 16), photons=1e5),
    },
}


# -- forward models ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ModelCase:
    """A forward model in one regime, with measurements that it describes exactly.

    Attributes:
        name: For the test's id.
        model: The model.
        dataset: Noise-free measurements.
        settings: Settings of every parameter that means something in this regime.
        truth: ``(shape, origin of the object array) -> values by name``, as the model takes them.
        scales: Change of a parameter that bends the loss noticeably.
        floor: Loss that remains with the truth in place: aliasing of the discrete waves.
        rtol: Error of gradients by finite differences: more where the loss has kinks.
        said: Measurements as the model itself makes them now, or ``None`` where other code made them.
    """

    name: str
    model: ForwardModel
    dataset: Dataset
    settings: Mapping[str, ParameterSettings]
    truth: Callable[[tuple[int, ...], tuple[int, int]], dict[str, np.ndarray]]
    scales: Mapping[str, float]
    floor: float
    rtol: float = 1e-6
    said: Callable[[], Dataset] | None = None

    def reconstruction(self, loss: Loss | None = None, **run: Any) -> Reconstruction:
        """Ready to run, all parameters at their start values."""
        settings: dict[str, Any] = {"precision": "double", "backend": "autograd", "device": "cpu"}
        recipe = Recipe(self.model, self.settings, loss or LeastSquares())
        return Reconstruction(self.dataset, recipe, RunSettings(**(settings | run)))

    def problem(self, loss: Loss | None = None, **run: Any) -> Problem:
        return self.reconstruction(loss, **run).problem


def insert(problem: Problem, values: Mapping[str, np.ndarray]) -> None:
    """Replace the present values of object and parameters."""
    xp = problem.xp
    for name, value in values.items():
        if name == "object":
            problem.store.restore(np.array(value), problem.store.state())
        else:
            assert problem.values[name].array.shape == value.shape, name
            present = xp.to_numpy(problem.values[name].array)
            problem.values[name].array = xp.asarray(np.array(value, present.dtype), exact=True)


def corner(pattern: np.ndarray) -> np.ndarray:
    """A pattern with the zero frequency at its corner."""
    return np.fft.ifftshift(pattern, axes=(-2, -1))


def full_scan(regime: str, modes: int, kind: type[Scan] = Scan, **changes: Any) -> Any:
    """A scan in which every parameter of the ptychographic model differs from its start value."""
    rng = np.random.default_rng(21)
    window, offset = changes.pop("window", (12, 14)), 0.4 * np.array([[1.0, -0.6], [-1.0, 0.6]])
    y, x = np.indices(window)
    fields: dict[str, Any] = {
        "scans": 2,
        "offset_px": offset,
        "defocus_m": 3e-6,
        "scale": rng.uniform(0.7, 1.3, 20),
        "background": 0.5 + 0.02 * y + 0.01 * x,
    }
    return kind(regime=regime, modes=modes, window=window, **(fields | changes))


def _ptychography(regime: str, modes: int, window: tuple[int, int], states: int = 1, **model: Any) -> ModelCase:
    scan = full_scan(regime, modes, window=window, size_px=1.7 if window[0] < 20 else 2.3, states=states)
    made = Ptychography(propagation=regime, **model)
    settings = {name: spec.settings() for name, spec in Ptychography.refinable.items() if spec.implied is None}
    per = "scan" if modes > 1 else "run"
    settings["probe"] = ProbeSettings(initial=probes.GaussianProbe(fwhm="4 px"), modes=modes, per=per)
    settings["object"] = ObjectSettings(margin_px=4) if states == 1 else MixedObject(margin_px=4, states=states)
    for name in (
        "detector_blur",
        "pattern_shift",
        "aberrations",
        "semi_angle",
    ):  # the fused operation lacks them; a known pupil is no Gaussian
        del settings[name]
    if regime == "far_field":
        del settings["propagation_distance"]

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        values = {
            "object": scan.object_array((shape[0], shape[1]), origin),
            "probe": np.array([scan.probe()] * 2) if per == "scan" else scan.probe(),
            "probe_positions": scan.positions,
            "probe_offset": scan.offset_px,
            "probe_defocus": np.array([scan.defocus_m]),
            "intensity_scale": scan.scale[:, None],
            "background": corner(np.asarray(scan.background)[None])
            if regime == "far_field"
            else np.asarray(scan.background)[None],
            "propagation_distance": np.array([scan.distance_m]),
        }
        return {name: values[name] for name in settings}

    return ModelCase(
        name=f"{regime}-{modes}{'-states' if states > 1 else ''}",
        model=made,
        dataset=scan.dataset(),
        settings=settings,
        truth=truth,
        scales={"propagation_distance": scan.distance_m, "probe_defocus": 1e-4},
        floor=1e-4 if window[0] < 20 else 1e-9,
    )


def ptychography_cases(window: tuple[int, int] = (12, 14), **model: Any) -> list[ModelCase]:
    """Every propagation, one probe mode and two; an object that changes."""
    made = [_ptychography(regime, modes, window, **model) for regime in REGIMES for modes in (1, 2)]
    return [*made, _changing(window, **model)]


def _changing(window: tuple[int, int], **model: Any) -> ModelCase:
    """What the model itself says of a thin object that changes during the scan."""
    base, number = _ptychography("far_field", 1, window, **model), 3
    names = ("probe", "probe_positions", "intensity_scale")
    settings = {"object": MixedObject(margin_px=4, time=TimeSettings(basis=number)), "time_course": ParameterSettings()}
    settings |= {name: base.settings[name] for name in names}

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        values, rng = base.truth(shape[:2], origin), np.random.default_rng(12)
        first = values["object"]
        parts = [first, 0.2 * first**2, 0.1j * np.conj(first)]
        course = np.cos(np.pi * np.linspace(0, 1, 20)[:, None] * np.arange(number)) + 0.1 * rng.normal(
            size=(20, number)
        )
        return {"object": np.stack(parts, -1), "time_course": course} | {name: values[name] for name in names}

    scales = dict(base.scales) | {"time_course": 0.1}
    return _as_it_says(
        replace(base, name="changing", settings=settings, truth=truth, scales=scales, floor=1e-9, rtol=1e-5)
    )


def _as_it_says(case: ModelCase) -> ModelCase:
    """The same with the patterns that the model itself predicts of the truth."""

    def said() -> Dataset:
        problem = case.problem()
        insert(problem, case.truth(problem.store.shape, problem.bound.origin_px))
        ready, xp = problem.dataset, problem.xp
        exact = problem.bound.from_model_frame(xp.to_numpy(predict_patterns(problem, np.arange(ready.n_patterns))))
        return case.dataset.with_(patterns=Exact(exact if ready.tile_corners_px is None else joined(ready, exact)))

    return replace(case, dataset=said(), said=said)


def _thin_cases() -> list[ModelCase]:
    """Those, and an object in two states."""
    return [_ptychography("far_field", 1, (12, 14), states=2), _upsampled(), *ptychography_cases()]


def _upsampled() -> ModelCase:
    """What the model itself says on a detector with pixels twice as large as those of its patterns."""
    base, names = _ptychography("far_field", 1, (12, 14)), ("object", "probe", "probe_positions", "intensity_scale")
    coarse = base.dataset.with_(patterns=Exact(np.ones((20, 6, 7))), mask=None, detector_pixel_size_m=None)
    settings = {name: base.settings[name] for name in names}

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        values = {name: value for name, value in base.truth(shape, origin).items() if name in names}
        return values | {"probe_positions": values["probe_positions"] - (3, 3)}  # corners of the wider windows

    model = Ptychography(upsampling=2)
    case = replace(base, name="upsampled", model=model, dataset=coarse, settings=settings, truth=truth, floor=1e-9)

    def said() -> Dataset:
        problem = case.problem()
        insert(problem, case.truth(problem.store.shape, problem.bound.origin_px))
        exact = problem.xp.to_numpy(predict_patterns(problem, np.arange(20)))
        return coarse.with_(patterns=Exact(problem.bound.from_model_frame(exact)[:, ::2, ::2]))

    return replace(case, dataset=said(), said=said)


def _bragg(model: ForwardModel) -> Callable[[], list[ModelCase]]:
    """A small crystal, every parameter off its start value."""

    def make() -> list[ModelCase]:
        peak = Peak(kind=model.kind)
        settings = {name: spec.settings() for name, spec in model.refinable.items()}
        settings["object"] = CrystalObject(initial=simple.Constant())

        def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
            values = {
                "object": peak.object,
                "support": (np.abs(peak.object) > 0).astype(float),
                "background": np.array([peak.background]),
                "coherence_blur": np.array(peak.sigma),
                "rocking_positions": peak.places,
                "displacement": peak.displacement,
                "reflection_scale": peak.scales,
            }
            return {name: values[name] for name in settings}

        return [ModelCase(model.kind, model, peak.dataset(), settings, truth, {"displacement": 1e-10}, 1e-9)]

    return make


def bragg_scan_cases(window: tuple[int, int] = (12, 14)) -> list[ModelCase]:
    """One probe mode and two, every parameter off its start value."""
    made = []
    for modes in (1, 2):
        scan = BraggScanTiny(window, 1.7 if window[0] < 20 else 2.3, modes)
        model = BraggPtychography(geometry=BraggGeometry(gamma=GAMMA_RAD), slices=DEPTH)
        settings = {name: spec.settings() for name, spec in model.refinable.items()}
        settings["probe"] = ProbeSettings(initial=probes.GaussianProbe(fwhm="4 px"), modes=modes)

        def truth(shape: tuple[int, ...], origin: tuple[int, int], scan: BraggScanTiny = scan) -> dict[str, np.ndarray]:
            return {
                "object": scan.crystal(shape, origin),
                "probe": scan.probe(),
                "probe_positions": scan.positions,
                "probe_offset": scan.offset_px,
                "intensity_scale": scan.scale[:, None],
                "background": corner(scan.background)[None],
                "rocking_positions": scan.places[:, None],
            }

        floor = 1e-4 if window[0] < 20 else 1e-9
        made.append(
            ModelCase(
                f"bragg_ptychography-{modes}", model, scan.dataset(), settings, truth, {"rocking_positions": 0.1}, floor
            )
        )
    return made


def _multislice(regime: str, modes: int, window: tuple[int, int], **model: Any) -> ModelCase:
    scan = full_scan(regime, modes, ThickScan, window=window, size_px=1.7 if window[0] < 20 else 2.3)
    even = model.pop("even", False)
    if even:
        scan = replace(scan, slice_positions_m=(0.0, 2e-6, 4e-6, 6e-6))
        model |= {"slices": 4, "spacing": 2e-6}
    tilt = model.pop("tilt", "")
    if tilt:
        lean = np.array([0.012, -0.009])
        lean = lean + 0.004 * np.sin(np.arange(2 * scan.n)).reshape(-1, 2) if tilt == "object_tilts" else lean
        scan = replace(scan, lean_rad=lean)
    base = _ptychography(regime, modes, window)
    made = Multislice(propagation=regime, **model)
    settings = base.settings | {name: ParameterSettings() for name in ("slice_spacing", tilt) if name}
    dataset = scan.dataset() if even else scan.dataset(slice_positions_m=np.array(scan.slice_positions_m))

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        spacing = np.diff(scan.slice_positions_m)[: 1 if even else None]
        obj = scan.slices_array((shape[0], shape[1]), origin)
        leaning = {} if scan.lean_rad is None else {tilt: np.atleast_2d(scan.lean_rad)}
        return base.truth(shape, origin) | {"object": obj, "slice_spacing": spacing} | leaning

    return ModelCase(
        name=f"multislice-{regime}-{modes}{'-even' if even else ''}{'-' if tilt else ''}{tilt}",
        model=made,
        dataset=dataset,
        settings=settings,
        truth=truth,
        scales=dict(base.scales) | {"slice_spacing": 1e-5, "object_tilt": 0.01, "object_tilts": 0.01},
        floor=1e-3 if window[0] < 20 else 1e-6,
    )


def multislice_cases(window: tuple[int, int] = (12, 14)) -> list[ModelCase]:
    """Uneven slices and an even spacing, upright and leaning, in the far and in the near field."""
    variants: list[tuple[str, int, dict[str, Any]]] = [
        ("far_field", 1, {"tilt": "object_tilt"}),
        ("far_field", 2, {"even": True}),
        ("fresnel", 2, {"tilt": "object_tilts"}),
    ]
    return [_multislice(regime, modes, window, **model) for regime, modes, model in variants]


def _seen_volume(name: str, model: ForwardModel, dataset: Dataset, names: Collection[str]) -> ModelCase:
    """A volume, and what the model itself says of it at poses that differ from the start values."""
    settings = {each: model.refinable[each].settings() for each in names}
    if "time_course" in names:
        settings["object"] = TomogramSettings(time=TimeSettings(basis=3))
    if "probe" in names:
        settings["probe"] = ProbeSettings(initial=probes.GaussianProbe(fwhm="4 px"), power=1e4)

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(5)
        y, x, z = (np.linspace(-1, 1, n) for n in shape)  # a basis object is a part along z of such a volume
        r2 = y[:, None, None] ** 2 + (x[:, None] - 0.1) ** 2 + (z + 0.2) ** 2
        bound = model.bind(dataset, settings)
        made = {each: start_value(each, bound, rng) for each in names if each != "object"}
        made["object"] = (0.05 + 0.1j) * np.exp(-3 * r2) * (1 + 0.3 * np.sin(5 * x[:, None] + 3 * z))
        widths = {
            "tilt": 0.02,
            "object_shift": 0.3,
            "axis_tilt": 0.02,
            "rotation_angles": 0.01,
            "relative_distances": 0.01,
            "affine": 0.02,
            "time_course": 0.1,
            "beam_hardening": 0.1,
            "detector_roll": 0.03,
            "detector_tilt": 0.03,
            "detector_shift": 0.3,
            "source_distance": 5e-4,
            "detector_distance": 5e-4,
        }
        for each in [name for name in widths if name in made]:  # in this order: random numbers are drawn
            made[each] = made[each] + widths[each] * rng.normal(size=made[each].shape)
        return {each: made[each] for each in names}

    return _as_it_says(ModelCase(name, model, dataset, settings, truth, GEOMETRY_SCALES, floor=1e-9, rtol=1e-5))


# A step of a thousandth of these: interpolation has kinks, and steps are to meet none of them.
GEOMETRY_SCALES = {
    **dict.fromkeys(("rotation_angles", "axis_tilt", "tilt", "object_shift", "probe_positions"), 2e-4),
    # The loss hardly changes with it: much shorter steps meet rounding.
    "rotation_center": 2e-3,
    "affine": 2e-3,
    "common_distance": 0.02,
    "relative_distances": 0.02,
    "object": 0.05,
    "time_course": 0.1,
    "beam_hardening": 0.02,
    "detector_roll": 2e-4,
    "detector_tilt": 2e-4,
    "detector_shift": 2e-3,
    "source_distance": 5e-6,
    "detector_distance": 5e-6,
}


def tomography_cases() -> list[ModelCase]:
    """Upright, while the volume changes, and with everything that moves and every gain."""
    common = {"theta_rad": np.linspace(0.13, 2.9, 20), "angle_index": np.arange(20), "open_beam_counts": 1e3}
    dataset = Dataset(Exact(np.ones((20, 7, 9))), **common)
    names = ("object", "rotation_angles", "rotation_center")
    moving = (*names, "tilt", "object_shift", "axis_tilt", "pixel_gain", "intensity_scale")
    return [
        _seen_volume("tomography-level", Tomography(center=0.4), dataset, names),
        _seen_volume("tomography-changing", Tomography(center=0.4), dataset, (*names, "time_course")),
        _seen_volume("tomography-hard", Tomography(center=0.4), dataset, (*names, "beam_hardening")),
        _seen_volume("tomography-moving", Tomography(center=-0.3, axis_tilt=(0.1, 0.03)), dataset, moving),
    ]


def cone_cases() -> list[ModelCase]:
    """The volume alone; everything of the beam and of the detector; all that moves the volume."""
    common = {"theta_rad": np.linspace(0.13, 5.9, 20), "angle_index": np.arange(20), "open_beam_counts": 1e3}
    beam = {"source_distance_m": 2e-2, "distance_m": 3e-2, "detector_pixel_size_m": (2e-3, 2e-3)}
    dataset = Dataset(Exact(np.ones((20, 5, 7))), **common, **beam)
    names = ("object", "rotation_angles", "rotation_center")
    detector = (*names, "source_distance", "detector_distance", "detector_roll", "detector_tilt", "detector_shift")
    return [
        _seen_volume("cone-level", ConeTomography(center=0.4), dataset, names),
        _seen_volume("cone-detector", ConeTomography(), dataset, detector),
        _seen_volume("cone-moving", ConeTomography(), dataset, (*names, "tilt", "object_shift", "pixel_gain")),
    ]


def ptychotomography_cases() -> list[ModelCase]:
    """Thin and multislice; upright and with everything that moves."""
    rng = np.random.default_rng(6)
    positions = rng.uniform(0, 4, (20, 2))
    common = {"theta_rad": np.linspace(0.23, 2.8, 5), "angle_index": np.repeat(np.arange(5), 4)}
    dataset = Dataset(Exact(np.ones((20, 8, 10))), positions, energy_ev=5e3, pixel_size_m=(5e-8, 5e-8), **common)
    names = ("object", "rotation_angles", "rotation_center", "probe", "probe_positions")
    moving = (*names, "tilt", "object_shift", "axis_tilt")
    models = [("thin", names), ("thin", moving), ("multislice", moving)]
    return [
        _seen_volume(f"ptychotomography-{kind}-{len(each)}", PtychoTomography(thickness=kind), dataset, each)  # type: ignore[arg-type]
        for kind, each in models
    ]


def _holography(name: str, parameters: tuple[str, ...], dataset: Dataset, **model: Any) -> ModelCase:
    """What the model itself says of an object and parameters that differ from the start values."""
    made = Holography(**model)
    settings = {each: made.refinable[each].settings() for each in ("object", *parameters)}

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        rng, values, bound = np.random.default_rng(5), {}, made.bind(dataset, settings)
        for each in settings:
            start = np.zeros(0) if each == "object" else start_value(each, bound, rng)
            values[each] = truth_of(each, start, shape, rng, made.homogeneous)
        return values

    scales = {"common_distance": 0.02, "relative_distances": 0.02, "affine": 0.02, "pixel_ratio": 0.02}
    scales |= {"translation": 0.2, "log10_kappa": 0.3}
    return _as_it_says(ModelCase(name, made, dataset, settings, truth, scales, 1e-9))


def holography_cases(window: tuple[int, int] = (12, 14)) -> list[ModelCase]:
    """Both propagators; maps or their parts; one material; a cone beam."""
    distances, parallel = ("common_distance", "relative_distances"), series(window)
    cone = series(window, magnification=np.linspace(3.0, 2.8, parallel.n_patterns))
    parts, maps = ("translation", "pixel_ratio"), ("affine", "intensity_scale", "beam_shape", "illumination")
    return [
        _holography("holography-maps", (*distances, *maps), parallel, propagation="fresnel"),
        _holography("holography-spectrum", (*distances, *maps), parallel, propagation="angular_spectrum"),
        _holography("holography-parts", (*distances, *parts), parallel, surroundings="vacuum", fused=False),
        _holography("holography-one-material", (*parts, "log10_kappa"), cone, homogeneous=True, kappa=20.0),
    ]


def holotomography_cases() -> list[ModelCase]:
    """One distance; four of them, with maps and everything that moves."""
    angles = {"theta_rad": np.linspace(0.23, 2.8, 5), "angle_index": np.repeat(np.arange(5), 4)}
    several = series((7, 9), propagation_distance_m=np.linspace(0.03, 0.1, 4), **angles)
    single = {"theta_rad": np.linspace(0.13, 2.9, 20), "angle_index": np.arange(20)}
    one = series((7, 9), propagation_distance_m=np.array([0.05]), **single)
    names = ("object", "rotation_angles", "rotation_center")
    moving = (
        *names,
        "tilt",
        "object_shift",
        "axis_tilt",
        "relative_distances",
        "affine",
        "intensity_scale",
        "beam_shape",
    )
    level = (*names, "common_distance", "illumination")
    fewer = {"theta_rad": np.linspace(0.2, 2.7, 5), "angle_index": np.repeat(np.arange(5), 2)}
    high = series((16, 9), patterns=Exact(np.full((10, 16, 9), 100.0)), propagation_distance_m=[0.03, 0.06], **fewer)
    tiles = HoloTomography(buffer_px=3, center=0.2, tile_memory_gib=7.5e-5)
    return [
        _seen_volume("holotomography-level", HoloTomography(buffer_px=3, center=0.4), one, level),
        _seen_volume("holotomography-moving", HoloTomography(buffer_px=3, center=-0.3), several, moving),
        _seen_volume("holotomography-tiles", tiles, high, (*names, "tilt", "object_shift", "affine", "illumination")),
    ]


def speckle_cases() -> list[ModelCase]:
    """Plain steps and balanced ones; everything that may differ from one picture to the next."""
    rng, n, window = np.random.default_rng(17), 20, (12, 14)
    y, x = np.indices(window)
    waves = rng.uniform(0.5, 1.5, (n, 2)), rng.uniform(0, 6, n)
    lines = [a * y + b * x + c for (a, b), c in zip(*waves, strict=True)]
    data = Dataset(
        Exact(np.ones((n, *window))),
        energy_ev=2e4,
        pixel_size_m=(1e-6, 1.2e-6),
        propagation_distance_m=np.array([0.1]),
        extra={"references": 100 + 30 * np.sin(lines)},
    )
    names = ("object", "dark_field", "reference_shift", "intensity_scale")
    model = SpeckleTracking(scattering=2.0, balance=None)
    return [
        _seen_by_itself("speckle-plain", model, data, names),
        _seen_by_itself("speckle-balanced", SpeckleTracking(balance=1e-2), data, names[:1]),
    ]


def microscope_cases() -> list[ModelCase]:
    """The object alone and everything; lamps between pixels of the spectrum."""
    rng = np.random.default_rng(19)
    data = Dataset(
        Exact(np.full((20, 12, 14), 100.0)),
        energy_ev=1.968,
        pixel_size_m=(1.6e-6, 1.5e-6),
        extra={"leds_px": rng.uniform(-4, 4, (20, 2))},
    )
    model, names = FourierPtychography(numerical_aperture=0.12, buffer_px=1), ("object", "pupil")
    return [
        _seen_by_itself("microscope", model, data, names),
        _seen_by_itself("microscope-lamps", model, data, (*names, "led_places", "intensity_scale")),
    ]


# Of the changes from start values.
WIDTHS = {"dark_field": 0.3, "reference_shift": 0.3, "intensity_scale": 0.2, "pupil": 1.0, "led_places": 0.3}


def _seen_by_itself(name: str, model: ForwardModel, data: Dataset, names: Collection[str]) -> ModelCase:
    """What the model itself says of an object and parameters that differ from the start values."""
    settings = {each: model.refinable[each].settings() for each in names}

    def truth(shape: tuple[int, ...], origin: tuple[int, int]) -> dict[str, np.ndarray]:
        rng, values, bound = np.random.default_rng(5), {}, model.bind(data, settings)
        y, x = np.indices(shape[:2])
        exponent = 0.1 * np.sin(0.5 * y + 0.2 * x) ** 2 + 0.8j * np.cos(0.4 * x - 0.3 * y)
        exponent = exponent.reshape(shape)
        transmission = isinstance(bound.space, Transmission)
        for each in names:
            start = exponent if each == "object" else start_value(each, bound, rng)
            change = WIDTHS.get(each, 0.0) * rng.uniform(0.1, 1, start.shape)
            change = change - change.mean(0) if each == "led_places" else change
            values[each] = start * np.exp(1j * change) if each == "pupil" else start + change
        return values | ({"object": np.exp(-exponent)} if transmission else {})

    scales = {"object": 0.05, "reference_shift": 0.02}
    return _as_it_says(ModelCase(name, model, data, settings, truth, scales, 1e-7, rtol=1e-5))


def _once(make: Callable[..., Sequence[ModelCase]]) -> Callable[..., Sequence[ModelCase]]:
    """``make``, whose cases are made when first asked for and then shared: nothing in them is ever changed."""
    return functools.cache(lambda *arguments, **named: tuple(make(*arguments, **named)))


MODELS: dict[str, Callable[..., Sequence[ModelCase]]] = {
    kind: _once(make)
    for kind, make in {
        "fourier_ptychography": microscope_cases,
        "speckle_tracking": speckle_cases,
        "tomography": tomography_cases,
        "cone_tomography": cone_cases,
        "ptychotomography": ptychotomography_cases,
        "ptychography": _thin_cases,
        "multislice": multislice_cases,
        "holography": holography_cases,
        "bragg_cdi": _bragg(BraggCdi()),
        "bragg_ptychography": bragg_scan_cases,
        "rocking_curve": _bragg(RockingCurve()),
        "multi_peak": _bragg(MultiPeak(reflections=REFLECTIONS, lattice=LATTICE_M)),
        "holotomography": holotomography_cases,
    }.items()
}
