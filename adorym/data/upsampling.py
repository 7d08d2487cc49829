"""Patterns on a finer grid than the detector's, for beams that are wider than the window of its pixels.

Every measured pixel becomes a block of u x u. All of them show its counts, but only the first is valid: prediction and
measurement are compared once for each measured pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.data.dataset import Dataset, Patterns


@dataclass(frozen=True)
class UpsampledPatterns:
    """Every pixel of ``source`` as a block of ``factor`` x ``factor`` with its counts."""

    source: Patterns
    factor: int

    @property
    def shape(self) -> tuple[int, int, int]:
        n, ny, nx = self.source.shape
        return n, ny * self.factor, nx * self.factor

    def read(self, index: np.ndarray) -> np.ndarray:
        return _repeated(self.source.read(index), self.factor)


@dataclass(frozen=True)
class SpreadPatterns:
    """``source`` over ``share``, with the zero frequency in the middle of its block."""

    source: Patterns
    factor: int
    share: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    def read(self, index: np.ndarray) -> np.ndarray:
        return _centered(self.source.read(index) / self.share, self.factor)


def _repeated(pictures: np.ndarray, factor: int) -> np.ndarray:
    return np.repeat(np.repeat(pictures, factor, axis=-2), factor, axis=-1)


def _centered(pictures: np.ndarray, factor: int) -> np.ndarray:
    """Moved back by `off_zero_px`: where that is half a pixel, the mean of two."""
    for axis, off in zip((-2, -1), off_zero_px(pictures.shape, factor)[0], strict=True):
        low, high = (np.roll(pictures, -int(edge(off)), axis) for edge in (np.floor, np.ceil))
        pictures = (low + high) / 2
    return pictures


def upsampled(dataset: Dataset, factor: int) -> Dataset:
    """``dataset`` with a detector whose pixels are ``factor`` times smaller, and a window as much larger.

    The pixel of the object and the middles of the windows stay where they are: positions become those of the corners
    of the larger windows. A start probe is continued with zeros.
    """
    if factor == 1 or dataset.upsampling == factor:
        return dataset
    (ny, nx), window = (n * factor for n in dataset.window_px), dataset.window_px
    first = np.zeros((ny, nx), bool)
    first[::factor, ::factor] = True
    room = np.array([(n - k) // 2 for n, k in zip((ny, nx), window, strict=True)])
    mask, weights, probe, pitch = dataset.mask, dataset.weights, dataset.start_probe, dataset.detector_pixel_size_m
    positions = dataset.probe_positions_px
    if probe is not None and probe.shape[-2:] == window:
        around = [(r, n - k - r) for r, n, k in zip(room.tolist(), (ny, nx), window, strict=True)]
        probe = np.pad(probe, [(0, 0)] * (probe.ndim - 2) + around)
    return dataset.with_(
        patterns=UpsampledPatterns(dataset.patterns, factor),
        upsampling=factor,
        probe_positions_px=None if positions is None else positions - room,
        mask=first if mask is None else first & _repeated(mask, factor),
        weights=weights if weights is None or weights.shape[-1] == 1 else _repeated(weights, factor),
        start_probe=probe,
        detector_pixel_size_m=None if pitch is None else (pitch[0] / factor, pitch[1] / factor),
        notes=(*dataset.notes, f"upsampled: every pixel of the detector is a block of {factor} x {factor}"),
    )


def off_zero_px(window_px: tuple[int, ...], factor: int) -> np.ndarray:
    """``(1, 2)`` (y, x) from the zero frequency of a window to the middle of the measured pixel that holds it."""
    middle = [factor * (n // factor // 2) + (factor - 1) / 2 - n // 2 for n in window_px[-2:]]
    return np.array([middle])


def as_measured(patterns: np.ndarray, dataset: Dataset) -> np.ndarray:
    """``patterns`` ``(..., y, x)`` in the pixels of the detector, where those of ``dataset`` are finer."""
    step = dataset.upsampling
    return patterns if step == 1 else patterns[..., ::step, ::step]


def spread(dataset: Dataset) -> Dataset:
    """``dataset`` with the counts of every measured pixel spread evenly over its block, all of it valid.

    What looks at patterns without a model, such as the search for a start probe, takes them so. Blocks are moved to
    where the model has the middle of their pixel.
    """
    factor, mask = dataset.upsampling, dataset.mask
    if factor == 1 or mask is None:
        return dataset
    share = factor if dataset.measured == "amplitude" else factor**2
    valid = _centered(_repeated(mask[..., ::factor, ::factor], factor).astype(float), factor) == 1
    patterns = SpreadPatterns(dataset.patterns, factor, share)
    return dataset.with_(patterns=patterns, mask=None if valid.all() else valid)
