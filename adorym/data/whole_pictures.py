"""Pictures of the whole field with holes: values that are no numbers are interpolated, stuck pixels masked.

A diffraction pattern cannot be interpolated, a picture of a sample can. Filters, phase retrieval and back-projection
need whole pictures, and a few pixels are no reason to lose one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.data.line_integrals import filled
from adorym.data.patterns import MaskedPatterns, WrappedPatterns

FEW = 8  # of so few pictures a pixel may hold the same number in all
STUCK, APART, MOST = 1e-6, 0.02, 0.05  # relative changes of a stuck pixel and difference from others; their share
SHOWN = 5


@dataclass(frozen=True)
class WithoutHoles(WrappedPatterns):
    """Pictures whose values that are not finite are interpolated between the nearest ones of the same picture."""

    def read(self, index: np.ndarray) -> np.ndarray:
        frames = self.base.read(index)
        good = np.isfinite(frames)
        for k in np.flatnonzero(~good.all(axis=(1, 2))):
            frames[k] = filled(frames[k : k + 1], good[k : k + 1])[0]
        return frames


def shows_the_field(dataset: Dataset) -> bool:
    """Whether the patterns are pictures: projections or holograms, not diffraction and not a scan."""
    known = dataset.open_beam_counts is not None or dataset.propagation_distance_m is not None
    return known and dataset.probe_positions_px is None


def without_holes(dataset: Dataset, not_finite: np.ndarray) -> Dataset:
    """The data set with the values interpolated that are not finite.

    Args:
        dataset: Pictures of the whole field.
        not_finite: ``(n,)`` number of such values in each; one without any number left is not repaired.
    """
    size = int(np.prod(dataset.window_px))
    holed = np.flatnonzero(not_finite)
    if not len(holed) or (not_finite == size).any() or not shows_the_field(dataset):
        return dataset
    numbers = ", ".join(map(str, dataset.pattern_numbers[holed[:SHOWN]])) + (", ..." if len(holed) > SHOWN else "")
    said = (
        f"counts: {int(not_finite.sum())} that are not finite (NaN or infinite), in pictures {numbers}, are "
        "interpolated; data.bad_counts: drop_patterns leaves those pictures out"
    )
    return replace(dataset, patterns=WithoutHoles(dataset.patterns), doubts=(*dataset.doubts, said))


def without_stuck_pixels(dataset: Dataset, mean: np.ndarray, maximum: np.ndarray) -> Dataset:
    """The data set with pixels masked that hold the same number in all pictures, unless many do.

    Args:
        dataset: Pictures of the whole field.
        mean: ``(y, x)`` mean over all pictures.
        maximum: ``(y, x)`` largest number in any.
    """
    if dataset.n_patterns < FEW or not shows_the_field(dataset):
        return dataset
    around = scipy.ndimage.median_filter(mean, (1, 7), mode="nearest")  # air without noise is no stuck pixel
    stuck = (np.abs(maximum - mean) <= STUCK * np.abs(maximum)) & (np.abs(mean - around) > APART * np.abs(around))
    if dataset.mask is not None:
        stuck &= dataset.mask if dataset.mask.ndim == 2 else dataset.mask.any(axis=0)
    if not stuck.any() or stuck.mean() > MOST:
        return dataset
    places = ", ".join(f"({y}, {x})" for y, x in np.argwhere(stuck)[:SHOWN]) + (", ..." if stuck.sum() > SHOWN else "")
    said = f"pixels: {int(stuck.sum())} hold the same number in all pictures and are masked: (y, x) {places}"
    good = ~stuck if dataset.mask is None else dataset.mask & ~stuck
    return replace(dataset, patterns=MaskedPatterns(dataset.patterns, good), mask=good, doubts=(*dataset.doubts, said))
