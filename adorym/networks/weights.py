"""Weights as safetensors files: a length, a JSON header, and the numbers. No code in them, and no library needed.

Format: https://huggingface.co/docs/safetensors (8-byte little-endian header length, JSON, raw little-endian arrays).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from adorym.data.atomic import whole_file
from adorym.errors import DataError
from adorym.networks.cdi_nn import CdiNetwork
from adorym.networks.ptycho_nn import PtychoNetwork

SHIPPED = {"cdi_nn": "cdi_nn.safetensors", "ptycho_nn": "ptycho_nn.safetensors"}
N = TypeVar("N", bound=nn.Module)
_TYPES: dict[str, np.dtype] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def write_safetensors(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Path:
    """Write ``arrays`` and text ``metadata``; a reader sees the old file or the whole new one."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset, parts = 0, []
    for name, array in arrays.items():
        stored = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        end = offset + stored.nbytes
        header[name] = {"dtype": _NAMES[stored.dtype], "shape": list(stored.shape), "data_offsets": [offset, end]}
        parts.append(stored.tobytes())
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    with whole_file(path) as partial:
        Path(partial).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    return path


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """``(arrays, metadata)`` of a safetensors file.

    Raises:
        DataError: No such file, or it is not a safetensors file, or it is cut off.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), "no such file", expected="weights as safetensors")
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        header: dict[str, Any] = json.loads(content[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(content)[8 + length :]
        arrays: dict[str, np.ndarray] = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            if stop > len(body):
                raise ValueError(f"'{name}' ends beyond the end of the file")
            arrays[name] = np.frombuffer(bytes(body[start:stop]), _TYPES[entry["dtype"]]).reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DataError(str(path), "not a safetensors file, or a damaged one", found=str(error)) from error
    return arrays, metadata


def save_network(
    network: CdiNetwork | PtychoNetwork, path: str | Path, card: Mapping[str, str], half: bool = True
) -> Path:
    """Write the weights of ``network`` with the model ``card``; in half precision unless told otherwise."""
    dtype = np.float16 if half else np.float32
    arrays = {name: p.detach().cpu().numpy().astype(dtype) for name, p in network.state_dict().items()}
    made_as = (
        {"model": "cdi_nn", "width": json.dumps(network.width), "power": str(network.power)}
        if isinstance(network, CdiNetwork)
        else {
            "model": "ptycho_nn",
            "built": json.dumps(network.built),
        }
    )
    return write_safetensors(path, arrays, {**card, **made_as})


def load_network(path: str | Path | None = None, device: str = "cpu") -> tuple[CdiNetwork, dict[str, str]]:
    """``(network, model card)`` from a file of a ``cdi_nn``; the weights that the package brings if ``path`` is absent.

    Raises:
        DataError: The file cannot be read, or holds the weights of another network.
    """
    return _loaded(
        weights_path("cdi_nn", path),
        "cdi_nn",
        device,
        lambda card: CdiNetwork(tuple(json.loads(card["width"])), power=float(card["power"])),
    )


def load_ptycho_network(path: str | Path | None = None, device: str = "cpu") -> tuple[PtychoNetwork, dict[str, str]]:
    """``(network, model card)`` from a file of a ``ptycho_nn``; the weights that the package brings if it is absent.

    Raises:
        DataError: The file cannot be read, or holds the weights of another network.
    """
    place = weights_path("ptycho_nn", path)
    return _loaded(place, "ptycho_nn", device, lambda card: PtychoNetwork(*json.loads(card["built"])))


def weights_path(kind: str, path: str | Path | None) -> Path:
    """``path``, or the file of the weights of a ``kind`` of network that the package brings."""
    if path is not None:
        return Path(path).expanduser()
    return Path(str(resources.files("adorym.networks").joinpath(SHIPPED[kind])))


def _loaded(place: Path, kind: str, device: str, make: Callable[[dict[str, str]], N]) -> tuple[N, dict[str, str]]:
    arrays, card = read_safetensors(place)
    try:
        network = make(card)
        network.load_state_dict({name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        remedy = f"train them with 'adorym train {kind}', or leave 'weights' out for the ones that are shipped"
        raise DataError(
            str(place), f"not the weights of a {kind} network", found=str(error).splitlines()[0], remedy=remedy
        ) from error
    return network.to(device).eval(), card
