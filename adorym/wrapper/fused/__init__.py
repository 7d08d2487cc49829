"""Operations with hand-written adjoints: one NumPy-level core each, adapted to every backend by `Backend.fused`.

Every operation here has a plain counterpart written with `Backend` functions; tests hold the two equal.

The compiled loops (`strips` and the modules whose names end in `kernels`) are imported at their first use: it takes a
while.
"""

from importlib import import_module
from typing import Any

_COMPILED = {"kernels", "ray_kernels", "hologram_kernels", "exit_wave_kernels", "misfit_kernels", "strips"}


def __getattr__(name: str) -> Any:
    if name not in _COMPILED:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return import_module(f"{__name__}.{name}")
