"""The loss of a run whose settings name none."""

from __future__ import annotations

import copy
from typing import Any

from adorym.comm import Communicator
from adorym.data.counting import Counting, counting
from adorym.engine.recipe import Recipe
from adorym.forward.base import BoundModel
from adorym.losses.base import Loss
from adorym.losses.counting import LeastSquares, Poisson

# Mean photons in a pixel above which both losses give much the same picture.
BRIGHT = 50.0
# Share of a uniform background above which it spoils the picture that Poisson's likelihood gives.
BACKGROUND = 1e-4


def loss_of(recipe: Recipe, bound: BoundModel[Any], comm: Communicator) -> Loss:
    """The loss of ``recipe`` or the usual one, with the saturation of the data where it states none of its own.

    The square root of a count is neither unbiased nor of constant variance where a pixel counts few photons, and
    Poisson's likelihood gives the better picture there: with 1e5 photons in a pattern of 64 x 64 pixels a fifth of the
    error less. It trusts dark pixels, though, and with a background that no model explains the square root is the
    better one; and the square root is better conditioned: for solvers, for wrong positions, and for everything that has
    no overlap to start from.
    """
    dataset = bound.dataset
    chosen = _usual(recipe, bound, comm) if recipe.loss is None else recipe.loss
    if chosen.saturation is not None or dataset.saturation_counts is None:
        return chosen
    made = copy.copy(chosen)
    object.__setattr__(made, "saturation", dataset.saturation_counts)  # also of losses that have no such setting
    return made


def _usual(recipe: Recipe, bound: BoundModel[Any], comm: Communicator) -> Loss:
    scanned, specs = bound.dataset.probe_positions_px is not None, bound.model.refinable
    moving = any(each.refine and specs[name].window_relative for name, each in bound.settings.items())
    if recipe.solver is not None or not scanned or moving:
        return LeastSquares()
    found = comm.broadcast(counting(bound.dataset) if comm.is_root else None, "look how many photons are counted")
    return Poisson() if _few_photons(found) else LeastSquares()


def _few_photons(found: Counting) -> bool:
    """Whether the values count few photons, with hardly any background."""
    return found.photons_a_pixel is not None and found.photons_a_pixel < BRIGHT and found.background < BACKGROUND
