"""``run.memory``: how many patterns at once, where they are kept, what is refused; and the same picture as without."""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_scan import Scan

from adorym.data import batches
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.engine import budget
from adorym.engine.budget import Budget, keeps_as_usual
from adorym.engine.build import build
from adorym.engine.gradients import own_chunks
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.settings import RunSettings
from adorym.errors import ConfigError
from adorym.forward.ptychography import Ptychography
from adorym.losses.counting import LeastSquares
from adorym.wrapper.memory import HostMemory

SCAN = Scan()
RECIPE = Recipe(Ptychography(), {}, LeastSquares())
HOST = {"device": "cpu", "precision": "double", "threads": 1}
MIB = 1 << 20


class Scale(HostMemory):
    """A memory of which every pattern at once takes 10 MiB, beside 100 MiB of the program."""

    tells = True

    def __init__(self):
        self.most = 0

    def used(self):
        return 100 * MIB

    def peak(self):
        return self.used() + 10 * MIB * self.most

    def restart(self):
        self.most = 0


@pytest.fixture
def scale(monkeypatch):
    """The memory of a run as that of `Scale`, and batches that tell it how many patterns they hold."""
    made = Scale()
    real = budget.try_batch

    def try_batch(problem, n, losses=None):
        def work():
            made.most = max(made.most, n)
            real(problem, n, losses)()

        return work

    monkeypatch.setattr("adorym.wrapper.base.HostMemory", lambda: made)
    monkeypatch.setattr(budget, "REPORT", 0)
    monkeypatch.setattr(budget, "try_batch", try_batch)
    return made


def built(**run):
    return build(SCAN.dataset(), RECIPE, RunSettings(**(HOST | run)), np.random.default_rng(0))


@pytest.mark.parametrize("patterns", [1, 2, 3, 7])
def test_as_many_patterns_at_once_as_fit(scale, patterns):
    problem = built(memory=(100 + budget.HOLES * 10.9 * patterns) * MIB / budget.PLANNED)
    assert 0.8 * patterns <= problem.at_once <= patterns
    n = problem.dataset.n_patterns
    chunks = own_chunks(problem, np.arange(n))
    assert max(map(len, chunks)) <= problem.at_once and sorted(np.concatenate(chunks)) == list(range(n))


def test_a_whole_batch_at_once_where_there_is_room(scale):
    problem = built(memory=2**40)
    assert problem.at_once == problem.dataset.n_patterns and problem.measurements.in_memory
    assert built(memory=2**40, batch_size=7).at_once == 7


def test_patterns_stay_in_the_file_where_there_is_no_room(scale):
    run = RunSettings(**HOST, memory=1.0)
    problem = built(memory=400 * MIB)
    xp, bound = problem.xp, problem.bound
    assert problem.measurements.in_memory and not built(memory=200 * MIB).measurements.in_memory
    chunk = budget.HOLES * budget.ROUGHLY * budget.FAST_PIXELS * xp.complex_dtype.itemsize  # a chunk that is not slow
    limit = Budget((100 * MIB + chunk + 50 * MIB) / budget.PLANNED)
    assert limit.keeps(xp, bound, run, 49 * MIB) and not limit.keeps(xp, bound, run, 50 * MIB)
    wide = bound.with_(shape=(1000, 1000))  # its arrays take 6 x 16 MB
    assert not limit.keeps(xp, wide, run, 1)
    assert limit.keeps(xp, wide, replace(run, store="h5"), 49 * MIB)  # or are in the file


def test_patterns_stay_in_memory_as_usual_without_a_limit():
    assert keeps_as_usual(batches.KEEP_IN_MEMORY_BYTES // 4, 4)
    assert not keeps_as_usual(batches.KEEP_IN_MEMORY_BYTES // 2, 4)


def test_patterns_leave_memory_before_a_run_is_refused(scale, monkeypatch):
    kept = []

    def most(problem, limit, chunk, run):
        kept.append(problem.measurements.in_memory)
        return budget.Most(0, 1) if problem.measurements.in_memory else budget.Most(3, MIB)

    monkeypatch.setattr(budget, "_most", most)
    problem = built(memory=400 * MIB)
    assert kept == [True, False] and problem.at_once == 3 and not problem.measurements.in_memory
    assert problem.remarks[-1] == "memory: 3 patterns at once, patterns read when they are needed"


@pytest.mark.parametrize(("store", "remedy"), [("dp", "'run.store: h5'"), ("do", "use more ranks"), ("h5", "raise it")])
def test_too_little_is_refused_with_the_least(scale, tmp_path, store, remedy):
    more = {"scratch": str(tmp_path)} if store == "h5" else {}
    with pytest.raises(ConfigError, match=r"run\.memory: this run needs more memory; expected at least") as caught:
        built(memory=105 * MIB, store=store, **more)
    assert remedy in str(caught.value)
    least = float(str(caught.value).split("at least ")[1].split(" GiB")[0])
    assert 110 * MIB < least * 2**30 < 140 * MIB
    built(memory=1.06 * least * 2**30, store=store, **more)  # rounded to two digits


def test_the_report_has_room(scale, monkeypatch):
    built(memory=130 * MIB)
    monkeypatch.setattr(budget, "REPORT", 40 * MIB)
    with pytest.raises(ConfigError, match=r"expected at least 0\.15 GiB"):
        built(memory=130 * MIB)


def test_nothing_is_measured_without_a_limit(monkeypatch):
    monkeypatch.setattr(budget, "_most", lambda *_: pytest.fail("measured"))
    assert built().at_once is None and built().ceiling_bytes == math.inf


def test_a_system_that_does_not_tell(monkeypatch):
    monkeypatch.setattr("adorym.wrapper.memory._begin_peak", lambda: False)  # its peak cannot be forgotten
    with pytest.raises(ConfigError, match=r"run\.memory: cannot be kept: this system does not tell"):
        built(memory=2**30)
    assert built().at_once is None


@pytest.mark.parametrize(("store", "patterns"), [("dp", 1), ("do", 3)])
def test_a_check_counts_the_ranks_of_the_run(scale, monkeypatch, store, patterns):
    """The object's arrays take 60 MiB, a fifth of it on each of five ranks."""
    monkeypatch.setattr(budget, "stored_arrays", lambda problem: {"object": 60 * MIB})
    monkeypatch.setattr(budget, "launched", lambda: (5, 0))
    settings = RunSettings(**HOST, store=store, memory=(100 + 60 + budget.HOLES * 11) * MIB / budget.PLANNED)
    problem = build(SCAN.dataset(), RECIPE, settings, np.random.default_rng(0), dry=True)
    assert problem.at_once == patterns


def test_fewer_at_once_after_an_epoch_that_took_too_much(caplog):
    problem = built()
    problem.at_once = 6
    Budget(1.0).look(problem)
    assert problem.at_once == 3 and "from now on 3 patterns at once instead of 6" in caplog.text
    Budget(2.0**50).look(problem)
    Budget().look(problem)
    assert problem.at_once == 3


def test_the_same_picture_with_few_patterns_at_once():
    found = []
    for at_once in (None, 1, 3):
        run = Reconstruction(SCAN.dataset(), RECIPE, RunSettings(epochs=3, **HOST))
        run.problem = replace(run.problem, at_once=at_once)
        losses = [record.loss for record in run.epochs()]
        found.append((run.problem.store.values(), losses))
    for values, losses in found[1:]:
        np.testing.assert_allclose(values, found[0][0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(losses, found[0][1], rtol=1e-9)


def test_what_is_free_is_given_back_above_the_ceiling(scale, monkeypatch):
    given = []
    monkeypatch.setattr(Scale, "give_back", lambda self: given.append(1))
    run = Reconstruction(SCAN.dataset(), RECIPE, RunSettings(epochs=1, **(HOST | {"memory": 400 * MIB})))
    assert 100 * MIB < run.problem.ceiling_bytes < 400 * MIB
    run.problem.ceiling_bytes = 99.0 * MIB
    chunks = sum(len(own_chunks(run.problem, part)) for part in run.batches())
    given.clear()
    list(run.epochs())
    assert len(given) == chunks


def test_memory_of_this_process():
    memory = HostMemory()
    if not memory.tells:
        pytest.skip("this system does not tell how much memory a process uses")
    memory.restart()
    before = memory.used()
    block = np.ones(64 * MIB // 8)
    assert memory.used() - before > 60 * MIB and memory.peak() >= memory.used()
    del block
    memory.restart()
    assert memory.peak() - before < 32 * MIB


MEASURED = """
import json, sys
import adorym
run = adorym.prepare(json.loads(sys.argv[1]))
for record in run.epochs():
    pass
print(json.dumps(run.problem.at_once))
"""


def watched(command):
    """``(exit status, output, largest resident memory)`` of a command.

    The run itself begins new peaks, and what the system says of a child at its end includes its parent's memory.
    """
    with tempfile.TemporaryFile() as output:
        process, most = subprocess.Popen(command, stdout=output, stderr=output), 0
        while process.poll() is None:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
                most = max([most, *(int(kb) * 1024 for kb in re.findall(r"VmHWM:\s+(\d+)", text))])
            time.sleep(0.01)
        output.seek(0)
        return process.returncode, output.read().decode(), most


def test_a_process_keeps_its_limit(tmp_path):
    """120 patterns of 256 x 256 with eight modes: 1.2 GiB at once."""
    if not HostMemory().tells:
        pytest.skip("this system does not tell how much memory a process uses")
    rng = np.random.default_rng(0)
    patterns = rng.poisson(3.0, (120, 256, 256)).astype(np.float32)
    scan = Scan().dataset()
    data = Dataset(
        ArrayPatterns(patterns),
        probe_positions_px=rng.uniform(0, 60, (120, 2)),
        pixel_size_m=scan.pixel_size_m,
        energy_ev=scan.energy_ev,
    )
    write_native(data, tmp_path / "data.h5")
    config = {
        "data": str(tmp_path / "data.h5"),
        "forward_model": "ptychography",
        "parameters": {"probe": {"modes": 8, "initial": {"kind": "mean_pattern"}}},
        "run": {"epochs": 2, "batch_size": 120, "device": "cpu", "threads": 1, "memory": "750 MiB"},
    }
    warm = config | {"run": config["run"] | {"batch_size": 1, "epochs": 1, "memory": None}}
    assert watched([sys.executable, "-c", MEASURED, json.dumps(warm)])[0] == 0  # compiles, which takes memory once
    status, output, peak = watched([sys.executable, "-c", MEASURED, json.dumps(config)])
    assert status == 0, output
    assert 1 <= json.loads(output.splitlines()[-1]) < 120 and peak < 1.05 * 750 * MIB
