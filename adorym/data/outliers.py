"""Patterns of a scan that fall out: taken with the shutter closed, by a detector gone wild, or damaged.

A scan's patterns legitimately differ in brightness: an object absorbs, its surroundings do not. Such patterns still
look like the beam, and their neighbors in the scan are like them. One that falls out is nearly empty and does not look
like the beam, or is far brighter than all around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.data.gaps import sample_of
from adorym.data.selection import shown_numbers

FEWEST_PATTERNS = 8
# More than this fraction of the patterns does not fall out: something else is the matter.
LARGEST_SHARE = 0.2
NEIGHBORS = 12
# The beam: the smallest part of the detector with this fraction of the counts.
BEAM_SHARE = 0.8
# How much more than its share of the area the beam must hold to tell patterns from background.
TELLING = 0.2
# A pattern is unlike the others where it has less than this fraction of their excess in the beam.
UNLIKE = 0.3
DARK, EMPTY, DARK_IMAGE = 0.1, 1e-3, 0.02
BRIGHT, BRIGHT_UNLIKE = 10.0, 3.0
UNREADABLE = 0.5


def beam_region(dataset: Dataset) -> np.ndarray:
    """``(y, x)`` bool, where most of the counts of the patterns are; each of a sample of them counts the same."""
    mean = np.zeros(dataset.window_px)
    mask = dataset.mask if dataset.mask is None or dataset.mask.ndim == 2 else dataset.mask.any(axis=0)
    for frames in sample_of(dataset.patterns):
        counts = np.where(np.isfinite(frames), np.maximum(frames, 0), 0) * (1 if mask is None else mask)
        total = counts.sum(axis=(1, 2), dtype=np.float64)
        mean += np.einsum("nyx,n->yx", counts, 1 / np.maximum(total, 1))
    order = np.argsort(mean, axis=None)[::-1]
    share = np.cumsum(mean.ravel()[order]) / max(float(mean.sum()), np.finfo(float).tiny)
    region = np.zeros(mean.size, bool)
    region[order[: int(np.searchsorted(share, BEAM_SHARE)) + 1]] = True
    return region.reshape(mean.shape)


def outliers(
    dataset: Dataset, pattern_sum: np.ndarray, in_beam: np.ndarray, bad_share: np.ndarray, area: float
) -> dict[str, np.ndarray]:
    """Indices of the patterns that fall out, by what is wrong with them; empty where that cannot be told.

    Args:
        dataset: A scan.
        pattern_sum: ``(n,)`` counts of each pattern.
        in_beam: ``(n,)`` counts in the `beam_region`.
        bad_share: ``(n,)`` fraction of the pixels that hold no count.
        area: Fraction of the pixels in that region.
    """
    positions = dataset.probe_positions_px
    found: dict[str, list[int]] = {}
    if positions is None:
        return {}
    for angle in np.unique(dataset.angle_index):
        here = np.flatnonzero(dataset.angle_index == angle)
        if len(here) >= FEWEST_PATTERNS:
            kinds = _of_scan(positions[here], pattern_sum[here], in_beam[here], bad_share[here], area)
            for kind, which in kinds:
                found.setdefault(kind, []).extend(here[which])
    return {kind: np.array(which) for kind, which in found.items() if which}


def _of_scan(
    positions: np.ndarray, total: np.ndarray, in_beam: np.ndarray, bad_share: np.ndarray, area: float
) -> Iterator[tuple[str, np.ndarray]]:
    unreadable = bad_share > UNREADABLE
    yield "unreadable", unreadable
    usable = ~unreadable & (total > 0)
    yield "empty", ~unreadable & (total <= 0)
    if usable.sum() < FEWEST_PATTERNS:
        return
    share = in_beam / np.maximum(total, 1e-30)
    typical, median = float(np.median(share[usable])), float(np.median(total[usable]))
    tells = typical - area > TELLING
    unlike = usable & tells & (share < area + UNLIKE * (typical - area))
    yield "dark", usable & ((unlike & (total < DARK * median)) | (total < (EMPTY if tells else DARK_IMAGE) * median))
    _, near = scipy.spatial.cKDTree(positions).query(positions, k=min(NEIGHBORS, len(positions) - 1) + 1)
    around = np.sort(np.where(usable, total, 0)[near[:, 1:]], axis=1)[:, -3]  # a second bright one does not hide it
    reference = np.maximum(around, median)
    yield "far too bright", usable & ((total > BRIGHT * reference) | (unlike & (total > BRIGHT_UNLIKE * reference)))


def in_words(found: Mapping[str, np.ndarray], numbers: np.ndarray) -> str:
    """``40 to 43 (dark), 90 (far too bright)``, by the patterns' ``numbers`` in the file."""
    return ", ".join(f"{shown_numbers(numbers[which])} ({kind})" for kind, which in found.items())
