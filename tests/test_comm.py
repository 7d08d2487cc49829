"""One process alone, what launchers leave in the environment, and errors of the installation."""

from __future__ import annotations

import os

import numpy as np
import pytest

from adorym import comm
from adorym.comm import SerialCommunicator, check_size, launch, launched, threads_per_rank
from adorym.errors import ConfigError


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for names in comm.LAUNCHERS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name in (comm.SWITCH, comm.TORCHRUN):
        monkeypatch.delenv(name, raising=False)


def test_one_process_has_everything_itself():
    alone, array = SerialCommunicator(), np.arange(6.0).reshape(2, 3)
    assert (alone.rank, alone.size, alone.is_root, alone.local_size) == (0, 1, True, 1)
    np.testing.assert_array_equal(alone.sum(array), array)
    np.testing.assert_array_equal(alone.exchange(array.ravel(), [6], [6]), array.ravel())
    assert alone.max(2.5) == 2.5 and alone.broadcast("x") == "x" and len(alone.gather(array)) == 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, (4, 3)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, (2, 1)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, (8, 5)),
        ({"SLURM_NTASKS": "8"}, None),  # a batch script, which srun has not started
        ({"PMI_SIZE": "4", "PMI_RANK": "3", "ADORYM_MPI": "0"}, None),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "3"}, (4, 3)),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "3", "SLURM_STEP_NUM_TASKS": "2"}, (4, 3)),
        ({"WORLD_SIZE": "4", "RANK": "3"}, None),  # whoever says so, torchrun has not started it
    ],
)
def test_launchers_are_recognized(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected


def test_another_mpi_than_the_launcher_is_refused():
    check_size(4, 4, "MPICH Version: 5")
    match = (
        r"mpi: the launcher and mpi4py use different MPI installations; expected 4 ranks.*found 1, as .* Open MPI v5"
    )
    with pytest.raises(ConfigError, match=match):
        check_size(4, 1, "Open MPI v5.0\nmore")


def test_missing_mpi_is_named(monkeypatch):
    def broken():
        raise RuntimeError("cannot load MPI library\nlibmpi.so.40: not found")

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(launch, "_load_mpi", broken)
    with pytest.raises(ConfigError, match=r"mpi: started as one of 2 ranks.*cannot load MPI library; 'pip install"):
        launch._of_all.__wrapped__()
    monkeypatch.setenv("PMI_SIZE", "1")
    assert isinstance(launch._of_all.__wrapped__(), SerialCommunicator)


def test_threads_are_the_cores_shared_out(monkeypatch):
    class Ranks(SerialCommunicator):
        local_size = 4

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    assert threads_per_rank(Ranks()) == 4 and threads_per_rank(SerialCommunicator()) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5, 6})  # bound to cores of its own
    assert threads_per_rank(Ranks()) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_per_rank(Ranks()) is None


def test_a_process_works_alone_for_a_while(monkeypatch):
    everyone = SerialCommunicator()
    monkeypatch.setattr(launch, "_of_all", lambda: everyone)
    with launch.working_alone():
        assert launch.communicator() is not everyone
        with launch.working_alone(False):
            assert launch.communicator() is everyone
    assert launch.communicator() is everyone
