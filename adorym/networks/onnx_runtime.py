"""The network's convolutions in onnxruntime, on a CPU somewhat faster than in torch.

The physics between the passes stays as it is; each pass is a graph of its own.
"""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from adorym.networks.ptycho_nn import CHANNELS, Core, PtychoNetwork


def is_installed() -> bool:
    """Whether the optional packages onnx and onnxruntime are there (``pip install 'adorym[onnx]'``)."""
    return find_spec("onnx") is not None and find_spec("onnxruntime") is not None


def exported(network: PtychoNetwork) -> list[bytes]:
    """The graph of each pass, ``(n, 8, y, x)`` float32 -> ``(n, 3, y, x)``, n free."""
    graphs, example = [], torch.zeros(1, CHANNELS, network.size, network.size)
    for branch in network.branches:
        made = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces another exporter, which needs another package
            torch.onnx.export(
                branch, (example,), cast(Any, made), dynamo=False, input_names=["given"], output_names=["answer"],
                dynamic_axes={"given": {0: "n"}, "answer": {0: "n"}},
            )  # fmt: skip
        graphs.append(made.getvalue())
    return graphs


def onnx_core(network: PtychoNetwork, threads: int = 1) -> Core:
    """What runs the convolutions of ``network``, which is on the CPU, in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait in a loop slow everything else down on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = [onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"]) for graph in exported(network)]

    def core(number: int, given: Tensor) -> Tensor:
        return torch.from_numpy(sessions[number].run(None, {"given": given.contiguous().numpy()})[0])

    return core
