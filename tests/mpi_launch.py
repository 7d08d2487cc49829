"""Start a file of this folder under ``mpirun`` from an ordinary test, within a time that follows the load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Of a job, and of a wait for another rank, where each rank has a core.
LIMIT_S, WAIT_S = 100, 60


def scaled(limit_s: float, ranks: int) -> float:
    """A limit that follows ranks and load: nothing fails because cores are shared."""
    cores = os.cpu_count() or 1
    return limit_s * max(1.0, (ranks + os.getloadavg()[0]) / cores)


@dataclass(frozen=True)
class Ended:
    """What a job left."""

    status: int
    out: str
    err: str


def mpirun() -> str:
    """The launcher that belongs to this Python; a test that needs one is skipped where there is none."""
    pytest.importorskip("mpi4py")
    found = shutil.which("mpirun", path=sysconfig.get_path("scripts")) or shutil.which("mpirun")
    if found is None:
        pytest.skip("no mpirun")
    return found


def mpi_library() -> str:
    """What the launcher says of itself."""
    done = subprocess.run([mpirun(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else ""


def start(
    ranks: int, command: Sequence[str], folder: Path, launcher: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """``mpirun -n RANKS python COMMAND``, or what another ``launcher`` starts; in a process group of its own."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    settings = {
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "OMP_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "1",
        "ADORYM_MPI_TIMEOUT": str(round(scaled(WAIT_S, ranks))),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }
    return subprocess.Popen(
        [*(launcher or [mpirun(), "-n", str(ranks)]), sys.executable, *command],
        cwd=folder,
        env=os.environ | settings | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(job: subprocess.Popen[str], limit_s: float = LIMIT_S, ranks: int = 4) -> Ended:
    """Wait for a job; one that takes too long is killed with all its processes, and the test fails."""
    limit_s = scaled(limit_s, ranks)
    try:
        out, err = job.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        out, err = job.communicate()
        pytest.fail(f"still running after {limit_s:.0f} s\n{out}\n{err}")
    return Ended(job.returncode, out, err)


def run(ranks: int, command: Sequence[str], folder: Path, limit_s: float = LIMIT_S, **environment: str) -> Ended:
    """A job from its start to its end."""
    return finish(start(ranks, command, folder, **environment), limit_s, ranks)


def torchrun(ranks: int, command: Sequence[str], folder: Path, limit_s: float = LIMIT_S, **environment: str) -> Ended:
    """Like `run`, started by torch."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    launcher += ["--nproc-per-node", str(ranks)]
    return finish(start(ranks, command, folder, launcher, **environment), limit_s, ranks)
