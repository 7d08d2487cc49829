"""Small reconstructions of every kind, for comparison between stores and numbers of ranks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from cases import CASES, MODELS
from laws import arrays_of
from tiny_holograms import series
from tiny_scan import Exact, Scan

from adorym.constraints.object import Homogeneous, MagnitudeLimit, NonNegativity, PhaseLimit
from adorym.constraints.probe import OrthogonalModes, ProbePower
from adorym.constraints.support import ShrinkWrap, Support
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.forward.holography import Holography
from adorym.forward.object import ObjectSettings, object_parameter
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.thin import by_probe, probe_intensity
from adorym.forward.tomography import Tomography
from adorym.initializers.simple import Random
from adorym.losses.base import Loss
from adorym.losses.counting import LeastSquares
from adorym.optics.probes import GaussianProbe
from adorym.optics.projector import Fourier, Joseph, Projector, Rotate
from adorym.optimizers.first_order import Adam, GradientDescent, Momentum, RMSProp
from adorym.optimizers.preconditioned import Preconditioned
from adorym.parameters import ParameterSettings
from adorym.preconditioners import Diagonal, Point
from adorym.registry import component
from adorym.regularizers.crosstalk import SliceCrosstalk
from adorym.regularizers.sparsity import L1, L2, ReweightedL1, Smoothness
from adorym.regularizers.variation import TotalVariation
from adorym.solvers.library import Scipy
from adorym.solvers.memory import LBFGS
from adorym.solvers.newton import Curveball, LevenbergMarquardt
from adorym.solvers.preconditioners import Estimated
from adorym.solvers.splitting import ProximalGradient
from adorym.updates.autofocus import Autofocus

DEPTH = 3


@component
class Stack(Ptychography):
    """A volume whose slices all stand in one plane: the transmission is their product."""

    kind: ClassVar[str] = "stack"
    refinable: ClassVar[Mapping[str, Any]] = Ptychography.refinable | {
        "object": object_parameter(optimizer={"kind": "adam", "learning_rate": 0.02})
    }

    def bind(self, dataset: Any, settings: Any) -> Any:
        bound, own = super().bind(dataset, settings), {"object": Diagonal(_by_slices), "probe": Diagonal(_by_probe)}
        return bound.with_(shape=(*bound.shape, DEPTH), preconditioners=own)

    def predict(self, xp: Any, obj: Any, params: Any, batch: Any) -> Any:
        return super().predict(xp, _product(obj), params, batch)


def _product(obj: Any) -> Any:
    thin = obj[..., 0]
    for z in range(1, DEPTH):
        thin = thin * obj[..., z]
    return thin


def _by_slices(point: Point) -> Any:
    return probe_intensity(point)[..., None] * point.xp.ones((DEPTH,))


def _by_probe(point: Point) -> Any:
    return by_probe(point, point.xp.abs2(_product(point.obj)))


def _settings(optimizer: Any, **more: Any) -> dict[str, ParameterSettings]:
    return {
        "object": ObjectSettings(optimizer=optimizer, margin_px=4, initial=Random()),
        "probe": ProbeSettings(initial=GaussianProbe(fwhm="4 px"), modes=2),
        "probe_positions": ParameterSettings(),
    } | more


@functools.cache
def recipes(folder: Path) -> dict[str, tuple[Any, Recipe, dict[str, Any]]]:
    """Data set, recipe and run settings by name."""
    scan = Scan(modes=2, photons=1e5)
    data = scan.noisy()
    shape = Ptychography().bind(data, _settings(None)).shape
    y, x = np.indices(shape)
    np.save(folder / "support.npy", (y - 12) ** 2 + (x - 13) ** 2 < 130)
    limits = (MagnitudeLimit(maximum=1.05, minimum=0.3), Support(mask=str(folder / "support.npy")))
    tv, loss, both = (TotalVariation(weight=2.0),), LeastSquares(), (ProbePower(photons=1e5), OrthogonalModes())
    plain, thin = {"batch_size": 7}, Ptychography()
    curved = Preconditioned(learning_rate=0.5, regularization=0.05, momentum=0.5)
    made = {
        "positions": (data, Recipe(thin, _settings(curved), loss, tv), plain),
        "constraints": (data, Recipe(thin, _settings(Adam(learning_rate=0.02)), loss, tv, limits + both), plain),
        "momentum": (data, Recipe(thin, _settings(Momentum(learning_rate=0.05)), loss), {"batch_order": "compact"}),
        "descent": (data, Recipe(thin, _settings(GradientDescent()), loss), {"batch_size": 3}),
        "volume": (data, Recipe(Stack(), _settings(Adam(learning_rate=0.02)), loss, tv), plain),
    }
    terms = (
        TotalVariation(weight=1.0, isotropic=False),
        L1(weight=0.5),
        L2(weight=0.5),
        ReweightedL1(weight=0.5),
        L2(weight=0.5, parameter="probe"),
        Smoothness(weight=1.0, parameter="probe_positions", order=2),
    )
    across = (TotalVariation(weight=1.0, along_z=True), SliceCrosstalk(weight=2.0))
    optical = ObjectSettings(
        optimizer=RMSProp(learning_rate=0.01), margin_px=4, initial=Random(), representation="delta_beta"
    )
    one_material = (Homogeneous(kappa=5.0), NonNegativity(parts="delta"), PhaseLimit(minimum=-1.0))
    swift = Momentum(learning_rate=0.05, nesterov=True)
    made |= {
        "terms": (data, Recipe(thin, _settings(curved), loss, terms), plain),
        "terms-volume": (data, Recipe(Stack(), _settings(curved), loss, across), plain),
        "optical": (data, Recipe(thin, _settings(None, object=optical), loss, tv, one_material), plain),
        "amsgrad": (data, Recipe(thin, _settings(Adam(learning_rate=0.02, amsgrad=True)), loss), plain),
        "nesterov": (data, Recipe(thin, _settings(swift), loss, tv), plain),
    }
    for case in MODELS["ptychography"]():
        if case.name in ("far_field-2", "fresnel-1", "changing", "upsampled"):
            # In front of vacuum the gradient of the defocus is zero, and Adam would make a step of its rounding error.
            settings = dict(case.settings) | {"object": replace(case.settings["object"], margin_px=4, initial=Random())}
            made[f"all-{case.name}"] = (case.dataset, Recipe(case.model, settings, loss), {"batch_size": 6})
    for kind in ("bragg_cdi", "rocking_curve", "multi_peak"):
        (case,) = MODELS[kind]()
        # Not from what phasing finds: there gradients are rounding errors.
        own = case.model.refinable["object"].settings(initial=Random())
        recipe = Recipe(case.model, dict(case.settings) | {"object": own}, loss)
        made[f"all-{case.name}"] = (case.dataset, recipe, {"batch_size": 7})
    chosen = (
        "multislice-fresnel-2-object_tilts",
        "tomography-moving",
        "ptychotomography-thin-8",
        "ptychotomography-multislice-8",
    )
    chosen += ("holography-maps", "holography-one-material", "holotomography-moving", "tomography-changing")
    chosen += ("holotomography-tiles", "tomography-hard")
    chosen += ("microscope-lamps", "speckle-plain", "cone-detector", "cone-moving", "bragg_ptychography-2")
    kinds = ("multislice", "tomography", "ptychotomography", "holography", "holotomography")
    kinds += ("fourier_ptychography", "speckle_tracking", "cone_tomography", "bragg_ptychography")
    for case in (case for kind in kinds for case in MODELS[kind]() if case.name in chosen):
        own = {"object": replace(case.settings["object"], initial=Random())}
        if case.name.startswith("ptychotomography"):
            # With much momentum few patterns make of a rounding error a thousand times as much in three epochs.
            own |= {name: ParameterSettings(optimizer=curved) for name in ("tilt", "object_shift", "rotation_angles")}
        if "dark_field" in case.settings:  # at its bound gradients are rounding errors, of which Adam makes whole steps
            own["dark_field"] = ParameterSettings(optimizer=GradientDescent(learning_rate=0.02))
        made[f"all-{case.name}"] = (
            case.dataset,
            Recipe(case.model, dict(case.settings) | own, loss),
            {"batch_size": 6},
        )
    return made | _upright(loss) | _holograms(loss)


def _upright(loss: Loss) -> dict[str, tuple[Any, Recipe, dict[str, Any]]]:
    """Refined poses of a volume that starts upright, at an angle of exactly 0, where interpolation has kinks."""
    (case,) = (each for each in MODELS["tomography"]() if each.name == "tomography-moving")
    theta = case.dataset.theta_rad - case.dataset.theta_rad[0]
    curved = Preconditioned(learning_rate=0.5, regularization=0.05, momentum=0.5)
    refined = ParameterSettings(optimizer=curved)
    settings = dict.fromkeys(("tilt", "object_shift", "rotation_angles"), refined)
    settings["object"] = case.model.refinable["object"].settings(initial=Random())
    projectors: list[Projector] = [Joseph(), Rotate()]
    projectors += [Fourier(tolerance=1e-14)] if find_spec("finufft") else []
    return {
        f"upright-{each.kind}": (
            case.dataset.with_(theta_rad=theta),
            Recipe(Tomography(center=0.0, projector=each), settings, loss),
            {"batch_size": 6},
        )
        for each in projectors
    }


def _holograms(loss: Loss) -> dict[str, tuple[Any, Recipe, dict[str, Any]]]:
    """What only holography does: to replace the object by one in focus, and constraints on a phase shift."""
    focused = Holography(buffer_px=4, autofocus=Autofocus(at=(1,), reach=0.05))
    homogeneous = Holography(buffer_px=4, homogeneous=True, kappa=20.0)
    settings = {
        "object": focused.refinable["object"].settings(initial=Random()),
        "common_distance": ParameterSettings(),
    }
    material = settings | {"log10_kappa": homogeneous.refinable["log10_kappa"].settings()}
    tv, limits = (TotalVariation(weight=2.0),), (MagnitudeLimit(maximum=0.999), PhaseLimit(minimum=-0.05))
    data = series(patterns=Exact(100 + 20 * np.random.default_rng(3).normal(size=(20, 12, 14))))
    return {
        "focus": (data, Recipe(focused, settings, loss, tv), {"batch_size": 6}),
        "one-material": (data, Recipe(homogeneous, material, loss, tv, limits), {"batch_size": 6}),
    }


@functools.cache
def whole_recipes() -> dict[str, tuple[Any, Recipe, dict[str, Any]]]:
    """Those that need the whole object: only where each rank has it."""
    data, thin, loss = Scan(modes=2, photons=1e5).noisy(), Ptychography(), LeastSquares()
    terms, wrap = (TotalVariation(weight=1.0),), (ShrinkWrap(start=1, every=1),)
    return {
        "shrink_wrap": (data, Recipe(thin, _settings(Adam(learning_rate=0.02)), loss, (), wrap), {}),
        "scipy": (data, Recipe(thin, _settings(None), loss, terms, solver=Scipy(iterations=3)), {}),
        "proximal_variation": (data, Recipe(thin, _settings(None), loss, terms, solver=ProximalGradient()), {}),
    }


@functools.cache
def solver_recipes() -> dict[str, tuple[Any, Recipe, dict[str, Any]]]:
    """A run with each solver; with terms of the object whose operator acts on single pixels, or that see neighbors."""
    data, thin, loss = Scan(modes=2, photons=1e5).noisy(), Ptychography(), LeastSquares()
    terms = (L1(weight=0.5), TotalVariation(weight=1.0), Smoothness(weight=1.0, parameter="probe_positions"))
    solvers = [case(None) for kind, case in CASES["solver"].items() if kind not in ("curveball", "levenberg_marquardt")]
    solvers += [LBFGS(preconditioner=Estimated(probes=2)), LevenbergMarquardt(iterations=3), Curveball(damping=30.0)]
    names = [f"solver-{each.kind}-{each.preconditioner.kind}" for each in solvers]
    return {
        name: (data, Recipe(thin, _settings(None), loss, terms, solver=solver), {"epochs": 2})
        for name, solver in zip(names, solvers, strict=True)
        if not solver.whole
    }


def reconstruction(name: str, folder: Path, **run: Any) -> Reconstruction:
    """Ready to run."""
    made = solver_recipes() if name.startswith("solver-") else recipes(folder) | whole_recipes()
    data, recipe, settings = made[name]
    base = {"precision": "double", "backend": "torch", "device": "cpu", "threads": 1, "epochs": 3}
    if run.get("store") == "h5":
        run = {"scratch": str(folder), "object_memory": 100e3} | run
    return Reconstruction(data, recipe, RunSettings(**(base | settings | run)))


def solved(name: str, folder: Path, **run: Any) -> dict[str, np.ndarray]:
    """What a run ends with, without the optimizers' states."""
    made = reconstruction(name, folder, **run)
    for _ in made.epochs():
        pass
    found = {key: a for key, a in arrays_of(made).items() if ".state_" not in key}
    made.problem.store.close()
    return found
