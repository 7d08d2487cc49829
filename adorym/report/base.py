"""What a picture is drawn from, and what it is when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.field_of_view import FieldOfView, field_of_view
from adorym.data.result import Result
from adorym.report.score import Score


@dataclass(frozen=True, eq=False)
class Scene:
    """All that the pictures show: the result, and the data and a score where there are any."""

    result: Result
    dataset: Dataset | None = None
    score: Score | None = None

    @cached_property
    def view(self) -> FieldOfView:
        """The part of the object that the data saw."""
        return field_of_view(self.result, self.positions_px)

    @property
    def positions_px(self) -> np.ndarray | None:
        """``(n, 2)`` refined probe positions, else those of the data set."""
        refined = self.result.parameters.get("probe_positions")
        if refined is not None and refined.value.ndim == 2 and refined.value.shape[1] == 2:
            return refined.value
        return None if self.dataset is None else self.dataset.probe_positions_px

    @property
    def pixel_x_m(self) -> float | None:
        """Pixel size along x, for scale bars."""
        return None if self.result.pixel_size_m is None else self.result.pixel_size_m[1]


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
