"""The plan of a run agrees with what the run does, and everything that is wrong or without effect is named."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from io import StringIO
from typing import Any

import numpy as np
import pytest
from cases import MODELS
from command_line import SCAN, write_config, write_data
from rich.console import Console
from tiny_crystal import LATTICE_M, REFLECTIONS, Peak
from tiny_scan import PIXEL_M, WAVELENGTH_M, Scan

from adorym.api import prepare, reconstruct
from adorym.commands.check import check
from adorym.commands.plan import size_text
from adorym.commands.run import run
from adorym.config import load_config
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.engine.build import build
from adorym.engine.gradients import batch_gradients, chunk_size
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.engine.trial import try_problem
from adorym.errors import ConfigError, ConfigErrors, InputError
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
from adorym.forward.ptychography import Ptychography
from adorym.forward.ptychotomography import PtychoTomography
from adorym.forward.rocking_curve import RockingCurve
from adorym.forward.speckle_tracking import SpeckleTracking
from adorym.forward.tomography import Tomography
from adorym.initializers.simple import Constant
from adorym.losses.counting import LeastSquares
from adorym.optics.bragg_geometry import BraggGeometry
from adorym.parameters import ParameterSettings
from adorym.schema import dump

HOST = {"backend": "autograd"}


def _beam(n: int) -> np.ndarray:
    y, x = (np.arange(n) - n / 2)[:, None], np.arange(n) - n / 2
    return 30 * np.exp(-(y**2 + x**2) / (n / 4) ** 2)[None].astype(np.complex64)


def _counts(shape: tuple[int, int, int]) -> ArrayPatterns:
    return ArrayPatterns(np.random.default_rng(0).poisson(20, shape).astype(np.float32))


def _scan(model: ForwardModel, n: int = 200, window: int = 96, **changes: Any) -> Case:
    """A scan of which a chunk takes some hundred megabytes."""
    positions = np.random.default_rng(1).uniform(0, 60, (n, 2))
    given = {"energy_ev": 8e3, "pixel_size_m": (2e-8, 2e-8), "start_probe": _beam(window)} | changes
    probe = {"probe": model.refinable["probe"].settings(modes=2), "probe_positions": ParameterSettings()}
    data = Dataset(_counts((n, window, window)), positions, **given)
    return (
        model,
        data,
        {name: spec.settings() for name, spec in model.refinable.items() if spec.refined and not spec.optional} | probe,
    )


def _volume(model: ForwardModel, shape: tuple[int, int, int], **changes: Any) -> Case:
    angles = {"theta_rad": np.linspace(0, 3, shape[0], endpoint=False), "angle_index": np.arange(shape[0])}
    data = Dataset(_counts(shape), None, energy_ev=2e4, pixel_size_m=(1e-7, 1e-7), **(angles | changes))
    return model, data, {}


def _pictures(n: int, window: int) -> Case:
    distances = {"propagation_distance_m": np.linspace(0.01, 0.04, n), "open_beam_counts": 20.0}
    return (
        Holography(),
        Dataset(_counts((n, window, window)), None, energy_ev=2e4, pixel_size_m=(1e-7, 1e-7), **distances),
        {},
    )


def _speckle() -> Case:
    counts = _counts((8, 384, 384))
    known = {"energy_ev": 2e4, "pixel_size_m": (1e-6, 1e-6), "propagation_distance_m": np.array([0.1])}
    return SpeckleTracking(), Dataset(counts, None, extra={"references": counts.array}, **known), {}


def _microscope() -> Case:
    lamps = np.random.default_rng(3).uniform(-20, 20, (60, 2))
    known = {"energy_ev": 1.968, "pixel_size_m": (1.6e-6, 1.6e-6), "extra": {"leds_px": lamps}}
    return FourierPtychography(numerical_aperture=0.1), Dataset(_counts((60, 128, 128)), None, **known), {}


def _bragg_scan() -> Case:
    model = BraggPtychography(geometry=BraggGeometry(gamma=0.6), slices=4)
    known = {"pixel_size_m": None, "distance_m": 0.5, "detector_pixel_size_m": (55e-6, 55e-6)}
    return _scan(model, 200, 48, **TURNED | {"theta_rad": 2e-4 * np.arange(10)} | known)


def _crystal(model: ForwardModel) -> Case:
    peak = Peak(kind=model.kind)
    small = peak.dataset()
    big = np.kron(small.patterns.read(np.arange(small.n_patterns)), np.ones((1, 8, 8))).astype(np.float32)
    return model, small.with_(patterns=ArrayPatterns(big)), {"object": CrystalObject(initial=Constant())}


Case = tuple[ForwardModel, Dataset, dict[str, ParameterSettings]]
TURNED = {"theta_rad": np.linspace(0, 3, 10), "angle_index": np.repeat(np.arange(10), 20)}
LARGE: dict[str, Callable[[], Case]] = {
    "ptychography, far field": lambda: _scan(Ptychography()),
    "ptychography, near field": lambda: _scan(
        Ptychography(propagation="fresnel"), propagation_distance_m=np.array([1e-4])
    ),
    "ptychography, automatic": lambda: _scan(Ptychography(fused=False), 60),
    "multislice": lambda: _scan(Multislice(slices=4, spacing=1e-6), 60),
    "ptychotomography": lambda: _scan(PtychoTomography(), 200, 48, **TURNED),
    "tomography": lambda: _volume(Tomography(), (40, 24, 128), open_beam_counts=20.0),
    "cone_tomography": lambda: _volume(
        ConeTomography(),
        (16, 20, 48),
        open_beam_counts=20.0,
        source_distance_m=1e-4,
        distance_m=1e-4,
        detector_pixel_size_m=(2e-7, 2e-7),
    ),
    "holotomography": lambda: _volume(
        HoloTomography(buffer_px=8), (20, 32, 96), propagation_distance_m=np.array([5e-3]), open_beam_counts=20.0
    ),
    "holography": lambda: _pictures(4, 512),
    "speckle_tracking": lambda: _speckle(),
    "fourier_ptychography": lambda: _microscope(),
    "bragg_cdi": lambda: _crystal(BraggCdi()),
    "bragg_ptychography": lambda: _bragg_scan(),
    "rocking_curve": lambda: _crystal(RockingCurve()),
    "multi_peak": lambda: _crystal(MultiPeak(reflections=REFLECTIONS, lattice=LATTICE_M)),
}


@pytest.fixture
def planned(tmp_path):
    """``planned(scan, changes of the data set, **sections)``: the configuration file and its plan."""

    def make(scan=SCAN, changes=None, **sections):
        write_data(tmp_path / "data.h5", scan, **(changes or {}))
        path = write_config(tmp_path, **sections)
        return path, check(path)

    return make


# -- the plan ----------------------------------------------------------------------------------------------------------
def test_data_and_sampling(planned):
    _, plan = planned()
    data, sampling = plan.as_dict()["data"], plan.as_dict()["sampling"]
    counts = SCAN.patterns().sum((1, 2))
    assert data["format"] == "adorym" and data["patterns"] == 20 and data["window_px"] == [12, 14]
    assert data["counts_per_pattern"] == pytest.approx(counts.mean(), rel=1e-6)
    assert data["energy_ev"] == pytest.approx(8000) and data["wavelength_m"] == pytest.approx(WAVELENGTH_M)
    assert data["pixel_size_m"] == pytest.approx(PIXEL_M)
    np.testing.assert_allclose(sampling["field_of_view_px"], np.ptp(SCAN.positions, axis=0))
    distance = np.linalg.norm(SCAN.positions[:, None] - SCAN.positions[None], axis=-1) + 99 * np.eye(20)
    intensity = np.abs(SCAN.probe()[0]) ** 2
    diameter = np.sqrt(4 / np.pi * intensity.sum() ** 2 / (intensity**2).sum())
    assert sampling["step_px"] == pytest.approx(distance.min(1).mean())
    assert sampling["probe_diameter_px"] == pytest.approx(diameter, rel=1e-5)
    assert sampling["linear_overlap"] == pytest.approx(1 - distance.min(1).mean() / diameter, rel=1e-5)
    np.testing.assert_allclose(sampling["oversampling"], np.array([12, 14]) / diameter, rtol=1e-5)


def test_seeded_modes_do_not_widen_the_beam(planned):
    """They are variations of the given one: the overlap is that which `adorym inspect` finds."""
    diameters = [
        planned(parameters={"probe": {"modes": n}})[1].as_dict()["sampling"]["probe_diameter_px"] for n in (1, 4)
    ]
    assert diameters[0] == pytest.approx(diameters[1], rel=1e-9)


def test_counts_leave_masked_pixels_out_and_square_amplitudes(planned):
    mask = np.ones(SCAN.window, bool)
    mask[4:8, 5:9] = False
    expected = (SCAN.patterns() * mask).sum((1, 2)).mean()
    _, plan = planned(changes={"mask": mask})
    assert plan.as_dict()["data"]["counts_per_pattern"] == pytest.approx(expected, rel=1e-5)


def test_near_field_sampling(planned):
    _, plan = planned(Scan(regime="fresnel"), forward_model={"propagation": "fresnel"})
    sampling = plan.as_dict()["sampling"]
    assert sampling["propagation_distance_m"] == pytest.approx(4e-4) and "oversampling" not in sampling
    expected = [n * pixel**2 / WAVELENGTH_M for n, pixel in zip(SCAN.window, PIXEL_M, strict=True)]
    np.testing.assert_allclose(sampling["critical_distance_m"], expected)


def test_what_is_not_known_is_left_out(planned):
    _, plan = planned(changes={"energy_ev": None, "pixel_size_m": None})
    facts = plan.as_dict()
    assert not {"energy_ev", "wavelength_m", "pixel_size_m"} & facts["data"].keys()
    assert not {"depth_of_focus_m", "fresnel_number"} & facts["sampling"].keys()


@pytest.mark.parametrize("refined", [False, True])
def test_object_batches_and_parameters_are_those_of_the_run(planned, refined):
    sections = {"parameters": {"probe_positions": refined, "probe": {"modes": 3, "start": 1, "every": 2}}}
    path, plan = planned(run={"batch_order": "compact", "batch_size": 6}, **sections)
    reconstruction, facts = prepare(load_config(path)), plan.as_dict()
    problem = reconstruction.problem
    assert facts["object"]["shape_px"] == list(problem.store.shape)
    assert facts["object"]["origin_px"] == list(problem.bound.origin_px)
    sizes = [len(part) for part in reconstruction.batches()]
    assert facts["batches"] == {"epochs": 3, "batches": len(sizes), "batch_size": max(sizes)}
    for name, value in problem.values.items():
        assert facts["parameters"][name]["values"] == value.array.numel() * (2 if value.array.is_complex() else 1)
        assert facts["parameters"][name]["refined"] == value.settings.refine
    active = [epoch for epoch in range(3) if "probe" in problem.active(epoch)]
    assert facts["parameters"]["probe"]["epochs"] == len(active) == 1
    assert facts["parameters"]["probe_positions"].get("epochs", 0) == 3 * refined


def test_learning_rates_carry_their_unit(planned):
    adam = {"kind": "adam", "learning_rate": "20 nm"}
    parameters = {
        "object": {"optimizer": {"kind": "adam", "learning_rate": 0.01}},
        "probe": {
            "optimizer": {"kind": "adam", "learning_rate": 0.1},
            "schedule": {"kind": "exponential", "decay": 0.9},
        },
        "probe_positions": {"optimizer": {"kind": "adam", "learning_rate": "0.05 px", "beta1": 0.5}},
        "probe_defocus": {"optimizer": adam},
    }
    _, plan = planned(parameters=parameters)
    found = {each.parameter: each for each in plan.refinements}
    assert (found["object"].learning_rate, found["object"].rate_unit) == (0.01, "")
    assert (found["probe"].learning_rate, found["probe"].rate_unit) == (0.1, "of the largest value")
    assert found["probe"].schedule == "exponential (decay 0.9)"
    assert (found["probe_positions"].learning_rate, found["probe_positions"].rate_unit) == (0.05, "px")
    assert found["probe_positions"].optimizer == "adam (beta1 0.5)"
    assert found["probe_defocus"].learning_rate == pytest.approx(2e-8) and found["probe_defocus"].rate_unit == "m"


# -- every technique ---------------------------------------------------------------------------------------------------
SMALL = {case.name: case for make in MODELS.values() for case in make()}


@pytest.mark.parametrize("name", SMALL)
def test_every_technique_is_planned_as_it_is_run(tmp_path, name):
    case = SMALL[name]
    write_native(
        case.dataset.with_(patterns=ArrayPatterns(case.dataset.patterns.read(np.arange(case.dataset.n_patterns)))),
        tmp_path / "data.h5",
    )
    sections = {
        "forward_model": dump(case.model),
        "parameters": {each: dump(given) for each, given in case.settings.items()},
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"data": {"path": "data.h5"}, "run": {"epochs": 2, **HOST}, **sections}))
    facts, reconstruction = check(path).as_dict(), prepare(load_config(path))
    problem, sizes = reconstruction.problem, [len(part) for part in reconstruction.batches()]
    assert facts["object"]["shape_px"] == list(problem.store.shape)
    assert facts["object"]["origin_px"] == list(problem.bound.origin_px)
    assert facts["batches"] == {"epochs": 2, "batches": len(sizes), "batch_size": max(sizes)}
    assert set(facts["parameters"]) == set(problem.unknowns)
    for each, value in problem.values.items():
        assert facts["parameters"][each]["values"] == value.first.size * (1 + np.iscomplexobj(value.first)), each
        assert facts["parameters"][each]["refined"] == value.settings.refine
    memory = facts["memory_bytes"]
    assert memory["object"] == memory["gradient"] == problem.store.values().nbytes
    assert memory["total"] == sum(size for item, size in memory.items() if item != "total")
    assert {"program and patterns", "a batch", "a step of the object"} <= memory.keys()
    assert 0 < facts["time"]["epoch_s"] == pytest.approx(facts["time"]["run_s"] / 2)


@pytest.mark.parametrize("name", LARGE)
def test_memory_of_a_batch_is_what_was_measured_on_smaller_ones(name):
    """Within a factor: memory that is returned to the system and taken again is counted by chance."""
    model, dataset, settings = LARGE[name]()
    recipe, run = Recipe(model, settings, LeastSquares()), RunSettings(**HOST)
    dry = build(dataset, recipe, run, np.random.default_rng(0), dry=True)
    trial = try_problem(dry)
    problem = build(dataset, recipe, run, np.random.default_rng(0))
    chunk = np.arange(min(chunk_size(problem), dataset.n_patterns))
    assert len(chunk) == trial.chunk
    names = frozenset(problem.active(0))
    tracemalloc.start()
    batch_gradients(problem, chunk, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 2.5 < trial.batch.n_bytes(len(chunk)) < 2.5 * peak


@pytest.mark.parametrize(("kind", "arrays"), [("gradient_descent", 0), ("momentum", 1), ("adam", 2)])
def test_memory_counts_the_optimizer_state(planned, kind, arrays):
    precision = {"run": {"precision": "double"}, "regularizers": [{"kind": "total_variation", "weight": 1e-4}]}
    _, plan = planned(parameters={"object": {"optimizer": kind}, "probe": False}, **precision)
    memory = plan.as_dict()["memory_bytes"]
    assert memory["object"] == 16 * np.prod(plan.as_dict()["object"]["shape_px"]) == memory["gradient"]
    counters = 8 * plan.as_dict()["object"]["shape_px"][0] if kind == "adam" else 0  # steps of each row
    assert memory.get("optimizer state", 0) == arrays * memory["object"] + counters
    assert "curvature" not in memory and memory["a step of the object"] > memory["object"]


def test_everything_is_shown(planned):
    sections = {
        "constraints": [{"kind": "magnitude_limit"}],
        "regularizers": [{"kind": "total_variation", "weight": 0.5}],
    }
    _, plan = planned(parameters={"probe_positions": {"start": 1, "stop": 2}}, **sections)
    console = Console(width=200, record=True, file=StringIO())
    console.print(plan.render())
    shown = console.export_text()
    for facts in plan.sections.values():
        assert all(fact.text in shown for fact in facts)
    for words in (
        "epoch 1 to epoch 2",
        "magnitude_limit (maximum 1.0",
        "total_variation (parameter object, weight 0.5",
        "total",
    ):
        assert words in shown
    narrow = Console(width=50, record=True, file=StringIO())
    narrow.print(plan.render())
    assert "…" not in narrow.export_text()
    assert json.loads(json.dumps(plan.as_dict())) == plan.as_dict()


def test_sizes_in_words():
    assert [size_text(n) for n in (17, 2048, 3 << 20, 5.5 * 2**30, 2**42)] == [
        "17 B",
        "2 KiB",
        "3 MiB",
        "5.5 GiB",
        "4 TiB",
    ]


# -- what is wrong -----------------------------------------------------------------------------------------------------
ADAM = {"kind": "adam", "learning_rate": 0.1}
ERRORS = {
    "start after the end": (
        {"parameters": {"probe_positions": {"start": 3}}},
        r"parameters\.probe_positions\.start: the refinement starts after the last epoch; expected < 3, .*; found 3; "
        r"start earlier, or raise 'run\.epochs' \(line \d+\)",
    ),
    **{
        f"{key} of a fixed parameter": (
            {"parameters": {"probe": {"refine": False, key: value}}},
            rf"parameters\.probe\.{key}: has no effect: the parameter is not refined; leave it out, or refine",
        )
        for key, value in {"optimizer": ADAM, "schedule": "constant", "start": 1, "stop": 2, "every": 2}.items()
    },
    "order by angle": (
        {"run": {"batch_order": "angle"}},
        r"run\.batch_order: 'angle' has no effect: the data hold one angle; choose 'random' or 'compact'",
    ),
    "unit of a learning rate": (
        {"parameters": {"probe_positions": {"optimizer": {"kind": "adam", "learning_rate": "3 nm"}}}},
        r"parameters\.probe_positions\.optimizer\.learning_rate: wrong unit: expected a quantity in px, found '3 nm'",
    ),
    "learning rate of nothing": (
        {"parameters": {"probe_positions": {"optimizer": {"kind": "adam", "learning_rate": "0 px"}}}},
        r"probe_positions\.optimizer\.learning_rate: a learning rate must be positive; .*write 'refine: false'",
    ),
    "constraint of a fixed parameter": (
        {"parameters": {"probe": False}, "constraints": [{"kind": "probe_power", "photons": 10}]},
        r"constraints\[0\]: 'probe_power' acts on the probe, which is not refined: it has no effect",
    ),
    "regularizer of a fixed object": (
        {"parameters": {"object": False}, "regularizers": [{"kind": "total_variation", "weight": 1}]},
        r"regularizers\[0\]: 'total_variation' acts on the object, which is not refined: it has no effect",
    ),
    "nothing refined": (
        {"parameters": {"object": False, "probe": False}},
        r"parameters: nothing is refined; set 'refine: true' for the object at least",
    ),
    "no effect in the far field": (
        {"parameters": {"propagation_distance": True}},
        r"parameters\.propagation_distance: has no effect in the far field; leave it out, or choose",
    ),
    "first probe of another size": (
        {"parameters": {"probe": {"initial": {"kind": "file", "path": "probe.npy"}}}},
        r"parameters\.probe\.initial.*",
    ),
    "first object of another size": (
        {"parameters": {"object": {"initial": {"kind": "file", "path": "probe.npy"}}}},
        r"parameters\.object\.initial\.path: the object has the wrong shape; expected \(.*; found \(5, 6\)",
    ),
    "backend": ({"run": {"backend": "torhc"}}, r"run\.backend: no backend named 'torhc'; did you mean 'torch'\?"),
    "device": (
        {"run": {"backend": "autograd", "device": "cuda"}},
        r"run\.device: autograd computes on the CPU only; found cuda; use backend 'torch'",
    ),
}


def test_what_a_solver_leaves_idle_is_refused(tmp_path):
    write_data(tmp_path / "data.h5")
    run_settings = {"epochs": 3, "batch_size": 7, "batch_order": "compact", "backoff": 1.0}
    parameters = {"probe": {"optimizer": "adam"}, "object": {"schedule": "cosine"}}
    sections = {"data": str(tmp_path / "data.h5"), "forward_model": "ptychography"}
    config = {**sections, "solver": "lbfgs", "parameters": parameters, "run": run_settings}
    with pytest.raises(ConfigErrors) as found:
        prepare(config)
    what = "has no effect: solver 'lbfgs' updates all parameters together, on all patterns at once"
    assert {(error.where, error.what) for error in found.value.errors} == {
        (where, what)
        for where in (
            "parameters.probe.optimizer",
            "parameters.object.schedule",
            "run.batch_size",
            "run.batch_order",
            "run.backoff",
        )
    }


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_found_by_check_and_by_run(tmp_path, monkeypatch, case):
    sections, words = ERRORS[case]
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.h5")
    np.save("probe.npy", np.ones((5, 6), complex))
    path = write_config(tmp_path, **sections)
    for way in (check, run):
        with pytest.raises(InputError, match=words) as found:
            way(path)
        assert not isinstance(found.value, ConfigErrors) and "(line " in found.value.message()
    assert not (tmp_path / "out").exists()


def test_compact_batches_need_positions(tmp_path):
    write_data(tmp_path / "data.h5", probe_positions_px=None)
    with pytest.raises(
        ConfigErrors, match=r"run\.batch_order: 'compact' has no effect: the data hold no positions"
    ) as it:
        check(write_config(tmp_path, run={"batch_order": "compact"}))
    assert len(it.value.errors) == 2 and "hold no probe positions" in it.value.errors[1].what


def test_mask_of_a_support_must_fit_the_object(tmp_path):
    write_data(tmp_path / "data.h5")
    np.save(tmp_path / "mask.npy", np.ones((4, 4)))
    path = write_config(tmp_path, constraints=[{"kind": "support", "mask": str(tmp_path / "mask.npy")}])
    with pytest.raises(ConfigError, match=r"does not fit the object; expected \(\d+, \d+\); found \(4, 4\)"):
        check(path)


def test_all_errors_come_at_once_schema_first(tmp_path):
    sections = {
        "data": {"path": "nowhere.h5"},
        "parameters": {"probe": {"refine": False, "start": 1, "stop": 2}, "probe_positions": {"start": 8}},
        "run": {"backend": "torhc"},
    }
    with pytest.raises(ConfigErrors) as found:
        check(write_config(tmp_path, **sections))
    where = [error.where for error in found.value.errors]
    assert where[0].endswith("nowhere.h5")
    assert where[1:] == [
        "parameters.probe.start",
        "parameters.probe.stop",
        "parameters.probe_positions.start",
        "run.backend",
    ]
    sections["run"] = {"epochs": -1, "batch_sise": 3}
    with pytest.raises(ConfigErrors) as found:
        check(write_config(tmp_path, **sections))
    where = [error.where for error in found.value.errors]
    assert where[:2] == ["run.epochs", "run.batch_sise"] and where[2].endswith("nowhere.h5") and len(where) == 3


def test_lines_are_named_and_assignments_too(tmp_path):
    write_data(tmp_path / "data.h5")
    path = tmp_path / "config.yaml"
    path.write_text("data: data.h5\nforward_model: ptychography\nparameters:\n  probe:\n    start: 200\n")
    with pytest.raises(ConfigError, match=r"parameters\.probe\.start: .* \(line 5\)"):
        check(path)
    with pytest.raises(ConfigError, match=r"run\.batch_order: .* \(--set\)"):
        check(path, ["parameters.probe.start=2", "run.batch_order=angle"])


def test_no_epochs_is_no_error(planned):
    _, plan = planned(run={"epochs": 0}, parameters={"probe_positions": {"start": 4}})
    assert plan.warnings == () and plan.as_dict()["time"]["run_s"] == 0 < plan.as_dict()["time"]["epoch_s"]


# -- what has no effect ------------------------------------------------------------------------------------------------
WARNINGS = {
    "stop": ({"parameters": {"probe": {"stop": 3}}}, "parameters.probe.stop: has no effect: the run has 3 epochs"),
    "every": (
        {"parameters": {"probe": {"every": 9}}},
        "parameters.probe.every: is refined only once, in epoch 0 (counted from 0)",
    ),
    "schedule": (
        {"parameters": {"probe": {"schedule": {"kind": "steps", "at": [5]}}}},
        "parameters.probe.schedule: 'steps' does not change the learning rate in this run",
    ),
    "modes": (
        {"parameters": {"probe": {"modes": 1}}},
        "parameters.probe.modes: 1 of the 2 modes of the start probe in the data are used",
    ),
    "batch size": (
        {"run": {"batch_size": 21}},
        "run.batch_size: 21, but the data hold only 20 patterns, which form one batch",
    ),
    "batch order": (
        {"run": {"batch_order": "compact", "batch_size": 20}},
        "run.batch_order: 'compact' has no effect: all patterns are in one batch",
    ),
    "plateau": ({"run": {"plateau": {"patience": 3}}}, "run.plateau: has no effect: its patience is not exceeded"),
    "snapshots": ({"output": {"snapshots_every": 4}}, "output.snapshots_every: no picture is taken in 3 epochs"),
    "mask": ({"data": {"invert_mask": True}}, "data.invert_mask: has no effect: there is no mask"),
    "angles": (
        {"data": {"theta": ["1 deg"], "theta_range": ["0 deg", "1 deg"]}},
        "data.theta_range: has no effect beside 'data.theta'",
    ),
    "map": (
        {"data": {"format": "adorym", "map": ["patterns=exchange/data", "positions=metadata/probe_pos_px"]}},
        "data.format: has no effect beside 'data.map'",
    ),
    "source": ({"data": {"source_distance": "1 m"}}, "data.source_distance: has no effect in the far field"),
    "constraint": (
        {"constraints": [{"kind": "orthogonal_modes"}], "parameters": {"probe": {"modes": 1}}},
        "constraints[0]: 'orthogonal_modes' has no effect here",
    ),
    "overlap": ({"data": {"frames": "::7"}}, "overlap: neighbors share "),
}
WELL_CHOSEN = {"parameters": {"probe": {"modes": 2}}}


@pytest.mark.parametrize("case", WARNINGS)
def test_options_without_effect_are_warned_about(planned, case):
    sections, words = WARNINGS[case]
    _, plan = planned(Scan(modes=2), **(WELL_CHOSEN | sections))
    assert any(warning.startswith(words) for warning in plan.warnings), plan.warnings
    assert plan.warnings == tuple(plan.as_dict()["warnings"])


def test_runs_from_python_warn_as_well(tmp_path, caplog):
    write_data(tmp_path / "data.h5")
    reconstruct(write_config(tmp_path, parameters={"object": {"stop": 5}}))
    assert caplog.messages == ["parameters.object.stop: has no effect: the run has 3 epochs"]


def test_nothing_is_warned_about_without_reason(planned):
    parameters = {"probe": {"modes": 2, "every": 2}, "object": {"stop": 2, "schedule": {"kind": "steps", "at": [1]}}}
    sections = {"run": {"batch_size": 10, "batch_order": "compact", "plateau": {"patience": 2}}}
    constraints = [{"kind": "orthogonal_modes"}, {"kind": "magnitude_limit", "maximum": 5}]
    _, plan = planned(Scan(modes=2), parameters=parameters, constraints=constraints, **sections)
    assert plan.warnings == ()


def test_seeding_of_no_mode_is_warned_about(planned):
    words = "parameters.probe.seeding: has no effect: no modes are added"
    for modes, warned in ((2, True), (3, False)):
        _, plan = planned(Scan(modes=2), parameters={"probe": {"modes": modes, "seeding": "random"}})
        assert (words in plan.warnings) == warned


def test_overlap_of_a_focus_is_only_a_lower_bound(planned):
    parameters = {"probe": {"initial": {"kind": "mean_pattern"}}}
    _, plan = planned(changes={"start_probe": None}, parameters=parameters)
    texts = {fact.key: fact.text for fact in plan.sections["sampling"]}
    assert "at least" in texts["linear_overlap"] and "the smallest" in texts["probe_diameter_px"]
    assert not any("overlap" in warning for warning in plan.warnings)


def test_missing_gpu_is_no_error_of_the_configuration(planned, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    _, plan = planned(run={"device": "cuda:1"})
    assert (
        "run.device: no such device; expected auto, cpu or cuda; found no CUDA device on this machine"
        in plan.warnings[0]
    )
