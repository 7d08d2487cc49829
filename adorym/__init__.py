"""Adorym: X-ray and electron image reconstruction by automatic differentiation.

The names below are imported when they are first used, so that ``import adorym`` and ``adorym --help`` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adorym._version import __version__

_HOME = {
    "Config": "adorym.config",
    "load_config": "adorym.config",
    "prepare": "adorym.api",
    "reconstruct": "adorym.api",
    "outcome": "adorym.engine.outcome",
    "Reconstruction": "adorym.engine.loop",
    "Dataset": "adorym.data.dataset",
    "open_dataset": "adorym.data.open",
    "Result": "adorym.data.result",
    "read_result": "adorym.data.result",
    "write_result": "adorym.data.result",
    "ForwardModel": "adorym.forward.base",
    "Parameter": "adorym.parameters",
    "ParameterSettings": "adorym.parameters",
    "register": "adorym.registry",
    "get_backend": "adorym.wrapper",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'adorym' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
