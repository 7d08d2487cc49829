"""The backends that laws are run on: those of the package, CUDA where there is one, and a device that is none.

`make_backend` skips the test where the library of a backend is not installed.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from device_double import DeviceDouble

from adorym.wrapper import BACKENDS, get_backend
from adorym.wrapper.base import Backend

DOUBLE = "device double"
NAMES = (*BACKENDS, DOUBLE, *(["cuda"] if torch.cuda.is_available() else []))
PRECISIONS = ("single", "double")

_JAX_IS_ABSENT = importlib.util.find_spec("jax") is None
NEEDS_JAX = pytest.mark.skipif(_JAX_IS_ABSENT, reason="jax is not installed")


def make_backend(name: str, precision: str = "double") -> Backend:
    """The backend called ``name``, one of `NAMES`."""
    if name == "jax" and _JAX_IS_ABSENT:
        pytest.skip("jax is not installed")
    if name == DOUBLE:
        return DeviceDouble(precision=precision)
    if name == "cuda":
        return get_backend("torch", device="cuda", precision=precision)
    return get_backend(name, device="cpu", precision=precision)
