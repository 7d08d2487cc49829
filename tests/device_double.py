"""A device that is none: torch on the CPU, behind a guard that keeps NumPy off its arrays.

What would fail on a GPU fails here, on any machine: NumPy may not look into an array, nor take part in an operation.
The only ways out are `Backend.to_numpy` and plain numbers (``float(a)``); each crossing is counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import adorym
from adorym.wrapper.base import Array
from adorym.wrapper.host_operation import HostOperation
from adorym.wrapper.torch_backend import TorchBackend

# Operations whose result the host has to know before it can go on: numbers, truths, shapes that depend on values.
WAITS = (
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2", "bincount"),
    *("_linalg_check_errors", "repeat_interleave.Tensor"),
)
PACKAGE = adorym.__file__.removesuffix("__init__.py")
INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}  # takes arrays of the host on any device


class DeviceArray(torch.Tensor):
    """A tensor that NumPy may not touch."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = (*args, *(kwargs or {}).values())
        if func not in INDEXING and any(isinstance(a, np.ndarray) and a.ndim for a in given):
            raise TypeError("an array of the host takes part in an operation of the device")
        return super().__torch_function__(func, types, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("NumPy looks into an array of the device")

    numpy = __array__

    def cpu(self) -> torch.Tensor:
        _note("copies to the host")
        return self.as_subclass(torch.Tensor)

    def tolist(self) -> Any:
        _note("copies to the host")
        return super().tolist()


class Traffic(TorchDispatchMode):
    """While it is entered, notes where arrays are copied to the host and where the host waits for a device.

    Attributes:
        seen: What happened, and the line of the package that asked for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __enter__(self) -> Traffic:
        _noting.append(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _noting.remove(self)
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = str(func).removeprefix("aten.")
        by_truth = name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple)
        if name.startswith(WAITS) or (by_truth and any(a is not None and a.dtype == torch.bool for a in args[1])):
            _note(f"waits ({name})")
        return func(*args, **(kwargs or {}))


_noting: list[Traffic] = []


def _note(what: str) -> None:
    """Say ``what`` happens, and which line of the package asked for it, to whoever listens."""
    if not _noting:
        return
    frame: Any = sys._getframe(1)
    lines = []
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE) and "/wrapper/" not in path:
            lines.append(f"{path.removeprefix(PACKAGE)}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    for each in _noting:
        each.seen.append(f"{what} in {lines[0] if lines else 'a test'}")


class DeviceDouble(TorchBackend):
    """Torch with arrays that are not the host's.

    Attributes:
        crossings: How often an array has been copied to the host.
    """

    name = "device double"

    def __init__(self, device: str = "auto", precision: str = "single", **others: Any) -> None:
        super().__init__("cpu", precision, **others)
        self.on_host, self.crossings = False, 0

    def asarray(self, a: Any, *, exact: bool = False) -> DeviceArray:
        made = super().asarray(a, exact=exact)
        # A device has a memory of its own.
        return made if isinstance(made, DeviceArray) else made.clone().as_subclass(DeviceArray)

    def to_numpy(self, a: Array) -> np.ndarray:
        self.crossings += isinstance(a, torch.Tensor)
        return super().to_numpy(a).copy()

    def zeros(self, shape: Any, *, complex_values: bool = False) -> DeviceArray:
        return super().zeros(shape, complex_values=complex_values).as_subclass(DeviceArray)

    def host_operation(self, operation: HostOperation, *arrays: Array) -> DeviceArray:
        return super().host_operation(operation, *arrays).as_subclass(DeviceArray)

    def checkpoint(self, f: Callable[..., Array], *arrays: Array) -> DeviceArray:
        return super().checkpoint(f, *arrays).as_subclass(DeviceArray)
