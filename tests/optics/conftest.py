"""Backends and random arrays for the optics tests."""

import numpy as np
import pytest

from adorym.wrapper import get_backend

BACKENDS = [(name, precision) for name in ("torch", "autograd") for precision in ("single", "double")]


@pytest.fixture(params=BACKENDS, ids="-".join)
def xp(request):
    name, precision = request.param
    return get_backend(name, device="cpu", precision=precision, threads=1)


@pytest.fixture(params=["torch", "autograd"])
def xp64(request):
    return get_backend(request.param, device="cpu", precision="double", threads=1)


@pytest.fixture
def tolerance(xp):
    """Relative error that rounding explains."""
    return 2e-5 if xp.precision == "single" else 1e-11


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def waves(rng):
    """``waves(shape)``: complex noise."""
    return lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)
