"""A chain of runs to each of which something happens ends where an unbroken run does."""

from __future__ import annotations

import numpy as np
import pytest
from chaos import EPOCHS, RUN, fault_of, finish, harm, link, prepare, result_of, saved_epoch, start
from laws import relative_error

LINKS = 5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_chain_of_accidents(tmp_path, seed):
    rng, whole, chain = np.random.default_rng(seed), tmp_path / "whole", tmp_path / "chain"
    for folder in (whole, chain):
        folder.mkdir()
        prepare(folder)
    unbroken = finish(start(RUN, whole), whole)
    assert unbroken.status == 0, unbroken.err
    for _ in range(LINKS):
        before = saved_epoch(chain)
        if rng.random() < 0.3 and harm(chain, rng):
            before = max(0, before - 1)
        what, ended = link(chain, rng, unbroken.seconds)
        assert not fault_of(what, ended), (what, ended)
        assert saved_epoch(chain) >= before, (what, ended)
    last = finish(start([*RUN, *(["--resume"] if saved_epoch(chain) else [])], chain), chain)
    assert last.status == 0, last.err
    expected, found = result_of(whole), result_of(chain)
    assert len(found["loss"]) == EPOCHS
    for name, array in expected.items():
        assert relative_error(found[name], array) < 1e-6, name  # files hold single precision
