"""Scoring a result against the truth."""

import io
import json
import re

import h5py
import numpy as np
import pytest
from rich.console import Console

from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.result import ParameterResult, Result, write_result
from adorym.errors import DataError

SETTINGS = {
    "window_px": [32, 24],
    "object_px": [88, 76],
    "illumination": {"kind": "focused_beam", "aperture": 5, "mode_powers": [7, 3]},
    "scan": {"pattern": "jittered", "step": "7 px", "position_error": "1.5 px"},
    "phantom": {"kind": "pictures"},
}
ORIGIN = (5, 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "data.h5"
    return path, simulate("ptychography", path, SETTINGS, seed=1)


def result_of(truth: dict, **changes: object) -> Result:
    """The truth as a reconstruction would hold it: in a larger frame, scaled, tilted, its probe modes mixed."""
    y, x = np.mgrid[:88, :76]
    obj = np.pad(truth["object"] * 0.4 * np.exp(1j * (1 + 0.01 * y - 0.02 * x)), ((5, 4), (3, 6)), constant_values=300)
    mixture = np.array([[0.6, 0.8j], [0.8j, 0.6]])
    parts = {
        "object": obj[..., None],
        "origin_px": ORIGIN,
        "pixel_size_m": (12e-9, 13e-9),
        "probe": np.tensordot(mixture, truth["probe"], 1),
        "parameters": {"probe_positions": ParameterResult(truth["probe_positions_px"] * [1.01, 0.99] + 4, "px")},
    }
    return Result(**{**parts, **changes})


def scored(data, tmp_path, **changes):
    path, dataset = data
    write_result(result_of(dataset.truth, **changes), tmp_path / "result.h5")
    return score(tmp_path / "result.h5", path)


def test_truth_scores_perfectly(data, tmp_path):
    found = scored(data, tmp_path)
    assert found["object_nrmse"] < 1e-3
    assert found["phase_rms_rad"] < 1e-3
    assert found["phase_mae_rad"] < 1e-3 and found["frc_auc"] > 0.999
    assert found["amplitude_ssim"] > 0.999
    assert found["phase_ssim"] > 0.999
    assert found["resolution_m"] == pytest.approx(13e-9)
    assert found["probe_fidelity"] == pytest.approx(1, abs=1e-4)
    assert [found["probe_mode_1_power"], found["probe_mode_2_power"]] == pytest.approx([0.7, 0.3], abs=3e-3)


def test_position_error_and_its_affine_part(data, tmp_path):
    found = scored(data, tmp_path)
    spread = data[1].truth["probe_positions_px"].std(0) * 0.01
    assert found["position_rms_px"] == pytest.approx(np.hypot(*spread), rel=1e-3)
    assert found["position_rms_affine_px"] < 1e-6
    assert found["position_scale_y"] == pytest.approx(1.01)
    assert found["position_scale_x"] == pytest.approx(0.99)
    assert found["position_rotation_rad"] == pytest.approx(0, abs=1e-9)
    notes = {figure.name: figure.note for figure in found.figures}
    assert "1.500 as recorded" in notes["position error"]
    assert "-1.00 %" in notes["position scale in x"]


def test_origin_finds_the_frame_of_the_truth(data, tmp_path):
    """The wrong origin is a shift, which alignment removes; but the parts compared are others, so it is not lost."""
    path, dataset = data
    moved = result_of(dataset.truth, origin_px=(ORIGIN[0] + 2, ORIGIN[1]))
    write_result(moved, tmp_path / "result.h5")
    note = score(tmp_path / "result.h5", path).figures[0].note
    assert "shift of (-2.0" in note
    assert "shift of (0.00, 0.00)" in scored(data, tmp_path).figures[0].note.replace("-0.00", "0.00")


def test_unrefined_positions_are_called_so(data, tmp_path):
    found = scored(data, tmp_path, parameters={})
    assert found["position_rms_px"] == pytest.approx(1.5)
    assert "position error, not refined" in [figure.name for figure in found.figures]


def test_blurred_object_scores_worse(data, tmp_path):
    obj = result_of(data[1].truth).object[..., 0]
    blurred = sum(np.roll(obj, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)) / 25
    found = scored(data, tmp_path, object=blurred[..., None])
    assert found["object_nrmse"] > 0.03
    assert found["phase_ssim"] < 0.9


def test_several_slices_are_projected(data, tmp_path):
    obj = result_of(data[1].truth).object
    halves = np.concatenate([np.sqrt(obj), np.sqrt(obj)], axis=2)
    assert scored(data, tmp_path, object=halves)["object_nrmse"] < 2e-3


def test_refractive_index_is_turned_into_a_transmission(data, tmp_path):
    _, dataset = data
    k_dz = 2 * np.pi / (1.239841984332e-6 / dataset.energy_ev) * 2e-6
    exponent = -np.log(dataset.truth["object"]) / k_dz
    index = np.stack([exponent.imag, exponent.real], -1)[:, :, None]
    settings = {"representation": "delta_beta", "pixel_size_m": (12e-9, 13e-9, 2e-6), "origin_px": (0, 0)}
    assert scored(data, tmp_path, object=index, **settings)["object_nrmse"] < 1e-3


def test_figures_are_plain_data_for_json(data, tmp_path):
    fit = {"measured": np.full((3, 4), 9.0), "predicted": np.full((3, 4), 4.0)}
    parameters = {"probe_positions": ParameterResult(np.zeros((2, 2)), "px")}
    found = scored(data, tmp_path, fit=fit, parameters=parameters).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["r_factor"] == pytest.approx(1 / 3)
    assert found["position_rms_px"] is None
    assert found["region_px"] == [[s.start, s.stop] for s in scored(data, tmp_path).region]


def test_table_shows_every_number_with_its_unit(data, tmp_path):
    parameters = {"probe_positions": ParameterResult(np.zeros((2, 2)), "px")}
    console = Console(width=160, file=io.StringIO())
    console.print(scored(data, tmp_path, parameters=parameters).render())
    text = console.file.getvalue()
    assert re.search(r"resolution \(FRC\) +13 nm +limited by the pixel", text)
    assert re.search(r"position error +unknown +2 positions in the result", text)


def test_what_cannot_be_compared_is_said(data, tmp_path):
    parameters = {"probe_positions": ParameterResult(np.zeros((2, 2)), "px")}
    found = scored(data, tmp_path, parameters=parameters, probe=np.ones((1, 8, 8)))
    notes = {figure.name: figure.note for figure in found.figures}
    assert notes["position error"] == f"2 positions in the result, {data[1].n_patterns} in the truth"
    assert "windows differ: (8, 8) in the result, (32, 24)" in notes["probe fidelity, strongest mode"]


def test_without_pixel_size_the_resolution_is_in_pixels(data, tmp_path):
    _, dataset = data
    bare = tmp_path / "bare.h5"
    with h5py.File(bare, "w") as file:
        file["exchange/data"] = dataset.patterns.array[None]
        file["truth/object"] = dataset.truth["object"]
    write_result(result_of(dataset.truth, pixel_size_m=None), tmp_path / "result.h5")
    found = score(tmp_path / "result.h5", bare)
    assert found["resolution_px"] == pytest.approx(1)
    assert found.region == (slice(11, 77), slice(9, 67))
    assert not any("position" in figure.name or "probe" in figure.name for figure in found.figures)


def test_file_without_truth_is_refused(data, tmp_path):
    _, dataset = data
    bare = tmp_path / "bare.h5"
    with h5py.File(bare, "w") as file:
        file["exchange/data"] = dataset.patterns.array[None]
    write_result(result_of(dataset.truth), tmp_path / "result.h5")
    with pytest.raises(DataError, match="holds no true object; expected /truth/object; found no /truth"):
        score(tmp_path / "result.h5", bare)


def test_object_that_misses_the_region_is_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"does not cover the part that is scored.*found \d+ % of them"):
        scored(data, tmp_path, origin_px=(40, 3))
    with pytest.raises(DataError, match="found 0 % of them"):
        scored(data, tmp_path, origin_px=(400, 3))


def test_refractive_index_of_unknown_thickness_is_refused(data, tmp_path):
    index = np.zeros((97, 85, 1, 2))
    _, dataset = data
    bare = tmp_path / "bare.h5"
    with h5py.File(bare, "w") as file:
        file["exchange/data"] = dataset.patterns.array[None]
        file["truth/object"] = dataset.truth["object"]
    write_result(result_of(dataset.truth, object=index, representation="delta_beta"), tmp_path / "result.h5")
    with pytest.raises(DataError, match="is delta and beta, and without the photon energy"):
        score(tmp_path / "result.h5", bare)
    with pytest.raises(DataError, match="is delta and beta, and without the pixel size"):
        scored(data, tmp_path, object=index, representation="delta_beta", pixel_size_m=None)


def test_truth_of_the_wrong_shape_is_refused(data, tmp_path):
    _, dataset = data
    odd = tmp_path / "odd.h5"
    with h5py.File(odd, "w") as file:
        file["exchange/data"] = dataset.patterns.array[None]
        file["truth/object"] = np.ones(5)
    write_result(result_of(dataset.truth), tmp_path / "result.h5")
    with pytest.raises(DataError, match=r"true object: has the wrong shape.*\(5,\)"):
        score(tmp_path / "result.h5", odd)
