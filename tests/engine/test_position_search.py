"""A search for positions that are wrong by several pixels, beside an object and a probe that are known."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_scan import Scan

from adorym.config import config_from
from adorym.engine.loop import Reconstruction
from adorym.engine.recipe import Recipe
from adorym.engine.search import PositionSearch
from adorym.engine.settings import RunSettings
from adorym.engine.step import apply_update
from adorym.errors import ConfigErrors, InputError
from adorym.forward.object import ObjectSettings
from adorym.forward.ptychography import Ptychography
from adorym.forward.thin import PositionSettings
from adorym.losses.counting import LeastSquares
from adorym.solvers.memory import LBFGS
from adorym.updates.base import State

SCAN = Scan(grid=(6, 7), photons=1e5)
WRONG = np.zeros((SCAN.n, 2))
WRONG[[8, 17, 30]] = [[4.2, -3.1], [-3.4, 4.4], [3.8, 3.2]]


def made(epochs=40, search="5 px", solver=None, start=0, **run):
    base = {"precision": "double", "backend": "torch", "device": "cpu", "threads": 1, "epochs": epochs}
    data = SCAN.dataset(start_probe=SCAN.probe(), probe_positions_px=SCAN.positions + WRONG)
    settings = {
        "object": ObjectSettings(margin_px=8),
        "probe_positions": PositionSettings(search=search, tries=12, start=start),
    }
    recipe = Recipe(Ptychography(), settings, LeastSquares(), solver=solver)
    return Reconstruction(data, recipe, RunSettings(**base | run))


def searched(run, epochs):
    """Positions after the search, with the true object and probe in place."""
    problem = run.problem
    obj = SCAN.object_array(problem.store.shape, problem.bound.origin_px)
    problem.store.restore(obj.astype(np.complex128), problem.store.state())
    problem.values["probe"].array = problem.xp.asarray(SCAN.probe(), exact=True)
    (search,) = (each for each in problem.bound.updates if isinstance(each, PositionSearch))
    for epoch in range(epochs):
        if search.due(epoch, 40):
            state = State(epoch, 40, problem.present(), {"probe_positions": 1.0}, problem.store.values)
            apply_update(problem, search, state)
    return problem.present()["probe_positions"]


@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_positions_are_found_that_are_far_away(backend):
    error = np.abs(searched(made(backend=backend), 40) - SCAN.positions).max(1)
    assert error[[8, 17, 30]].max() < 1.0
    assert error.max() < 1.0


@pytest.mark.parametrize("store", ["do", "h5"])
def test_every_store_finds_the_same(store, tmp_path):
    scratch = {"scratch": str(tmp_path)} if store == "h5" else {}
    np.testing.assert_allclose(searched(made(store=store, **scratch), 12), searched(made(), 12), atol=1e-9)


def test_it_ends_and_stays_near_the_recorded_positions():
    run = made()
    (search,) = (each for each in run.problem.bound.updates if isinstance(each, PositionSearch))
    assert [epoch for epoch in range(40) if search.due(epoch, 40)] == list(range(8, 24))
    found = searched(run, 12)
    assert np.abs(found - SCAN.positions - WRONG).max() <= 5.0
    assert not (found == SCAN.positions + WRONG).all()


def test_a_run_searches_and_goes_on_as_if_it_had_not_stopped():
    one, two = made(epochs=10), made(epochs=10)
    list(one.epochs())
    for _ in range(10):
        list(two.epochs(1))
    for run in (one, two):
        assert any(isinstance(each, PositionSearch) for each in run.problem.bound.updates)
    np.testing.assert_array_equal(one.problem.present()["probe_positions"], two.problem.present()["probe_positions"])


def test_what_it_cannot_be_combined_with():
    with pytest.raises(
        InputError, match=r"search: a solver, 'lbfgs', updates all parameters together; leave out 'solver'"
    ):
        made(solver=LBFGS())
    with pytest.raises(
        InputError, match=r"search: ends with 0\.6 of the epochs, before positions are refined; .* raise"
    ):
        made(epochs=20, start=15)
    given = {"data": "a.h5", "forward_model": "ptychography"}
    for positions, match in (
        ({"search": "0 px"}, r"positions\.search: the distance must be positive"),
        ({"tries": 3}, r"positions\.tries: has no effect without a search; give 'search'"),
        ({"search": "100 nm", "refine": False}, r"positions\.search: has no effect: positions are not refined"),
    ):
        with pytest.raises(ConfigErrors, match=match):
            config_from({**given, "parameters": {"probe_positions": positions}})
    made_of = config_from({**given, "parameters": {"probe_positions": {"search": "100 nm", "tries": 4}}})
    assert made_of.parameters["probe_positions"].tries == 4
