"""Automatic-differentiation backends behind one interface; only the one in use is imported."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from adorym.errors import BackendError, suggestion
from adorym.extension import user_code
from adorym.registry import lookup, names
from adorym.wrapper.base import Backend

BACKENDS = {
    "torch": "adorym.wrapper.torch_backend:TorchBackend",
    "autograd": "adorym.wrapper.autograd_backend:AutogradBackend",
    "jax": "adorym.wrapper.jax_backend:JaxBackend",
}
PRECISIONS = ("single", "double")


def get_backend(
    name: str = "torch",
    *,
    device: str = "auto",
    precision: str = "single",
    threads: int | None = None,
    local_rank: int = 0,
) -> Backend:
    """The backend called ``name``.

    Args:
        name: ``"torch"`` or ``"autograd"``, that of a plug-in, or ``path/to/file.py:ClassName``.
        device: ``"auto"``, ``"cpu"`` or, with torch, ``"cuda[:index]"``.
        precision: ``"single"`` (float32, complex64) or ``"double"`` (float64, complex128).
        threads: CPU threads; ``None`` leaves the library's choice.
        local_rank: Number of this process among those on the same machine: where no GPU is named, they take turns.

    Raises:
        BackendError: Unknown name, precision or device.
    """
    if precision not in PRECISIONS:
        raise BackendError("run.precision", "unknown precision", expected="single or double", found=repr(precision))
    cls = _class(name)
    with user_code(cls, method="__init__"):
        return cls(device=device, precision=precision, threads=threads, local_rank=local_rank)


def _class(name: str) -> Callable[..., Backend]:
    """The class of a backend, imported now."""
    if name in BACKENDS:
        module, cls = BACKENDS[name].split(":")
        return getattr(import_module(module), cls)
    if ".py:" not in name and name not in names("backend"):
        known = [*BACKENDS, *names("backend")]
        raise BackendError("run.backend", f"no backend named '{name}'", remedy=suggestion(name, known))
    return lookup("backend", name, "run.backend")


__all__ = ["BACKENDS", "Backend", "get_backend"]
