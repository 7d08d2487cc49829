"""What becomes of a job in which something goes wrong, and how it goes on."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from chaos import saved_epoch
from command_line import write_config, write_data
from laws import relative_error
from mpi_launch import finish, mpi_library, run, start

from adorym.cli import main
from adorym.data.result import Result, read_result
from adorym.engine.checkpoint import previous

ODD = str(Path(__file__).with_name("odd_rank.py"))
RUN = ["-m", "adorym.cli", "run", "config.yaml", "-o", "out"]
SLOW = ["--set", "run.epochs=3000"]
pytestmark = pytest.mark.mpi


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With a configuration in double precision, and the result of an unbroken serial run in ``whole``."""
    write_data(tmp_path / "data.h5")
    adam = {"optimizer": {"kind": "adam", "learning_rate": 0.02}, "schedule": {"kind": "constant"}}
    write_config(
        tmp_path,
        run={"precision": "double", "epochs": 8, "checkpoint_every": 1, "backend": "autograd"},
        parameters={"object": adam, "probe": {"schedule": {"kind": "constant"}}, "probe_positions": {}},
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole(folder: Path, epochs: int = 8) -> Result:
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "config.yaml"), "-o", str(folder / "whole"), "--set", f"run.epochs={epochs}"])
    assert not ended.value.code
    return read_result(folder / "whole")


def assert_same(found: Result, expected: Result) -> None:
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-9)
    assert relative_error(found.object, expected.object) < 1e-6  # files hold single precision
    assert relative_error(found.probe, expected.probe) < 1e-6
    positions = [result.parameters["probe_positions"].value for result in (found, expected)]
    assert relative_error(*positions) < 1e-9


# -- errors ------------------------------------------------------------------------------------------------------------
def test_an_error_of_one_rank_ends_all_and_is_told_once(folder):
    began = time.monotonic()
    ended = run(3, [ODD, "config.yaml", "raise"], folder)
    assert ended.status != 0 and time.monotonic() - began < 20
    assert ended.err.count("ZeroDivisionError: only here") == 1 and ended.err.count("Traceback") == 1
    assert "rank 1: Traceback" in ended.err


def test_an_error_of_all_ranks_is_told_once(folder):
    ended = run(3, [ODD, "config.yaml", "alike"], folder)
    assert ended.status == 1
    assert ended.err.count("Traceback") == 1 and ended.err.count("ZeroDivisionError: the same everywhere") == 1


@pytest.mark.parametrize("what", ["leave", "hang"])
def test_a_rank_that_waits_in_vain_says_where(folder, what):
    ended = run(2, [ODD, "config.yaml", what], folder, ADORYM_MPI_TIMEOUT="2")
    assert ended.status != 0
    assert "rank 0 has waited 2 s for the other ranks in 'agree to stop or save' (epoch 2, batch 3 of 3)" in ended.err
    assert "_agreed_to_stop" in ended.err  # the stack


def test_one_rank_stops_all(folder):
    ended = run(3, [ODD, "config.yaml", "stop"], folder)
    assert ended.status == 0, ended.err
    assert sorted(ended.out.splitlines()) == [f"rank {r} ended after epoch 2: rank 1 has had enough" for r in range(3)]


@pytest.mark.parametrize("what", ["data", "configuration"])
def test_ranks_with_different_files_do_not_start(folder, what):
    """Rank 1 has files of its own, such as on a disk of its node. Nothing slow is done before."""
    other = folder / "other"
    other.mkdir()
    for name in ("config.yaml", "data.h5"):
        shutil.copy(folder / name, other)
    if what == "data":
        with h5py.File(other / "data.h5", "r+") as file:
            file["exchange/data"][0, 3, 4, 5] += 1
    else:
        (other / "config.yaml").write_text((folder / "config.yaml").read_text().replace('"epochs": 8', '"epochs": 9'))
    code = (
        "import os, sys; from adorym.cli import main; from adorym.comm import launched; "
        "launched()[1] and os.chdir('other'); sys.modules['numba'] = None; main(['run', 'config.yaml', '-o', 'out'])"
    )
    ended = run(2, ["-c", code], folder)
    assert ended.status == 2, ended.err
    assert f"mpi: rank 1 does not have the same {what} as rank 0; start all ranks with the same files" in ended.err
    assert ended.err.count("error:") == 1 and not (folder / "out" / "result.h5").exists()


def test_ranks_that_have_read_different_data_do_not_start(folder):
    """Rank 1 leaves out a pattern, in Python."""
    code = (
        "import adorym; from adorym.comm import launched; "
        "adorym.prepare(adorym.load_config('config.yaml', ['data.frames=1:'] if launched()[1] else []))"
    )
    ended = run(2, ["-c", code], folder)
    assert ended.status != 0
    assert "mpi: rank 1 does not have the same configuration and data as rank 0" in ended.err


@pytest.mark.parametrize("store", ["dp", "do"])
def test_a_full_disk_of_rank_0_ends_nothing_before_the_end(folder, store):
    """All files but the first checkpoint are lost; every rank goes on, and the end is told once."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from chaos import full_disk; from adorym.cli import main; "
        f"full_disk(1)(); main(['run', 'config.yaml', '-o', 'out', '--set', 'run.store={store}'])"
    )
    ended = run(2, ["-c", code, str(Path(__file__).parents[1])], folder)
    assert ended.status == 1, ended.err
    assert ended.err.count("the run goes on without this checkpoint") == 1
    assert ended.err.count("run failed: out/result.h5: cannot be written; found No space left on device") == 1
    assert Path("out/checkpoint.h5").is_file() and not Path("out/result.h5").exists()


def test_wrong_input_is_told_once(folder):
    ended = run(3, [*RUN, "--set", "parameters.object.wieght=1"], folder)
    assert ended.status == 2 and ended.err.count("did you mean") <= 1
    assert ended.err.count("parameters.object.wieght: unknown key") == 1 and "Traceback" not in ended.err


def test_other_commands_are_the_work_of_one_process(folder):
    ended = run(2, ["-m", "adorym.cli", "check", "config.yaml"], folder)
    assert ended.status == 0 and ended.out.count("ptychography: data.h5") == 1


def test_mixed_installations_are_refused(folder):
    environment = os.environ | {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}
    ended = subprocess.run(
        [sys.executable, *RUN], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 2
    assert "mpi: the launcher and mpi4py use different MPI installations; expected 4 ranks" in ended.stderr


def test_processes_may_be_on_their_own(folder):
    code = (
        "import os; from adorym.cli import main; "
        "main(['run', 'config.yaml', '-o', f'alone-{os.getpid()}', '--set', 'run.epochs=1'])"
    )
    ended = run(2, ["-c", code], folder, ADORYM_MPI="0")
    assert ended.status == 0 and ended.out.count("Done: 1 epoch") == 2


# -- ends and new beginnings -------------------------------------------------------------------------------------------
def test_a_run_goes_on_in_other_stores_on_other_numbers_of_ranks(folder):
    for ranks, epochs, store in ((4, 3, "do"), (2, 6, "h5"), (3, 7, "dp")):
        more = ["--resume"] if store != "do" else []
        ended = run(ranks, [*RUN, "--set", f"run.epochs={epochs}", "--set", f"run.store={store}", *more], folder)
        assert ended.status == 0, ended.err
        assert ended.out.count("Done") == 1 and f"Done: {epochs} epochs" in ended.out
        assert read_result("out").provenance["ranks"] == str(ranks)
    with pytest.raises(SystemExit):
        main(["run", "config.yaml", "-o", "out", "--resume"])
    assert_same(read_result("out"), whole(folder))
    assert {p.name for p in Path("out").iterdir()} == {
        "result.h5", "checkpoint.h5", "checkpoint.previous.h5", "log.txt", "live",
    }  # fmt: skip


def wait_for_epoch(path: Path, job: subprocess.Popen, epoch: int = 1) -> None:
    for _ in itertools.count():
        assert job.poll() is None, job.communicate()
        try:
            with h5py.File(path, "r", locking=False) as file:
                if f'"epoch": {epoch}' in file.attrs["progress"]:
                    return
        except OSError:
            pass
        time.sleep(0.02)


def ranks_of(mark: str) -> list[int]:
    """Process numbers of the ranks of the job that was started with ``ADORYM_TEST_JOB=mark``."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        launched = any(entry.startswith((b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK=")) for entry in environment)
        if launched and f"ADORYM_TEST_JOB={mark}".encode() in environment:
            found.append(int(path.name))
    return found


@pytest.mark.parametrize("store", ["dp", "do", "h5"])
def test_a_killed_rank_ends_the_job_and_resume_gives_the_same(folder, store):
    job = start(2, [*RUN, *SLOW, "--set", f"run.store={store}"], folder, ADORYM_TEST_JOB=str(folder))
    wait_for_epoch(Path("out/checkpoint.h5"), job)
    os.kill(max(ranks_of(str(folder))), signal.SIGKILL)
    began = time.monotonic()
    assert finish(job, 20).status != 0 and time.monotonic() - began < 10
    with h5py.File("out/checkpoint.h5") as file:
        done = file.attrs["progress"]
    epochs = int(done.split('"epoch": ')[1].split(",")[0]) + 2
    assert run(2, [*RUN, "--resume", "--set", f"run.epochs={epochs}"], folder).status == 0
    assert_same(read_result("out"), whole(folder, epochs))
    assert not [p for p in Path("out").iterdir() if p.name.startswith(".")]


def test_a_chain_of_killed_jobs_on_changing_ranks_and_stores_loses_nothing(folder):
    rng, done = np.random.default_rng(3), 0
    for _ in range(3):
        ranks, store = int(rng.integers(1, 4)), str(rng.choice(["dp", "do", "h5"]))
        more = ["--resume"] if done else []
        mark = f"{folder}-{done}"
        job = start(ranks, [*RUN, *SLOW, "--set", f"run.store={store}", *more], folder, ADORYM_TEST_JOB=mark)
        until = done + int(rng.integers(1, 4))
        while saved_epoch(folder) < until:
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        os.kill(int(rng.choice(ranks_of(mark))), signal.SIGKILL)
        assert finish(job, 20).status != 0
        assert saved_epoch(folder) >= until
        done = saved_epoch(folder)
    ended = run(2, [*RUN, "--resume", "--set", f"run.epochs={done + 2}"], folder)
    assert ended.status == 0, ended.err
    assert_same(read_result("out"), whole(folder, done + 2))
    assert not [path for path in Path("out").iterdir() if path.name.startswith(".")]


def test_signals_save_and_stop(folder):
    job = start(2, [*RUN, *SLOW, "--set", "run.checkpoint_every=3000", "--set", "run.store=do"], folder)
    while not Path("out/log.txt").exists() or "epoch 2" not in Path("out/log.txt").read_text():
        assert job.poll() is None, job.communicate()
        time.sleep(0.05)
    assert not Path("out/checkpoint.h5").exists()
    job.send_signal(signal.SIGUSR1)
    until = time.monotonic() + 20
    while not Path("out/checkpoint.h5").exists():
        assert time.monotonic() < until and job.poll() is None
        time.sleep(0.05)
    if "open" in mpi_library().lower():  # which kills a quarter of a second after SIGTERM, whatever its ranks do
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        return
    job.send_signal(signal.SIGTERM)
    ended = finish(job, 30)
    assert ended.status == 0, ended.err
    assert ended.out.count("Stopped early (SIGTERM)") == 1 and ended.out.count("Resume with: adorym run") == 1
    epochs = len(read_result("out").history["loss"]) + 2
    assert run(1, [*RUN, "--resume", "--set", f"run.epochs={epochs}"], folder).status == 0
    assert_same(read_result("out"), whole(folder, epochs))


def test_a_run_ends_itself_before_its_time_is_over(folder):
    ended = run(2, [*RUN, *SLOW, "--set", "run.max_time='20 s'"], folder)
    assert ended.status == 0, ended.err
    assert "Stopped early (run.max_time is over)" in ended.out and "--resume" in ended.out
    done = len(read_result("out").history["loss"])
    assert 1 <= done < 3000
    ended = run(2, [*RUN, "--resume", "--set", f"run.epochs={done + 1}"], folder)
    assert f"Done: {done + 1} epochs" in ended.out
    ended = run(2, [*RUN, "--resume", "--set", f"run.epochs={done + 1}"], folder)  # a finished run ends at once
    assert f"Done: {done + 1} epochs" in ended.out


def test_a_lost_checkpoint_is_replaced_by_the_one_before(folder, capsys):
    assert run(2, RUN, folder).status == 0
    Path("out/checkpoint.h5").write_bytes(b"torn")
    assert previous(Path("out/checkpoint.h5")).exists()
    ended = run(2, [*RUN, "--resume"], folder)
    assert ended.status == 0 and "resuming from the one before it" in ended.err
    assert_same(read_result("out"), whole(folder))
