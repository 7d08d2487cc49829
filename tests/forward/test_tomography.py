"""Tomography from raw counts: a beamline's file, the axis, the classical methods, rings, and wrong input."""

from __future__ import annotations

import logging

import h5py
import numpy as np
import pytest

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.constraints.object import NonNegativity
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.open import open_dataset
from adorym.engine.gradients import batch_gradients
from adorym.engine.loop import Reconstruction
from adorym.engine.outcome import outcome, predict_patterns
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError, DataError, InputError
from adorym.forward.tomography import Tomography
from adorym.forward.volume import VolumeSettings
from adorym.initializers.tomographic import FilteredBackProjection, PhaseFilter
from adorym.losses.counting import LeastSquares
from adorym.simulate.foam import FoamTomography

SETTINGS = {"object": VolumeSettings()}
SIZE = {"size_px": [8, 48], "angles": 40, "bubbles": 10, "bubble_sizes": [0.4, 0.15]}


@pytest.fixture(scope="module")
def foam(tmp_path_factory):
    path = tmp_path_factory.mktemp("foam") / "foam.h5"
    simulate("tomography_foam", path, SIZE | {"center": "3.3 px", "counts": 2000}, seed=1)
    return path


def run(path, folder, epochs=12, batch=20, **sections):
    config = {"data": str(path), "forward_model": "tomography", "run": {"epochs": epochs, "batch_size": batch}}
    adorym.reconstruct(config | {"output": {"progress": "quiet", "report": False}} | sections, output=folder)
    return score(folder, path)


def test_the_file_is_a_beamlines(foam):
    """Raw counts with flat and dark fields; what is read is corrected, and the level of the beam is known."""
    with h5py.File(foam) as file:
        assert {"data", "data_white", "data_dark"} <= set(file["exchange"])
        assert file["exchange/data"][()].max() > 1500
    dataset = open_dataset(foam)
    assert dataset.open_beam_counts == pytest.approx(1700, rel=0.1)
    outside = dataset.patterns.read(np.arange(40))[:, :, :3]
    assert outside.mean() == pytest.approx(dataset.open_beam_counts, rel=0.02)


def test_dxchange_layout_with_degrees(foam, tmp_path):
    with h5py.File(foam) as old, h5py.File(tmp_path / "dx.h5", "w") as new:
        new["exchange/data"] = old["exchange/data"][:, 0]
        new["exchange/data_white"] = np.repeat(old["exchange/data_white"][()], 3, axis=0)
        new["exchange/data_dark"] = old["exchange/data_dark"][()]
        new["exchange/theta"] = np.rad2deg(old["metadata/theta"][()])
    dataset = open_dataset(tmp_path / "dx.h5")
    np.testing.assert_allclose(dataset.theta_rad, open_dataset(foam).theta_rad)
    assert Tomography().bind(dataset, SETTINGS).dataset.rotation_center_px == pytest.approx(3.3, abs=0.25)


def test_counts_give_a_better_volume_than_the_classical_methods(foam, tmp_path):
    terms = {
        "regularizers": [{"kind": "total_variation", "weight": 0.003, "along_z": True}],
        "constraints": [{"kind": "non_negativity"}],
    }
    found = run(foam, tmp_path / "own", 24, 10, **terms)
    assert found["rotation_center_error_px"] < 0.25
    for kind in ("filtered_back_projection", "sirt", "cgls"):
        other = run(foam, tmp_path / kind, epochs=0, parameters={"object": {"initial": kind}})
        assert found["attenuation_nrmse"] < 0.8 * other["attenuation_nrmse"], kind
    result = adorym.read_result(tmp_path / "own")
    assert result.representation == "attenuation" and result.voxel_size_m == (1e-6,) * 3


def test_axis_is_refined(foam, tmp_path):
    """From a pixel off to less than half of it; what the volume can take up of a wrong axis, it takes up slowly."""
    parameters = {"rotation_center": {"optimizer": {"kind": "adam", "learning_rate": "0.2 px", "beta2": 0.99}}}
    settings = {"run": {"epochs": 20, "batch_size": 10}, "constraints": [{"kind": "non_negativity"}]}
    model = {"kind": "tomography", "center": 2.3}
    assert run(foam, tmp_path, forward_model=model, parameters=parameters, **settings)["rotation_center_error_px"] < 0.5


def test_refined_gains_take_rings_out(tmp_path):
    simulate("tomography_foam", tmp_path / "rings.h5", SIZE | {"gain_spread": 0.05, "counts": 1e5}, seed=2)
    with_rings = run(tmp_path / "rings.h5", tmp_path / "with", 15)
    without = run(tmp_path / "rings.h5", tmp_path / "without", 15, parameters={"pixel_gain": {"start": 3}})
    assert without["attenuation_nrmse"] < 0.85 * with_rings["attenuation_nrmse"]


def test_border_of_the_search_warns(foam, caplog):
    """Noise moves the center of mass by more than so short a search."""
    with caplog.at_level(logging.WARNING, logger="adorym"):
        Tomography(search=0.05).bind(open_dataset(foam), SETTINGS)
    assert any("is at the limit of the search range" in r.message for r in caplog.records)


# -- geometries beside the full half turn ------------------------------------------------------------------------------
def _seen_by_itself(model: Tomography, theta: np.ndarray, truth: np.ndarray) -> Reconstruction:
    """A problem whose counts are what the model says of ``truth`` ``(y, x, z)``, exactly."""
    data = Dataset(
        ArrayPatterns(np.ones((len(theta), *truth.shape[:2]))),
        theta_rad=theta,
        angle_index=np.arange(len(theta)),
        open_beam_counts=1e4,
    )

    def ready(data: Dataset) -> Reconstruction:
        recipe = Recipe(model, {}, LeastSquares(), constraints=(NonNegativity(),))
        settings = RunSettings(epochs=60, batch_size=len(theta), precision="double", device="cpu", threads=1)
        return Reconstruction(data, recipe, settings)

    first = ready(data).problem
    first.store.restore(truth.astype(complex), first.store.state())
    counts = first.xp.to_numpy(predict_patterns(first, np.arange(len(theta))))
    return ready(data.with_(patterns=ArrayPatterns(counts)))


def _two_balls(shape: tuple[int, int, int]) -> np.ndarray:
    """Elongated neither along nor across the beam."""
    y, x, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return 0.02 * np.exp(-((x - 2) ** 2 + (z + 1) ** 2 + y**2) / 6) + 0.01 * np.exp(-((x + 3) ** 2 + y**2 + z**2) / 4)


@pytest.mark.parametrize(
    ("span", "axis_tilt", "least"),
    [(180, 0.0, 0.99), (120, 0.0, 0.9), (360, 30.0, 0.9)],
    ids=["half-turn", "missing-wedge", "laminography"],
)
def test_exact_counts_give_the_volume_back(span, axis_tilt, least):
    """All frequencies that are measured come back; a missing wedge or cone takes some correlation, and no more."""
    theta = np.deg2rad(np.linspace(-span / 2, span / 2, 24, endpoint=False))
    truth = _two_balls((10, 14, 14))
    made = _seen_by_itself(Tomography(center="middle", axis_tilt=(np.deg2rad(axis_tilt), 0.0)), theta, truth)
    before = batch_gradients(made.problem, np.arange(24), frozenset({"object"}))[0]
    losses = [record.loss for record in made.epochs()]
    found = outcome(made, "").object
    correlation = np.corrcoef(found.ravel(), truth.ravel())[0, 1]
    assert losses[-1] < 5e-3 * before
    assert correlation > least, correlation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open_beam_counts": None}, r"the counts without sample are not known.*forward_model.incident"),
        ({"theta_rad": np.zeros(1), "angle_index": np.zeros(4, int)}, r"several rotation angles.*data.theta"),
    ],
)
def test_what_tomography_needs(changes, message):
    fields = {"theta_rad": np.linspace(0, 3, 4), "angle_index": np.arange(4), "open_beam_counts": 10.0} | changes
    dataset = Dataset(ArrayPatterns(np.ones((4, 5, 6), np.float32)), **fields)
    with pytest.raises(DataError, match=message):
        Tomography().bind(dataset, SETTINGS)


def test_paganin_undoes_the_fringes_of_its_own_model():
    """The filter inverts the transport of intensity of one material."""
    dataset = FoamTomography(size_px=(16, 32), angles=4, bubbles=3, counts=1e6).run(3)
    integrals = np.random.default_rng(0).uniform(0, 0.1, (4, 16, 32))
    dataset = dataset.with_(propagation_distance_m=np.array([0.02]))
    smooth = PhaseFilter(kappa=100.0).filtered(integrals, dataset)
    assert smooth.std() < 0.5 * integrals.std()
    assert smooth.mean() == pytest.approx(integrals.mean(), rel=0.02)
    with pytest.raises(ConfigError, match=r"initial.paganin: the distance of the detector is not known"):
        PhaseFilter(kappa=100.0).filtered(integrals, dataset.with_(propagation_distance_m=None))
    elsewhere = dataset.with_(propagation_distance_m=np.array([0.5]))
    assert np.array_equal(PhaseFilter(kappa=100.0, distance=0.02).filtered(integrals, elsewhere), smooth)


def test_initializer_needs_a_volume():
    dataset = FoamTomography(size_px=(8, 16), angles=4, bubbles=1).run(4)
    with pytest.raises(InputError, match=r"'filtered_back_projection' makes volumes from full-field projections"):
        FilteredBackProjection().make(dataset, (8, 16), np.random.default_rng(0))


def test_shifts_along_the_axis_find_rows_beyond_the_detector(tmp_path):
    """A moved object shows rows that a volume as high as the detector does not have."""
    data = SIZE | {"size_px": [12, 32], "angles": 24, "counts": 1e5, "shift_error": "1 px"}
    simulate("tomography_foam", tmp_path / "data.h5", data, seed=3)
    run(
        tmp_path / "data.h5", tmp_path, epochs=20, batch=12, parameters={"object_shift": {"start": 2}},
        constraints=[{"kind": "non_negativity"}],
    )  # fmt: skip
    found = adorym.read_result(tmp_path / "result.h5")
    assert found.object.shape[0] > 12
    assert score(tmp_path, tmp_path / "data.h5")["shift_rms_px"] < 0.25


# -- as they are measured ----------------------------------------------------------------------------------------------
def _written(path, counts, theta_deg, beam=2e4):
    with h5py.File(path, "w") as file:
        file["exchange/data"], file["exchange/theta"] = counts, theta_deg
        file["exchange/data_white"] = np.full((3, *counts.shape[1:]), beam)


def _chords(theta, width, center, radius, away=0.4):
    """Line integrals ``(a, 2, x)`` of a disc beside the axis in a larger one."""
    at = np.arange(width) - (width - 1) / 2 - center
    small = at - away * radius * np.cos(theta)[:, None]
    total = np.sqrt(np.maximum(radius**2 - at**2, 0)) + np.sqrt(np.maximum((0.3 * radius) ** 2 - small**2, 0))
    return np.repeat((0.04 * total)[:, None], 2, axis=1)


def test_half_acquisition_is_refined_on_a_wide_volume(tmp_path):
    theta = np.linspace(0, 360, 90, endpoint=False)
    counts = np.random.default_rng(0).poisson(2e4 * np.exp(-_chords(np.deg2rad(theta), 40, 12.3, 30.0)))
    _written(tmp_path / "data.h5", counts.astype(float), theta)
    config = {
        "data": str(tmp_path / "data.h5"),
        "forward_model": "tomography",
        "run": {"epochs": 12, "batch_size": 30},
        "constraints": [{"kind": "non_negativity"}],
        "output": {"progress": "quiet", "report": False},
    }
    result = adorym.reconstruct(config, output=tmp_path)
    assert result.object.shape == (2, 64, 64) and result.origin_px == (0, 12)
    x, z = np.meshgrid(np.arange(64) - 31.5, np.arange(64) - 31.5, indexing="ij")
    true = 0.02 * ((np.hypot(x, z) < 30).astype(float) + (np.hypot(x - 12, z) < 9))
    assert np.linalg.norm(result.object[0] - true) < 0.25 * np.linalg.norm(true)
    log = (tmp_path / "log.txt").read_text()
    assert "rotation axis: 12." in log and "half acquisition: the two halves of the turn" in log


def test_scales_of_any_size_are_refined_at_the_default_rate(tmp_path):
    """The sample reaches an edge at some angles, so that there is no air to go by."""
    theta, scale = np.linspace(0, 180, 60, endpoint=False), np.linspace(1.2, 0.8, 60)
    exact = 2e4 * np.exp(-_chords(np.deg2rad(theta), 40, 0.0, 18.0, away=0.85))
    _written(tmp_path / "data.h5", scale[:, None, None] * exact, theta)
    config = {
        "data": str(tmp_path / "data.h5"),
        "forward_model": {"kind": "tomography", "center": "middle"},
        "parameters": {"intensity_scale": {}},
        "run": {"epochs": 15, "batch_size": 12},
        "constraints": [{"kind": "non_negativity"}],
        "output": {"progress": "quiet", "report": False},
    }
    found = adorym.reconstruct(config, output=tmp_path).parameters["intensity_scale"].value[:, 0]
    np.testing.assert_allclose(found / found.mean(), scale, atol=0.03)


def test_a_dead_column_leaves_no_hole(tmp_path):
    theta = np.linspace(0, 180, 60, endpoint=False)
    counts = 2e4 * np.exp(-_chords(np.deg2rad(theta), 40, 0.0, 15.0))
    volumes = []
    for dead in (None, 25):
        _written(tmp_path / "data.h5", counts, theta)
        if dead is not None:
            with h5py.File(tmp_path / "data.h5", "a") as file:
                file["exchange/data"][..., dead] = file["exchange/data_white"][..., dead] = 0
        dataset = Tomography(center="middle").bind(open_dataset(tmp_path / "data.h5"), SETTINGS).dataset
        made = FilteredBackProjection().make(dataset, (2, 40, 40), np.random.default_rng(0))
        volumes.append(-np.log(np.abs(made)))
    assert np.linalg.norm(volumes[1] - volumes[0]) < 0.1 * np.linalg.norm(volumes[0])
