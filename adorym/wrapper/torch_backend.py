"""PyTorch on CPU and CUDA. Torch's gradient already follows the convention ``dL/dRe + i dL/dIm``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd import forward_ad

from adorym.errors import BackendError
from adorym.wrapper import windows as host_windows
from adorym.wrapper.base import Array, Axis, Backend, FusedCore, Tree
from adorym.wrapper.host_operation import HostOperation
from adorym.wrapper.memory import HostMemory, keep_freed_memory

_REAL = {"single": torch.float32, "double": torch.float64}
_COMPLEX = {"single": torch.complex64, "double": torch.complex128}


class _Fused(torch.autograd.Function):
    """A NumPy-level core with hand-written adjoints as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, core: FusedCore, box: list, *tensors: torch.Tensor) -> torch.Tensor:
        value, gradients, aux = core(*(t.detach().resolve_conj().contiguous().numpy() for t in tensors))
        ctx.gradients = gradients
        box.append(aux)
        real = torch.float64 if any(t.dtype in (torch.float64, torch.complex128) for t in tensors) else torch.float32
        return torch.tensor(value, dtype=real)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple:
        factor = upstream.item()
        made = (None if g is None else torch.from_numpy(g) for g in ctx.gradients)
        return (None, None, *(g if g is None or factor == 1.0 else g * factor for g in made))


class _Checkpoint(torch.autograd.Function):
    """A pure function of tensors as one node of the graph, which keeps its inputs and nothing else."""

    @staticmethod
    def forward(ctx: Any, f: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
        ctx.f = f
        ctx.save_for_backward(*tensors)
        return f(*tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple:
        wanted = ctx.needs_input_grad[1:]
        inputs = [t.detach().requires_grad_(w) for t, w in zip(ctx.saved_tensors, wanted, strict=True)]
        with torch.enable_grad():
            value = ctx.f(*inputs)
        found = iter(torch.autograd.grad(value, [t for t in inputs if t.requires_grad], upstream, allow_unused=True))
        return (None, *(next(found) if w else None for w in wanted))


def _on_host(t: torch.Tensor) -> np.ndarray:
    return t.detach().resolve_conj().contiguous().cpu().numpy()


class _HostOperation(torch.autograd.Function):
    """An operation on NumPy arrays as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, operation: HostOperation, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.operation = operation
        ctx.save_for_backward(*tensors)
        return torch.from_numpy(operation.forward(*map(_on_host, tensors))).to(tensors[0].device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        found = ctx.operation.adjoint(_on_host(upstream), tuple(map(_on_host, tensors)), tuple(wanted))
        return (None, *(None if g is None else torch.from_numpy(g).to(upstream.device) for g in found))


class _Direct(NamedTuple):
    """Value of a fused operation whose gradients are there already, and by which tensors they are."""

    value: torch.Tensor
    inputs: tuple[torch.Tensor, ...]
    gradients: tuple


class DeviceMemory(HostMemory):
    """The memory of a CUDA device, as torch's allocator takes it."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    @property
    def tells(self) -> bool:
        return True

    def used(self) -> int:
        return int(torch.cuda.memory_reserved(self._device))

    def peak(self) -> int:
        return int(torch.cuda.max_memory_reserved(self._device))

    def give_back(self) -> None:
        torch.cuda.empty_cache()

    def restart(self) -> None:
        self.give_back()
        torch.cuda.reset_peak_memory_stats(self._device)


class TorchBackend(Backend):
    """PyTorch as the array and gradient engine.

    Args:
        device: ``"auto"`` (CUDA when there is one), ``"cpu"`` or ``"cuda[:index]"``.
        precision: ``"single"`` or ``"double"``.
        threads: Threads of torch's operations on the CPU; ``None`` leaves them as they are.
        local_rank: Number of this process on its machine: processes take turns at the GPUs where none is named.

    Raises:
        BackendError: The device does not exist.
    """

    name = "torch"
    library = torch

    def __init__(
        self, device: str = "auto", precision: str = "single", threads: int | None = None, local_rank: int = 0
    ) -> None:
        super().__init__(device, precision, threads, local_rank)
        self._real, self._complex = _REAL[precision], _COMPLEX[precision]
        self._direct: list[_Direct] | None = None  # what `fused` made without a graph; `None` if it must make one
        if threads is not None:
            torch.set_num_threads(threads)
        if self.on_host:
            keep_freed_memory()
        if self.device.startswith("cuda"):
            self.memory = DeviceMemory(self.device)

    def _find_device(self, device: str, local_rank: int) -> str:
        if device in ("auto", "cuda") and torch.cuda.is_available():
            several = torch.cuda.device_count() > 1
            return f"cuda:{local_rank % torch.cuda.device_count()}" if several else "cuda"
        if device == "auto":
            return "cpu"
        try:
            kind = torch.device(device).type
        except RuntimeError:
            kind = ""
        if kind == "cpu" or (kind == "cuda" and torch.cuda.is_available()):
            return device
        found = "no CUDA device on this machine" if kind == "cuda" else repr(device)
        raise BackendError(
            "run.device", "no such device", expected="auto, cpu or cuda", found=found, remedy="use 'auto'"
        )

    @property
    def exchange_device(self) -> tuple[str | None, str | None]:
        if not self.device.startswith("cuda"):
            return None if self.on_host else self.device, None
        index = torch.device(self.device).index
        index = torch.cuda.current_device() if index is None else index
        return f"cuda:{index}", str(torch.cuda.get_device_properties(index).uuid)

    def asarray(self, a: Any, *, exact: bool = False) -> torch.Tensor:
        if not isinstance(a, torch.Tensor):
            a = np.asarray(a)
            # Torch knows neither negative strides nor memory that must not be written to.
            usable = a.flags.writeable and all(s >= 0 for s in a.strides)
            a = torch.from_numpy(a if usable else a.copy())
        if exact:
            return a.to(self.device)
        if a.is_complex():
            return a.to(self.device, self._complex)
        return a.to(self.device, self._real) if a.is_floating_point() else a.to(self.device)

    def staged(self, a: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(a)).pin_memory() if self.device.startswith("cuda") else a

    def fetched(self, staged: Any) -> torch.Tensor:
        if not isinstance(staged, torch.Tensor):
            return self.asarray(staged)
        return staged.to(self.device, self._real, non_blocking=True)

    def to_numpy(self, a: Array) -> np.ndarray:
        return a.detach().resolve_conj().cpu().numpy() if isinstance(a, torch.Tensor) else np.asarray(a)

    def zeros(self, shape: Sequence[int], *, complex_values: bool = False) -> torch.Tensor:
        return torch.zeros(tuple(shape), dtype=self._complex if complex_values else self._real, device=self.device)

    def zeros_like(self, a: Array) -> torch.Tensor:
        return torch.zeros_like(a, memory_format=torch.contiguous_format)

    def clear(self, a: Array) -> torch.Tensor:
        return a.zero_()

    def copy(self, a: Array) -> torch.Tensor:
        return a.detach().clone()

    def complex(self, re: Array, im: Array) -> torch.Tensor:
        return torch.complex(*torch.broadcast_tensors(re, im))

    def is_complex(self, a: Array) -> bool:
        return bool(a.is_complex())

    def max(self, a: Array, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
        return torch.amax(a, () if axis is None else axis, keepdims)

    def min(self, a: Array, axis: Axis = None, keepdims: bool = False) -> torch.Tensor:
        return torch.amin(a, () if axis is None else axis, keepdims)

    def maximum(self, a: Array, b: Array | float) -> torch.Tensor:
        return torch.maximum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, min=b)

    def minimum(self, a: Array, b: Array | float) -> torch.Tensor:
        return torch.minimum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, max=b)

    def unstack(self, a: Array, axis: int = 0) -> tuple[torch.Tensor, ...]:
        return torch.movedim(a, axis, 0).contiguous().unbind(0)

    def take(self, a: Array, index: Any, axis: int = 0) -> torch.Tensor:
        return torch.index_select(a, axis, self._index(index))

    def pad(self, a: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> torch.Tensor:
        flat = [w for pair in reversed(list(widths)) for w in pair]
        return torch.nn.functional.pad(a, flat, value=value)

    def as_index(self, a: Array) -> torch.Tensor:
        return a.detach().long()

    def add_rows(self, a: Array, place: Any, rows: Array) -> torch.Tensor:
        return a.index_add_(0, self._index(place), rows)

    def sum_rows(self, rows: Array, place: Any, n: int) -> torch.Tensor:
        return self.add_rows(rows.new_zeros((n, *rows.shape[1:])), place, rows)

    def solve(self, a: Array, b: Array) -> torch.Tensor:
        return torch.linalg.solve_ex(a, b).result  # the checks of the ordinary one wait for a device

    def scalar(self, a: Array) -> Array:
        # Losses are added up over an epoch: in double precision, as on the host.
        return float(a) if self.on_host else a.detach().to(torch.float64)

    def _index(self, index: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(index) if not isinstance(index, torch.Tensor) else index, device=self.device)

    def put_rows(self, a: Array, index: np.ndarray | slice, rows: Array) -> torch.Tensor:
        a[index if isinstance(index, slice) else self._index(index)] = rows.to(a.dtype)
        return a

    def _window_index(self, corners: np.ndarray, window: Sequence[int], width: int) -> torch.Tensor:
        c = torch.as_tensor(corners, device=self.device)
        y = c[:, 0, None] + torch.arange(window[0], device=self.device)
        x = c[:, 1, None] + torch.arange(window[1], device=self.device)
        return y[:, :, None] * width + x[:, None, :]

    def gather_windows(self, a: Array, corners: np.ndarray, window: tuple[int, int]) -> torch.Tensor:
        if self.on_host:
            return torch.from_numpy(host_windows.gather(a.numpy(), corners, window))
        index = self._window_index(corners, window, a.shape[1])
        return a.reshape(-1, *a.shape[2:])[index]

    def scatter_windows(self, a: Array, corners: np.ndarray, windows: Array) -> torch.Tensor:
        if self.on_host:
            host_windows.scatter_add(a.numpy(), corners, windows.resolve_conj().contiguous().numpy())
            return a
        index = self._window_index(corners, windows.shape[1:3], a.shape[1])
        windows = windows.expand(len(corners), *windows.shape[1:])
        return a.view(-1, *a.shape[2:]).index_put_((index,), windows, accumulate=True).view(a.shape)

    def value_and_grad(self, f: Callable[[Tree], tuple[Array, Any]]) -> Callable[[Tree], tuple[Any, Any, Tree]]:
        def call(tree: Tree) -> tuple[Any, Any, Tree]:
            leaves = {k: v.detach().requires_grad_() for k, v in tree.items()}
            value, aux, direct = self._evaluate(f, leaves)
            if direct is not None:
                known = {id(a): g for a, g in zip(direct.inputs, direct.gradients, strict=True) if g is not None}
                found = {k: known.get(id(v)) for k, v in leaves.items()}
                zeros = {k: torch.zeros_like(leaves[k]) for k, g in found.items() if g is None}
                return float(value), aux, {k: zeros[k] if g is None else torch.from_numpy(g) for k, g in found.items()}
            if not leaves or not value.requires_grad:
                return self.scalar(value), aux, {k: torch.zeros_like(v) for k, v in leaves.items()}
            gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
            pairs = zip(leaves.items(), gradients, strict=True)
            found = {k: torch.zeros_like(v) if g is None else g.resolve_conj() for (k, v), g in pairs}
            return self.scalar(value.detach()), aux, found

        return call

    def jvp(self, f: Callable[[Tree], Array], tree: Tree, tangent: Tree) -> tuple[Array, Array]:
        names = list(tree)

        # Dual tensors, not those of `torch.func`: a model may look at their values.
        with torch.no_grad(), warnings.catch_warnings(), forward_ad.dual_level():
            # The first forward derivative makes torch load rules that it compiles in a way it calls deprecated.
            warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
            along = {n: tangent[n].detach().to(tree[n].dtype) for n in names}
            self._forward = True
            try:
                found = f({n: forward_ad.make_dual(tree[n].detach(), along[n]) for n in names})
            finally:
                self._forward = False
            value, change = forward_ad.unpack_dual(found)
            return value, torch.zeros_like(value) if change is None else change

    def stop_gradient(self, a: Array) -> torch.Tensor:
        return a.detach()

    def _evaluate(self, f: Callable[[Tree], tuple[Array, Any]], leaves: Tree) -> tuple[Array, Any, _Direct | None]:
        """Value and auxiliary output of ``f``, and its gradients if it is one fused operation on the leaves themselves.

        The graph of a single node would cost as much as a small operation. A value that was made without a graph and
        then worked on is made again, with one.
        """
        outer, self._direct = self._direct, []
        try:
            value, aux = f(leaves)
            found = self._direct
        finally:
            self._direct = outer
        if not found:
            return value, aux, None
        if len(found) == 1 and value is found[0].value:
            return value, aux, found[0]
        outer, self._direct = self._direct, None
        try:
            return *f(leaves), None
        finally:
            self._direct = outer

    def fused(self, core: FusedCore, *arrays: Array) -> tuple[Array, Any]:
        needed = [a for a in arrays if a.requires_grad]
        if self._direct is not None and all(a.is_leaf for a in needed) and len({id(a) for a in needed}) == len(needed):
            value, gradients, aux = core(*(a.detach().resolve_conj().contiguous().numpy() for a in arrays))
            made = torch.from_numpy(np.asarray(value, np.float64))  # many times as fast as `torch.tensor`
            self._direct.append(_Direct(made, arrays, gradients))
            return made, aux
        box: list = []
        value = _Fused.apply(core, box, *arrays)
        return value, box[0]

    def checkpoint(self, f: Callable[..., Array], *arrays: Array) -> torch.Tensor:
        return f(*arrays) if self._forward else _Checkpoint.apply(f, *arrays)

    def host_operation(self, operation: HostOperation, *arrays: Array) -> torch.Tensor:
        if not self._forward:
            return _HostOperation.apply(operation, *arrays)
        duals = [forward_ad.unpack_dual(a) for a in arrays]
        values = tuple(_on_host(d.primal) for d in duals)
        along = tuple(_on_host(torch.zeros_like(d.primal) if d.tangent is None else d.tangent) for d in duals)
        made = (operation.forward(*values), operation.tangent(values, along))
        return forward_ad.make_dual(*(self.asarray(a, exact=True) for a in made))

    def wait(self) -> None:
        if not self.on_host:
            torch.cuda.synchronize(self.device)

    @property
    def workers(self) -> int:
        return torch.get_num_threads()
