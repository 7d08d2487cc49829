"""What a picture is drawn from, and what it is when it is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.field_of_view import FieldOfView, field_of_view
from adorym.data.result import Result
from adorym.report.score import Score


@dataclass(frozen=True, eq=False)
class Scene:
    """All that the pictures show: the result, the part of it the data saw, the data and a score where there are any."""

    result: Result
    view: FieldOfView
    dataset: Dataset | None = None
    score: Score | None = None

    @property
    def positions_px(self) -> np.ndarray | None:
        """``(n, 2)`` refined probe positions, else those of the data set."""
        return _positions(self.result, self.dataset)

    @property
    def pixel_x_m(self) -> float | None:
        """Pixel size along x, for scale bars."""
        return None if self.result.pixel_size_m is None else self.result.pixel_size_m[1]


def scene(result: Result, dataset: Dataset | None = None, score: Score | None = None) -> Scene:
    """The `Scene` of ``result``: finds out which part of the object was seen."""
    return Scene(result, field_of_view(result, _positions(result, dataset)), dataset, score)


def _positions(result: Result, dataset: Dataset | None) -> np.ndarray | None:
    refined = result.parameters.get("probe_positions")
    if refined is not None and refined.value.ndim == 2 and refined.value.shape[1] == 2:
        return refined.value
    return None if dataset is None else dataset.probe_positions_px


@dataclass(frozen=True)
class Picture:
    """A drawn picture.

    Attributes:
        name: File name without ending.
        title: Heading.
        caption: What it shows and what it says, in a sentence or two.
        png: The file's bytes.
        width_px: Width of the picture.
    """

    name: str
    title: str
    caption: str
    png: bytes
    width_px: int
