"""Adorym: X-ray and electron image reconstruction by automatic differentiation.

The names below are imported when they are first used, so that ``import adorym`` and ``adorym --help`` stay quick;
`__init__.pyi` tells them to editors and type checkers.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from adorym._version import __version__

# Threads that spin while they wait for each other stand still as soon as another process takes a core. OpenMP reads
# this when it is loaded, so that it has to be said before torch is imported; a user's own choice stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOME = {
    "Backend": "adorym.wrapper.base",
    "BatchProgress": "adorym.engine.records",
    "Callback": "adorym.callbacks.base",
    "Config": "adorym.config",
    "Constraint": "adorym.constraints.base",
    "Dataset": "adorym.data.dataset",
    "EpochRecord": "adorym.engine.records",
    "ForwardModel": "adorym.forward.base",
    "Initializer": "adorym.forward.object",
    "Loss": "adorym.losses.base",
    "Optimizer": "adorym.optimizers.base",
    "Parameter": "adorym.parameters",
    "ParameterSettings": "adorym.parameters",
    "Raw": "adorym.data.readers.base",
    "Reader": "adorym.data.readers.base",
    "Reconstruction": "adorym.engine.loop",
    "Regularizer": "adorym.regularizers.base",
    "Result": "adorym.data.result",
    "RunInfo": "adorym.callbacks.base",
    "Solver": "adorym.solvers.base",
    "Watch": "adorym.watch.widget",
    "get_backend": "adorym.wrapper",
    "load_config": "adorym.config",
    "open_dataset": "adorym.data.open",
    "outcome": "adorym.engine.outcome",
    "prepare": "adorym.api",
    "read_result": "adorym.data.result",
    "reconstruct": "adorym.api",
    "register": "adorym.registry",
    "write_result": "adorym.data.result",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'adorym' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
