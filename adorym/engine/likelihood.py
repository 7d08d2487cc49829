"""The loss of a run whose settings name none."""

from __future__ import annotations

import copy

from adorym.comm import Communicator
from adorym.data.counting import Counting, counting
from adorym.data.dataset import Dataset
from adorym.losses.base import Loss
from adorym.losses.counting import LeastSquares, Poisson

# Mean photons in a pixel above which both losses give the same picture.
BRIGHT = 1000.0
# Share of a uniform background above which it spoils the picture that Poisson's likelihood gives.
BACKGROUND = 1e-4


def loss_of(loss: Loss | None, dataset: Dataset, comm: Communicator) -> Loss:
    """``loss`` or the usual one, with the saturation of the data where it states none of its own.

    The square root of a count is neither unbiased nor of constant variance where a pixel counts few photons, and
    Poisson's likelihood gives the better picture there. It trusts dark pixels, though, and with a background that no
    model explains the square root is the better one. It also leads farther from a poor start, and only a scan's overlap
    makes a good one: Poisson's likelihood is chosen for scans that count few photons without a background.
    """
    chosen = _usual(dataset, comm) if loss is None else loss
    if chosen.saturation is not None or dataset.saturation_counts is None:
        return chosen
    made = copy.copy(chosen)
    object.__setattr__(made, "saturation", dataset.saturation_counts)  # also of losses that have no such setting
    return made


def _usual(dataset: Dataset, comm: Communicator) -> Loss:
    if dataset.probe_positions_px is None:
        return LeastSquares()
    found = comm.broadcast(counting(dataset) if comm.is_root else None, "look how many photons are counted")
    return Poisson() if _few_photons(found) else LeastSquares()


def _few_photons(found: Counting) -> bool:
    """Whether the values count few photons, with hardly any background."""
    return found.photons_a_pixel is not None and found.photons_a_pixel < BRIGHT and found.background < BACKGROUND
