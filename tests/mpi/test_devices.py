"""Ranks that compute on devices: arrays go from one to the other through torch, whichever launcher started them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import write_config, write_data
from laws import relative_error
from mpi_launch import run, torchrun
from mpi_runs import solved

from adorym.data.result import read_result

ODD = str(Path(__file__).with_name("odd_rank.py"))
SCRIPT = str(Path(__file__).with_name("device_run.py"))
PLAIN = ("positions", "terms-volume", "constraints", "all-tomography-moving", "one-material")
pytestmark = pytest.mark.mpi


@pytest.mark.parametrize(
    ("launch", "ranks", "cases", "stores"),
    [(run, 2, PLAIN, "dp,do"), (run, 4, ("terms-volume",), "do"), (torchrun, 3, ("positions", "terms"), "dp")],
)
def test_devices_give_one_answer(tmp_path, launch, ranks, cases, stores):
    ended = launch(ranks, [SCRIPT, str(tmp_path), ",".join(cases), stores], tmp_path)
    assert ended.status == 0, ended.err
    for name in cases:
        expected = solved(name, tmp_path)
        for store in stores.split(","):
            with np.load(tmp_path / f"{name}-{store}.npz") as found:
                for key, array in expected.items():
                    assert relative_error(found[key], array) < 1e-9, f"{name} in {store} on {ranks} ranks: {key}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_data(tmp_path / "data.h5")
    write_config(tmp_path, run={"precision": "double", "epochs": 4, "checkpoint_every": 1})
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = ["-m", "adorym.cli", "run", "config.yaml"]


def test_torchrun_starts_ranks_without_mpi(folder):
    alone = run(1, [*RUN, "-o", "alone"], folder, ADORYM_MPI="0")
    assert alone.status == 0, alone.err
    for store, ranks in (("do", 3), ("h5", 2)):
        hidden = "import sys; sys.modules['mpi4py'] = None; from adorym.cli import main; main(sys.argv[1:])"
        command = ["run", "config.yaml", "-o", store, "--set", f"run.store={store}"]
        ended = torchrun(ranks, ["-c", hidden, *command], folder)
        assert ended.status == 0, ended.err
        assert ended.out.count("Done: 4 epochs") == 1 and read_result(store).provenance["ranks"] == str(ranks)
        np.testing.assert_allclose(read_result(store).history["loss"], read_result("alone").history["loss"], rtol=1e-9)


def test_torchrun_tells_an_error_of_all_ranks_once(folder):
    ended = torchrun(3, [*RUN, "-o", "out", "--set", "parameters.object.wieght=1"], folder)
    assert ended.status != 0 and ended.err.count("parameters.object.wieght: unknown key") == 1


def test_torchrun_ends_all_ranks_with_the_first(folder):
    ended = torchrun(3, [ODD, "config.yaml", "raise"], folder)
    assert ended.status != 0
    assert ended.err.count("rank 1: Traceback") == 1 and ended.err.count("ZeroDivisionError: only here") == 1


def test_ranks_with_other_data_do_not_start(folder):
    (folder / "other").mkdir()
    for name in ("config.yaml", "data.h5"):
        (folder / "other" / name).write_bytes((folder / name).read_bytes())
    with h5py.File(folder / "other" / "data.h5", "r+") as file:
        file["exchange/data"][0, 3, 4, 5] += 1
    code = (
        "import os; from adorym.cli import main; from adorym.comm import launched; "
        "launched()[1] and os.chdir('other'); main(['run', 'config.yaml', '-o', 'out'])"
    )
    ended = torchrun(2, ["-c", code], folder)
    assert ended.status != 0
    assert ended.err.count("mpi: rank 1 does not have the same data as rank 0") == 1


@pytest.mark.parametrize("launch", [run, torchrun])
def test_a_command_of_one_process_waits_for_nobody(folder, launch):
    ended = launch(2, ["-m", "adorym.cli", "check", "nothing.yaml"], folder, limit_s=60)
    assert ended.status != 0 and ended.err.count("nothing.yaml") >= 1, ended.err


def test_scripts_under_torchrun_end_well(tmp_path):
    """The threads of the exchange do not outlive the interpreter."""
    code = "import numpy as np; from adorym.comm import communicator; assert communicator().sum(np.ones(3))[0] == 4"
    ended = torchrun(4, ["-c", code], tmp_path)
    assert ended.status == 0, ended.err


def test_a_file_for_all_ranks_needs_mpi(folder):
    ended = torchrun(2, [*RUN, "-o", "out", "--set", "run.store=h5", "--set", "run.driver=mpio"], folder)
    assert ended.status != 0 and ended.err.count("run.driver: 'mpio' needs") == 1
