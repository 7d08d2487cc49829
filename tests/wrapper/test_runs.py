"""Law 1 across backends: a run ends the same on each of them, on a device as on the host."""

from __future__ import annotations

import pytest
from backends import BACKEND_PARAMS
from laws import assert_same_trajectory
from tiny_runs import calm, exact, finished, tiny


@pytest.mark.parametrize("backend", BACKEND_PARAMS)
def test_a_run_ends_the_same_on_every_backend(backend):
    assert_same_trajectory([finished(tiny(exact(), calm(), backend=b), 3) for b in ("autograd", backend)], 1e-10)
