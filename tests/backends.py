"""The backends that laws are run on: those of the package, CUDA where there is one, and a device that is none.

`BACKEND_PARAMS` are their names for ``pytest.mark.parametrize``, good for ``run.backend``; `make_backend` makes one.
Where the library of a backend is not installed, the test is skipped.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch

from adorym.wrapper import BACKENDS, get_backend
from adorym.wrapper.base import Backend

PRECISIONS = ("single", "double")
DOUBLE = "device double"
BACKENDS[DOUBLE] = "device_double:DeviceDouble"  # chosen by name like any other
NAMES = (*BACKENDS, *(["cuda"] if torch.cuda.is_available() else []))

_JAX_IS_ABSENT = importlib.util.find_spec("jax") is None
NEEDS_JAX = pytest.mark.skipif(_JAX_IS_ABSENT, reason="jax is not installed")
BACKEND_PARAMS = [pytest.param(name, marks=NEEDS_JAX if name == "jax" else ()) for name in BACKENDS]


def make_backend(name: str, precision: str = "double") -> Backend:
    """The backend called ``name``, one of `NAMES`."""
    if name == "jax" and _JAX_IS_ABSENT:
        pytest.skip("jax is not installed")
    if name == "cuda":
        return get_backend("torch", device="cuda", precision=precision)
    return get_backend(name, device="cpu", precision=precision)
