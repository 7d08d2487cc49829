r"""Several scans of one object, each with a probe of its own.

The probe then has one more axis, ``(scans, modes, y, x)``, and a pattern uses the entry of its scan. For an operation
that takes one probe a batch is a batch of each scan, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.data.patterns import blocks
from adorym.data.selection import choose
from adorym.losses.base import Loss
from adorym.parameters import OBJECT, Parameter
from adorym.wrapper.base import Array, Backend

PROBE = "probe"
Objective = Callable[..., tuple[Array, dict[str, Array]]]


def pattern_counts(dataset: Dataset) -> np.ndarray:
    """``(n,)`` counts of each pattern in pixels that are good in all of them."""
    good = None if dataset.mask is None else dataset.mask.reshape(-1, *dataset.window_px).all(0)
    found = np.zeros(dataset.n_patterns)
    for start, frames in blocks(dataset.patterns):
        frames = frames if dataset.measured == "intensity" else frames**2
        frames = frames if good is None else np.where(good, frames, 0)
        found[start : start + len(frames)] = frames.sum((1, 2), dtype=np.float64)
    return np.maximum(found, 0.0)


def rows_of_scans(dataset: Dataset) -> tuple[np.ndarray, ...]:
    """The patterns of each scan."""
    return tuple(np.flatnonzero(dataset.angle_index == scan) for scan in range(dataset.n_angles))


def each_scan(dataset: Dataset) -> Iterator[Dataset]:
    """The patterns of each scan, with its own start probe."""
    for scan, rows in enumerate(rows_of_scans(dataset)):
        probe = dataset.start_probe
        probe = probe if probe is None or probe.ndim == 3 else probe[scan]
        yield choose(dataset.with_(start_probe=probe), rows, "")


def scan_by_scan(
    objective: Objective,
    specs: Mapping[str, Parameter],
    inputs: tuple[Backend, Array, Mapping[str, Array]],
    batch: Batch[Any],
    loss: Loss,
    request: Any,
) -> tuple[Array, dict[str, Array]]:
    """``(weighted loss, curvatures)`` of a batch whose scans have their own probes, as `ForwardModel.objective`.

    Args:
        objective: That of the model for patterns of one scan.
        specs: Declarations of the parameters.
        inputs: Backend, object windows, and parameters.
        batch: Patterns of any scans.
        loss: The loss.
        request: What is asked for (`adorym.forward.base.Request`).
    """
    xp, obj, params = inputs
    total: Any = 0.0
    found: list[tuple[int, np.ndarray, dict[str, Array]]] = []
    for scan in np.unique(batch.angles):
        rows = np.flatnonzero(batch.angles == scan)
        own = {name: a if specs[name].per == "run" else xp.take(a, rows) for name, a in params.items()}
        own[PROBE] = params[PROBE][int(scan)]
        value, curvatures = objective(xp, xp.take(obj, rows), own, batch.part(rows), loss, request)
        total = total + value
        found.append((int(scan), rows, curvatures))
    order = np.argsort(np.concatenate([rows for _, rows, _ in found]))
    joined = {}
    for name in found[0][2]:
        each = [(scan, rows, xp.asarray(curvatures[name], exact=True)) for scan, rows, curvatures in found]
        if name == PROBE:
            joined[name] = _by_probe(xp, each, params[PROBE].shape[0])
        elif name == OBJECT or specs[name].per != "run":
            whole = [xp.broadcast_to(c, (len(rows), *c.shape[1:])) for _, rows, c in each]
            joined[name] = xp.take(xp.concat(whole), order)
        else:
            joined[name] = sum(c for _, _, c in each)
    return total, joined


def _by_probe(xp: Backend, each: Sequence[tuple[int, np.ndarray, Array]], scans: int) -> Array:
    """Curvature of the probes of all scans; zero for those that the batch lacks."""
    known = {scan: curvature for scan, _, curvature in each}
    blank = 0.0 * each[0][2]
    return xp.stack([known.get(scan, blank) for scan in range(scans)])
