"""Solvers take the same way in every store, on any number of ranks, and on every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from backends import BACKEND_PARAMS
from laws import arrays_of, relative_error
from mpi_launch import run
from mpi_runs import reconstruction, solved, solver_recipes

from adorym.engine.checkpoint import load_checkpoint, save_checkpoint

SCRIPT = str(Path(__file__).parent.parent / "mpi" / "one_answer.py")
STORES = ("dp", "do", "h5")
NAMES = sorted(solver_recipes())
# Between them they do all that is done with vectors: products, random signs, terms with an operator and without.
ON_RANKS = ("solver-lbfgs-estimated", "solver-proximal_gradient-intensity")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process ends with in the store ``dp`` by a solver's name, the losses of all epochs among it."""
    known = {}

    def found(name):
        if name not in known:
            known[name] = solved(name, tmp_path_factory.mktemp("alone"))
        return known[name]

    return found


def assert_same_way(found, expected, where):
    assert set(found) == set(expected) and len(expected["loss"]) == 2
    for key, array in expected.items():
        error = relative_error(found[key], array)
        assert error < 1e-9, f"{where}: {key} differs by {error:.1e}"


@pytest.mark.mpi
def test_every_store_on_two_ranks(tmp_path, alone):
    ended = run(2, [SCRIPT, str(tmp_path), "double", "torch", ",".join(ON_RANKS), ",".join(STORES)], tmp_path)
    assert ended.status == 0, ended.err
    for name in ON_RANKS:
        for store in STORES:
            with np.load(tmp_path / f"{name}-{store}-double-2.npz") as found:
                assert_same_way(found, alone(name), f"{name} in {store} on 2 ranks")


@pytest.mark.parametrize("store", ["do", "h5"])
@pytest.mark.parametrize("name", NAMES)
def test_every_store_in_one_process(tmp_path, alone, name, store):
    assert_same_way(solved(name, tmp_path, store=store), alone(name), f"{name} in {store}")


@pytest.mark.parametrize("backend", [each for each in BACKEND_PARAMS if each.values != ("torch",)])
@pytest.mark.parametrize("name", NAMES)
def test_every_backend(tmp_path, alone, name, backend):
    assert_same_way(solved(name, tmp_path, backend=backend), alone(name), f"{name} on {backend}")


@pytest.mark.parametrize(("store", "other"), [("do", "h5"), ("h5", "h5"), ("h5", "dp")])
@pytest.mark.parametrize("name", ["solver-lbfgs-intensity", "solver-proximal_gradient-intensity"])
def test_a_run_goes_on_in_any_store(tmp_path, alone, name, store, other):
    first, second = reconstruction(name, tmp_path, store=store), reconstruction(name, tmp_path, store=other)
    list(first.epochs(1))
    save_checkpoint(first, tmp_path / "checkpoint.h5", {})
    load_checkpoint(second, tmp_path / "checkpoint.h5", {})
    list(second.epochs(1))
    found = {key: a for key, a in arrays_of(second).items() if ".state_" not in key}
    assert_same_way(found, alone(name), f"{name} from {store} to {other}")
