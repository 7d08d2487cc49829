"""Patterns on a finer grid than the detector's, for beams that are wider than the window of its pixels.

Every measured pixel becomes a block of u x u. All of them show its counts, but only the first is valid: prediction and
measurement are compared once for each measured pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from adorym.data.dataset import Dataset, Patterns


@dataclass(frozen=True)
class UpsampledPatterns:
    """Every pixel of ``source`` as a block of ``factor`` x ``factor`` with its counts, divided by ``share``."""

    source: Patterns
    factor: int
    share: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        n, ny, nx = self.source.shape
        return n, ny * self.factor, nx * self.factor

    def read(self, index: np.ndarray) -> np.ndarray:
        made = repeated(self.source.read(index), self.factor)
        return made if self.share == 1 else made / self.share


def repeated(pictures: np.ndarray, factor: int) -> np.ndarray:
    """``(..., y, x)`` with every pixel as a block."""
    return np.repeat(np.repeat(pictures, factor, axis=-2), factor, axis=-1)


def upsampled(dataset: Dataset, factor: int) -> Dataset:
    """``dataset`` with a detector whose pixels are ``factor`` times smaller, and a window as much larger.

    The pixel of the object stays what it is. A start probe is continued with zeros.
    """
    ny, nx = (n * factor for n in dataset.window_px)
    first = np.zeros((ny, nx), bool)
    first[::factor, ::factor] = True
    mask, weights, probe, pitch = dataset.mask, dataset.weights, dataset.start_probe, dataset.detector_pixel_size_m
    if probe is not None and probe.shape[-2:] == dataset.window_px:
        room = [((n - k) // 2, n - k - (n - k) // 2) for n, k in zip((ny, nx), dataset.window_px, strict=True)]
        probe = np.pad(probe, [(0, 0)] * (probe.ndim - 2) + room)
    return dataset.with_(
        patterns=UpsampledPatterns(dataset.patterns, factor),
        mask=first if mask is None else first & repeated(mask, factor),
        weights=weights if weights is None or weights.shape[-1] == 1 else repeated(weights, factor),
        start_probe=probe,
        detector_pixel_size_m=None if pitch is None else (pitch[0] / factor, pitch[1] / factor),
        notes=(*dataset.notes, f"upsampled: every pixel of the detector is a block of {factor} x {factor}"),
    )


def as_measured(patterns: np.ndarray, dataset: Dataset) -> np.ndarray:
    """``patterns`` ``(..., y, x)`` in the pixels of the detector, where those of ``dataset`` are finer."""
    given = dataset.patterns
    return patterns[..., :: given.factor, :: given.factor] if isinstance(given, UpsampledPatterns) else patterns


def spread(dataset: Dataset) -> Dataset:
    """``dataset`` with the counts of every measured pixel spread evenly over its block, all of it valid.

    What looks at patterns without a model, such as the search for a start probe, takes them so.
    """
    given, mask = dataset.patterns, dataset.mask
    if not isinstance(given, UpsampledPatterns) or mask is None:
        return dataset
    factor = given.factor
    share = factor if dataset.measured == "amplitude" else factor**2
    valid = repeated(mask[..., ::factor, ::factor], factor)
    return dataset.with_(patterns=replace(given, share=share), mask=None if valid.all() else valid)
