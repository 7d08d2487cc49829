"""Several phasing results of one pattern: their ranking, agreement, and mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from adorym.initializers.phasing_run import Phased
from adorym.metrics.crystal import match
from adorym.metrics.shells import TransferFunction, transfer_function

Ranking = Literal["chi2", "sharpness", "volume"]


@dataclass(frozen=True, eq=False)
class Ranked:
    """Starts in order, the best first, each aligned to the best.

    Attributes:
        objects: ``(n, z, y, x)`` complex.
        chi2: ``(n,)`` misfit.
        voxels: ``(n,)`` voxels of the support.
        overlap: ``(n,)`` complex overlap with the best, 1 for the best itself.
        transfer: Phase retrieval transfer function of all of them.
    """

    objects: np.ndarray
    chi2: np.ndarray
    voxels: np.ndarray
    overlap: np.ndarray
    transfer: TransferFunction


def ranked(phased: Phased, modulus: np.ndarray, good: np.ndarray | None, by: Ranking = "chi2") -> Ranked:
    """The starts in order.

    Args:
        phased: Results of the phasing.
        modulus: Measured modulus, zero frequency at the middle.
        good: Bool, measured voxels.
        by: ``chi2``: smallest misfit; ``sharpness``: smallest sum of the fourth power of the amplitude, the most even
            crystal; ``volume``: largest support.
    """
    voxels = phased.supports.sum(axis=(1, 2, 3))
    amplitude = np.abs(phased.objects)
    measures = {
        "chi2": phased.chi2,
        "sharpness": (amplitude**4).sum(axis=(1, 2, 3)) / (amplitude**2).sum(axis=(1, 2, 3)) ** 2,
        "volume": -voxels,
    }
    order = np.argsort(measures[by], kind="stable")
    best = phased.objects[order[0]]
    objects, overlap = [best], [1.0]
    for i in order[1:]:
        laid = match(phased.objects[i], best)
        objects.append(laid.aligned)
        overlap.append(laid.overlap)
    stacked = np.stack(objects)
    return Ranked(
        stacked, phased.chi2[order], voxels[order], np.array(overlap), transfer_function(stacked, modulus, good)
    )


def bred(objects: np.ndarray, n: int) -> list[np.ndarray]:
    """The better half of ``objects`` ``(n, z, y, x)``, the best first and all laid upon it, and what pairs of it give.

    The amplitude of a pair is the geometric mean of both, its phase the middle of theirs. At most n.
    """
    parents = list(objects[: max(2, len(objects) // 2)])
    return [*parents, *(_combined(a, b) for a, b in combinations(parents, 2))][:n]


def _combined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = np.exp(1j * np.angle(a)) + np.exp(1j * np.angle(b))
    return np.asarray(np.sqrt(np.abs(a * b)) * np.exp(1j * np.angle(both)))
