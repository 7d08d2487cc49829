"""Law 1: the same global batches give the same object and parameters in every store, on any number of ranks."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from laws import relative_error
from mpi_launch import run
from mpi_runs import recipes, solved, whole_recipes

from adorym import registry

SCRIPT = str(Path(__file__).with_name("one_answer.py"))
STORES = ("dp", "do", "h5")
pytestmark = pytest.mark.mpi


def names(folder: Path) -> list[str]:
    return list(recipes(folder))


@cache
def alone(name: str, precision: str, backend: str) -> dict[str, np.ndarray]:
    """What one process ends with in the store ``dp``."""
    with tempfile.TemporaryDirectory() as folder:
        return solved(name, Path(folder), precision=precision, backend=backend)


def worst(folder: Path, name: str, tag: str, expected: dict[str, np.ndarray]) -> tuple[float, str]:
    with np.load(folder / f"{name}-{tag}.npz") as found:
        assert set(found) == set(expected)
        return max((relative_error(found[key], expected[key]), key) for key in found)


def test_every_model_is_run(tmp_path):
    run_here = {recipe.model.kind for _, recipe, _ in (recipes(tmp_path) | whole_recipes()).values()}
    assert set(registry.names("forward_model")) <= run_here


# More ranks than cores are slow: four of them prove uneven slabs with neighbors on both sides, which only ``do`` has.
@pytest.mark.parametrize(
    ("ranks", "backend", "stores"),
    [(1, "autograd", ("dp",)), (2, "torch", STORES), (3, "autograd", STORES), (4, "autograd", ("do",))],
)
def test_every_store_gives_one_answer(tmp_path, ranks, backend, stores):
    cases = names(tmp_path)
    for store in stores:  # a job each: there are many cases, and ranks may share cores
        ended = run(ranks, [SCRIPT, str(tmp_path), "double", backend, ",".join(cases), store], tmp_path)
        assert ended.status == 0, ended.err
    for name in cases:
        expected = alone(name, "double", backend)
        for store in stores:
            error, key = worst(tmp_path, name, f"{store}-double-{ranks}", expected)
            assert error < 1e-10, f"{name} in {store} on {ranks} ranks: {key} differs by {error:.1e}"


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_needs_the_whole_object_gives_one_answer_where_each_rank_has_it(tmp_path, ranks):
    cases = list(whole_recipes())
    ended = run(ranks, [SCRIPT, str(tmp_path), "double", "torch", ",".join(cases), "dp"], tmp_path)
    assert ended.status == 0, ended.err
    for name in cases:
        error, key = worst(tmp_path, name, f"dp-double-{ranks}", alone(name, "double", "torch"))
        assert error < 1e-8, f"{name} on {ranks} ranks: {key} differs by {error:.1e}"


POSES = ("all-tomography-moving", "all-ptychotomography-thin-8", "all-ptychotomography-multislice-8", "upright-rotate")


@pytest.mark.parametrize(
    ("ranks", "stores", "cases"),
    [
        (2, STORES, ("positions", "volume", "upright-joseph")),
        (3, ("do",), POSES),
    ],
)
def test_single_precision(tmp_path, ranks, stores, cases):
    ended = run(ranks, [SCRIPT, str(tmp_path), "single", "torch", ",".join(cases), ",".join(stores)], tmp_path)
    assert ended.status == 0, ended.err
    for name in cases:
        expected = alone(name, "single", "torch")
        for store in stores:
            error, key = worst(tmp_path, name, f"{store}-single-{ranks}", expected)
            assert error < 1e-4, f"{name} in {store}: {key} differs by {error:.1e}"


@pytest.mark.parametrize("store", ["do", "h5"])
def test_stores_agree_in_one_process(tmp_path, store):
    for name in names(tmp_path):
        expected, found = alone(name, "double", "torch"), solved(name, tmp_path, store=store)
        for key, array in expected.items():
            assert relative_error(found[key], array) < 1e-10, f"{name}: {key}"


@pytest.mark.parametrize("name", ["all-cone-moving", "terms-volume"])
def test_many_blocks_in_single_precision(tmp_path, name):
    """Poses and positions whose first steps are far too long."""
    found = solved(name, tmp_path, precision="single", store="h5", object_memory=20e3)
    for key, array in alone(name, "single", "torch").items():
        assert relative_error(found[key], array) < 1e-4, key
