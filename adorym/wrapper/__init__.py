"""Automatic-differentiation backends behind one interface; only the one in use is imported."""

from __future__ import annotations

from importlib import import_module

from adorym.errors import BackendError, suggestion
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
        name: ``"torch"`` or ``"autograd"``.
        device: ``"auto"``, ``"cpu"`` or, with torch, ``"cuda[:index]"``.
        precision: ``"single"`` (float32, complex64) or ``"double"`` (float64, complex128).
        threads: CPU threads; ``None`` leaves the library's choice.
        local_rank: Number of this process among those on the same machine: where no GPU is named, they take turns.

    Raises:
        BackendError: Unknown name, precision or device.
    """
    if name not in BACKENDS:
        raise BackendError("run.backend", f"no backend named '{name}'", remedy=suggestion(name, BACKENDS))
    if precision not in PRECISIONS:
        raise BackendError("run.precision", "unknown precision", expected="single or double", found=repr(precision))
    module, cls = BACKENDS[name].split(":")
    return getattr(import_module(module), cls)(
        device=device, precision=precision, threads=threads, local_rank=local_rank
    )


__all__ = ["BACKENDS", "Backend", "get_backend"]
