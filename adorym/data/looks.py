"""A reconstruction, thinned out for looking at it while it goes on, or when it is too large."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as _replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from adorym.data.field_of_view import FieldOfView, Scanned, field_of_view

R = TypeVar("R", bound=Scanned)
# Pixels of a slice, voxels of the object, elements of any other array, at most.
PIXELS, VOXELS, ELEMENTS = 1 << 18, 1 << 19, 1 << 18
VOLUME = 16  # an object of more slices is a volume, thinned out along z as well
POINTS = 1000  # of a curve


@dataclass(frozen=True, eq=False)
class Look(Generic[R]):
    """A reconstruction, thinned out for looking at it.

    Attributes:
        result: Every ``step``-th pixel of the object; positions and origin count pixels of the whole object. Of other
            large arrays every n-th row.
        step: (y, x, z) pixels of the whole object per pixel of this one.
        probe_step: The same for y and x of the probe.
    """

    result: R
    step: tuple[int, int, int] = (1, 1, 1)
    probe_step: int = 1

    @cached_property
    def view(self) -> FieldOfView:
        """The part of the thinned object that the data saw."""
        result, positions = self.result, self.result.parameters.get("probe_positions")
        if result.probe is None or positions is None or positions.value.ndim != 2:
            return field_of_view(changed(result, parameters={}))
        step = np.array(self.step[:2])
        y, x = (
            np.arange(0, n, max(1, every)).astype(int)
            for n, every in zip(result.probe.shape[1:], step / self.probe_step, strict=True)
        )
        small = changed(
            result,
            probe=result.probe[:, y[:, None], x],
            origin_px=tuple((np.array(result.origin_px) // step).tolist()),
            parameters={"probe_positions": changed(positions, value=positions.value / step)},
        )
        return field_of_view(small)


def changed(record: Any, **changes: Any) -> Any:
    """A dataclass of any type with other values."""
    return _replace(record, **changes)


def strides(shape: tuple[int, int, int], pixels: int = PIXELS, voxels: int = VOXELS) -> tuple[int, int, int]:
    """(y, x, z) steps that leave an object of ``shape`` at most so many pixels per slice, and voxels in all."""
    y, x, z = shape
    volume, step = z > VOLUME, 1
    while (
        _count(y, step) * _count(x, step) > pixels
        or math.prod((_count(y, step), _count(x, step), _count(z, step if volume else 1))) > voxels
    ):
        step += 1
    return step, step, step if volume else 1


def _count(n: int, step: int) -> int:
    return -(-n // step)


def look(result: R, step: tuple[int, int, int]) -> Look[R]:
    """A look at ``result``, whose object has been thinned by ``step`` already."""
    probe, probe_step = result.probe, 1
    if probe is not None:
        while probe[:, ::probe_step, ::probe_step].size > ELEMENTS:
            probe_step += 1
        probe = np.ascontiguousarray(probe[:, ::probe_step, ::probe_step])
    parameters = {name: _thinned_rows(each) for name, each in result.parameters.items()}
    return Look(changed(result, probe=probe, parameters=parameters), step, probe_step)


def look_at(result: R, pixels: int = PIXELS, voxels: int = VOXELS) -> Look[R]:
    """A look at a whole ``result``, also at one whose object is still in its file."""
    step = strides(result.object.shape[:3], pixels, voxels)
    obj = np.ascontiguousarray(result.object[:: step[0], :: step[1], :: step[2]])
    return look(changed(result, object=obj), step)


def _thinned_rows(parameter: Any) -> Any:
    every = -(-parameter.value.size // ELEMENTS)
    if every <= 1 or parameter.value.ndim == 0:
        return parameter
    start = parameter.start
    return changed(parameter, value=parameter.value[::every], start=None if start is None else start[::every])


# -- curves ----------------------------------------------------------------------------------------------------------
def curve(x: ArrayLike, y: ArrayLike, unit: str = "") -> dict[str, Any]:
    """A curve as plain data: at most `POINTS` points, the smallest and largest of every bin; gaps are ``None``."""
    points = np.stack([np.ravel(np.asarray(values, float)) for values in (x, y)])
    if points.shape[1] > POINTS:
        points = points[:, _extremes(points[1])]
    over, along = ([_plain(v) for v in values] for values in points.tolist())
    return {"x": over, "y": along, "unit": unit}


def _extremes(y: np.ndarray) -> np.ndarray:
    """Indices of the smallest and largest value of each bin, and of the ends."""
    size = -(-len(y) // (POINTS // 2 - 1))
    n = len(y) // size
    bins, first = y[: n * size].reshape(n, size), np.arange(n) * size
    low, high = (first + pick for pick in (np.argmin(bins, 1), np.argmax(bins, 1)))
    return np.unique(np.concatenate([[0, len(y) - 1], low, high]))


def curves_of(history: Mapping[str, np.ndarray], units: Mapping[str, str]) -> dict[str, Any]:
    """The curves of a run's history over its epochs."""
    epochs = history.get("epoch", ())
    shown = {name: y for name, y in history.items() if name != "epoch" and np.shape(y) == np.shape(epochs)}
    return {name: curve(epochs, y, units.get(name, "s" if name == "time_s" else "")) for name, y in shown.items()}


def _plain(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None
