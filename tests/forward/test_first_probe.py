"""The first probe in a run and in a check: searched once, kept beside the output, told in the log and in the result."""

import logging

import h5py
import numpy as np
import pytest
from tiny_beams import Experiment

from adorym.api import prepare, reconstruct
from adorym.commands.check import check
from adorym.data.native_write import write_native
from adorym.forward.first_probe import FILE_NAME
from adorym.parameters import OBJECT

BEAM = Experiment(curvature=0.14)


@pytest.fixture
def config(tmp_path):
    """``config(experiment, **sections)``: a configuration without a start probe, of two epochs."""

    def make(experiment=BEAM, **sections):
        write_native(experiment.dataset(), tmp_path / "scan.h5")
        run = {"epochs": 2, "threads": 1} | sections.pop("run", {})
        return {"data": {"path": str(tmp_path / "scan.h5")}, "forward_model": "ptychography", "run": run} | sections

    return make


def searches(caplog):
    return sum("searching the defocus" in record.getMessage() for record in caplog.records)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "adorym.start")
    return caplog


def test_a_run_is_told_which_probe_it_begins_with(config, tmp_path, log):
    result = reconstruct(config(), output=tmp_path / "out")
    assert searches(log) == 1
    assert result.fit["first_probe_defocus_m"] == pytest.approx(BEAM.defocus_m, rel=0.15)
    assert len(result.fit["first_probe_candidates_rad"]) == len(result.fit["first_probe_misfit"]) > 5
    with h5py.File(tmp_path / "out/result.h5") as file:
        assert file["fit/first_probe_defocus_m"][()] == result.fit["first_probe_defocus_m"]
    text = (tmp_path / "out/log.txt").read_text()
    assert "first probe: defocus" in text and "um, pupil" in text


def test_what_was_found_is_kept_as_long_as_data_and_settings_are_the_same(config, tmp_path, log):
    folder, made = tmp_path / "out", config()

    def start(changed=made, where=folder):
        return prepare(changed, where).problem.values["probe"].first

    first = start()
    assert searches(log) == 1 and (folder / FILE_NAME).is_file()
    np.testing.assert_array_equal(start(), first)
    assert searches(log) == 1
    start(made | {"parameters": {"probe": {"initial": {"kind": "auto", "patterns": 20}}}})
    assert searches(log) == 2
    other = config(Experiment(curvature=-0.14))
    assert np.abs(start(other) - first).max() > 0.1 * np.abs(first).max()
    assert searches(log) == 3
    (folder / FILE_NAME).write_bytes(b"PK\x03\x04 cut off")
    start(other)
    assert searches(log) == 4
    start(other, None)
    assert searches(log) == 5 and {p.name for p in tmp_path.iterdir()} == {"out", "scan.h5"}


def test_check_tells_the_overlap_of_the_probe_that_the_run_begins_with(config, tmp_path):
    made = config()
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{path: {made['data']['path']}}}\nforward_model: {{kind: ptychography}}\n")
    sampling = check(path, [f"output.directory={tmp_path / 'out'}"]).as_dict()["sampling"]
    probe = prepare(made).problem.values["probe"].first
    intensity = (np.abs(probe) ** 2).sum(0)
    diameter = np.sqrt(4 / np.pi * intensity.sum() ** 2 / (intensity**2).sum())
    assert sampling["probe_diameter_px"] == pytest.approx(diameter, rel=1e-4)
    assert "defocus" in sampling["first_probe"]
    assert not (tmp_path / "out").exists()


def test_an_overlap_that_is_not_known_is_called_so(config, tmp_path, caplog):
    made = config(Experiment(curvature=0.14, contrast=0.0))
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{path: {made['data']['path']}}}\nforward_model: {{kind: ptychography}}\n")
    plan = check(path, [f"output.directory={tmp_path / 'out'}"])
    texts = {fact.key: fact.text for fact in plan.sections["sampling"]}
    assert "unknown" in texts["linear_overlap"] and "oversampling" not in texts
    assert any("hardly tell the beam's defocus" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_every_backend_begins_with_it(config, backend):
    result = reconstruct(config(run={"backend": backend, "epochs": 1}))
    assert "first_probe_defocus_m" in result.fit


def test_further_modes_are_added_to_it(config):
    problem = prepare(config(parameters={"probe": {"modes": 2}})).problem
    power = (np.abs(problem.values["probe"].first) ** 2).sum((1, 2))
    assert len(power) == 2 and power[0] / power.sum() == pytest.approx(0.6)


def test_a_probe_of_the_data_or_the_configuration_is_not_searched(config, tmp_path, log):
    made = config(parameters={"probe": {"initial": {"kind": "mean_pattern"}}})
    assert not prepare(made).problem.remarks
    write_native(BEAM.dataset(start_probe=BEAM.probe()[None]), tmp_path / "scan.h5")
    problem = prepare(made | {"parameters": {}}).problem
    assert not problem.remarks and not problem.start_diagnostics and searches(log) == 0
    assert OBJECT not in problem.values


def test_picture_from_two_lines(config):
    """With the searched probe the loss ends where it ends with the true one."""
    made = config(run={"epochs": 40})
    found = reconstruct(made).history["loss"][-1]
    write_native(BEAM.dataset(start_probe=BEAM.probe()[None]), made["data"]["path"])
    assert found < 1.3 * reconstruct(made).history["loss"][-1]


def test_a_run_that_goes_on_does_not_search(config, tmp_path, log):
    first = reconstruct(config(), output=tmp_path / "out")
    problem = prepare(config() | {"start_from": str(tmp_path / "out")}).problem
    assert searches(log) == 1 and not problem.remarks
    power = (np.abs(first.probe) ** 2).sum()
    assert (np.abs(problem.values["probe"].first - first.probe) ** 2).sum() < 1e-6 * power
