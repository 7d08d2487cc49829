"""Where the patterns come from that a network for ptychography is trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class GroupBatch:
    """Groups of neighboring patterns, zero frequency at the corner.

    Attributes:
        counts: ``(b, c, y, x)`` float32.
        probe: ``(b, c, m, y, x)`` complex64 of power 1, with the sub-pixel part of each position.
        corners_px: ``(b, c, 2)`` int64 corners of the windows, each group from 0.
        photons: ``(b, 1, 1, 1)`` float32, photons of the beam.
        unseen: ``(b, c, y, x)`` float32 counts of the same exposures with noise of their own, which a network learns
            from; ``None`` if there are no others than ``counts``.
        truth: ``(b, c, y, x)`` complex64 true patches, for figures and not for the loss; ``None`` if measured.
        good: ``(y, x)`` or ``(b, 1, y, x)`` bool of valid pixels, ``None`` if all are.
    """

    counts: np.ndarray
    probe: np.ndarray
    corners_px: np.ndarray
    photons: np.ndarray
    unseen: np.ndarray | None = None
    truth: np.ndarray | None = None
    good: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.counts)


class PatternSource(ABC):
    """Makes or reads batches of groups.

    Attributes:
        length: Groups in an epoch.
    """

    length: int

    @abstractmethod
    def batch(self, number: tuple[int, ...], size: int) -> GroupBatch:
        """``size`` groups; the same for the same ``number``, such as epoch, step and rank."""
