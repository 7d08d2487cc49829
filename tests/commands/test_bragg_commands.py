"""From a simulated rocking scan to a crystal in the laboratory, through the commands."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import adorym
from adorym.commands.check import check
from adorym.commands.crystal import crystal
from adorym.commands.prepare import prepare_peak
from adorym.commands.report import report
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.open import open_dataset
from adorym.errors import ConfigError, GeometryError, InputError
from adorym.initializers.phasing import Phasing

SMALL = {"frames": 20, "window_px": (24, 22), "photons": 1e6, "hot_pixels": 3}
GEOMETRY = {"gamma": "33.8 deg", "rocking_axis": "y"}
PHASING = {"kind": "phasing", "sequence": "2*(30*HIO+10*ER)+10*ER", "starts": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bragg")
    simulate("bragg_crystal", folder / "raw.h5", SMALL, seed=4)
    prepare_peak(folder / "raw.h5", folder / "data.h5")
    config = {
        "data": str(folder / "data.h5"),
        "forward_model": "bragg_cdi",
        "parameters": {"object": {"initial": PHASING}, "background": {}},
        "loss": "poisson",
        "run": {"epochs": 12, "device": "cpu"},
    }
    adorym.reconstruct(config, output=folder / "out")
    return folder


def test_preparation_says_what_it_did(folder):
    found = dict(prepare_peak(folder / "raw.h5", folder / "again.h5", {"shape": (18, 20, 20), "bin": (1, 1, 1)}).rows)
    assert int(found["stray voxels"].split(",")[0]) >= 3 and found["shape"] == "18 x 20 x 20 (z, y, x)"
    data = open_dataset(folder / "again.h5")
    assert data.patterns.shape == (18, 20, 20) and data.mask is not None and data.energy_ev == 9000
    assert not data.truth  # it lies on other voxels


def test_preparation_refuses_more_than_was_measured(folder, tmp_path):
    with pytest.raises(ConfigError, match="shape: more than twice the measured size"):
        prepare_peak(folder / "raw.h5", tmp_path / "x.h5", {"shape": (100, 20, 20)})
    with pytest.raises(InputError, match="outlier: unknown key; did you mean 'outliers'"):
        prepare_peak(folder / "raw.h5", tmp_path / "x.h5", {"outlier": 3})


def test_counts_that_are_left_out_are_told(tmp_path):
    counts = np.random.default_rng(0).poisson(0.5, (12, 16, 16)).astype(float)
    counts[6, 8, 8] = counts[2, 3, 3] = 5000
    with h5py.File(tmp_path / "narrow.h5", "w") as file:
        file["exchange/data"] = counts[:, None]
        file["exchange/theta"] = np.arange(12) * 0.01
    found = prepare_peak(tmp_path / "narrow.h5", tmp_path / "x.h5")
    assert any("% of the counts are in voxels far above their neighbors" in w for w in found.warnings)
    kept = prepare_peak(tmp_path / "narrow.h5", tmp_path / "y.h5", {"outliers": 0})
    assert not any("far above" in w for w in kept.warnings)
    assert (open_dataset(tmp_path / "y.h5").patterns.read(np.arange(12)) == 5000).sum() == 2


def test_sides_with_large_primes_and_low_sampling_are_warned_of(folder, tmp_path):
    found = prepare_peak(folder / "raw.h5", tmp_path / "x.h5", {"shape": (13, 11, 10)})
    assert any("prime factor of 13" in w for w in found.warnings)


def test_the_documented_configuration_runs_to_its_end(folder):
    """Several starts averaged, a support that follows, coherence and background; the loss is lower at the end."""
    config = {
        "data": {"path": str(folder / "data.h5")},
        "forward_model": {"kind": "bragg_cdi"},
        "loss": {"kind": "poisson"},
        "parameters": {
            "object": {"initial": {"kind": "phasing", "starts": 8, "mean_of": 3}},
            "support": {"threshold": 0.1, "every": 20},
            "coherence_blur": {},
            "background": {},
        },
        "run": {"epochs": 60, "device": "cpu"},
    }
    reconstruction = adorym.prepare(config)
    losses = [record.loss for record in reconstruction.epochs()]
    support = reconstruction.problem.values["support"]
    inside = np.asarray(reconstruction.problem.xp.to_numpy(support.array)) > 0
    assert len(losses) == 60 and not reconstruction.ended and losses[-1] < losses[0]
    assert 0.02 < inside.mean() < 0.5


def test_result_is_scored_against_the_truth(folder):
    found = score(folder / "out", folder / "raw.h5")
    assert found["overlap"] > 0.8 and found["phase_rms_rad"] < 0.8
    assert found.as_dict()["resolution_px"] > 0.9


def test_report_shows_the_agreement_of_the_starts(folder):
    text = report(folder / "out").read_text()
    assert "Agreement of starts" in text and "Unrelated phases would leave 0.71" in text


def test_starts_that_disagree_are_told_in_verdict_and_report(tmp_path):
    """Of counts without a peak each start makes something else."""
    with h5py.File(tmp_path / "noise.h5", "w") as file:
        file["exchange/data"] = np.random.default_rng(0).poisson(3.0, (22, 24, 20)).astype(np.float32)[:, None]
        file["exchange/theta"] = np.arange(22) * 0.01
    config = {
        "data": {"path": str(tmp_path / "noise.h5"), "theta_unit": "deg"}, "forward_model": "bragg_cdi",
        "parameters": {"object": {"initial": {"kind": "phasing", "sequence": "5*ER", "starts": 3}}},
        "run": {"epochs": 2, "device": "cpu"},
    }  # fmt: skip
    result = adorym.reconstruct(config, output=tmp_path / "out")
    assert result.verdict.reasons[0].startswith("starts that disagree (overlap 0.")
    assert "Agreement of starts" in report(tmp_path / "out").read_text()


def test_crystal_in_the_laboratory(folder):
    found = crystal(folder / "out", settings={"geometry": GEOMETRY, "twin": "core_high"})
    assert found.voxel_m == pytest.approx(found.figures["voxel_m"]) and 1e-9 < found.voxel_m < 1e-7
    assert found.figures["plane_spacing_m"] == pytest.approx(2.37e-10, rel=0.02)
    with h5py.File(folder / "out" / "crystal.h5") as file:
        assert file["strain"].shape == file["amplitude"].shape and file["displacement_m"].attrs["units"] == "m"
    assert json.loads((folder / "out" / "crystal.json").read_text())["strain_rms"] > 0
    assert (folder / "out" / "crystal.vti").read_bytes().startswith(b"<?xml")
    assert b"StructuredGrid" in (folder / "out" / "crystal_skew.vts").read_bytes()[:200]
    assert (folder / "out" / "pictures" / "crystal_sections.png").stat().st_size > 5000


def test_without_geometry_there_is_no_strain(folder, tmp_path):
    found = crystal(folder / "out", tmp_path)
    assert found.voxel_m is None and np.isnan(found.field.strain).all() and found.figures["voxels"] > 50


def test_missing_metadata_are_named(folder, tmp_path):
    with h5py.File(folder / "data.h5") as source, h5py.File(tmp_path / "bare.h5", "w") as target:
        source.copy("exchange", target)
    with pytest.raises(GeometryError, match="data.energy: is needed to turn the crystal"):
        crystal(folder / "out", tmp_path, {"geometry": GEOMETRY}, tmp_path / "bare.h5")


def test_plan_of_a_bragg_run(folder, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(
        f"data: {folder / 'data.h5'}\nforward_model: bragg_cdi\n"
        "parameters: {object: {initial: {kind: phasing, sequence: 2*ER}}}\n"
    )
    plan = check(config).as_dict()
    assert plan["object"]["shape_px"] == [24, 22, 20] and plan["batches"]["batch_size"] == 20


def test_the_plan_counts_the_memory_of_the_phasing(folder, tmp_path):
    config, sizes = tmp_path / "c.yaml", []
    for starts in (1, 400):
        config.write_text(
            f"data: {folder / 'data.h5'}\nforward_model: bragg_cdi\n"
            f"parameters: {{object: {{initial: {{kind: phasing, starts: {starts}}}}}}}\n"
        )
        sizes.append({item.name: item.n_bytes for item in check(config).memory})
    assert sizes[1]["phasing"] == pytest.approx(400 * 24 * 22 * 20 * 140, rel=0.1)
    # It is told as far as what comes later, a batch and a step, needs less.
    for starts, found in zip((1, 400), sizes, strict=True):
        later = found["a batch"] + found["a step of the object"]
        needed = Phasing(starts=starts).bytes_at_once(24 * 22 * 20)
        assert found.get("phasing", 0) + later == max(needed, later)
