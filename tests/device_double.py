"""A device that is none: torch on the CPU, behind a guard that keeps NumPy off its arrays.

What would fail on a GPU fails here, on any machine: NumPy may not look into an array, nor take part in an operation.
The only ways out are `Backend.to_numpy` and plain numbers (``float(a)``); each crossing is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from adorym.wrapper.base import Array, HostOperation
from adorym.wrapper.torch_backend import TorchBackend

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
        return self.as_subclass(torch.Tensor)


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
