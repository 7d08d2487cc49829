"""The loss of a run whose settings name none."""

from __future__ import annotations

import copy
from typing import Any

from adorym.comm import Communicator
from adorym.data.counting import Counting, counting
from adorym.engine.recipe import Recipe
from adorym.errors import InputError
from adorym.forward.base import BoundModel
from adorym.losses.base import Loss
from adorym.losses.counting import LeastSquares, Poisson

# Mean photons in a pixel above which both losses give much the same picture.
BRIGHT = 50.0
# Share of a uniform background above which it spoils the picture that Poisson's likelihood gives.
BACKGROUND = 5e-4


def loss_of(recipe: Recipe, bound: BoundModel[Any], comm: Communicator) -> tuple[Loss, str]:
    """The loss of ``recipe`` or the usual one, and a line about why it is Poisson's; with the data's saturation.

    The square root of a count is neither unbiased nor of constant variance where a pixel counts few photons, and
    Poisson's likelihood gives the better picture there: with 1e5 photons in a pattern of 64 x 64 pixels a fifth of the
    error less. It trusts dark pixels, though, and with a background that no model explains the square root is the
    better one; and the square root is better conditioned: for solvers, for wrong positions, and for everything that has
    no overlap to start from. A data set that grows has too few patterns to tell.
    """
    dataset, words = bound.dataset, ""
    chosen = recipe.loss
    if chosen is None:
        found = _counting(recipe, bound, comm)
        few = found.photons_a_pixel is not None and found.photons_a_pixel < BRIGHT and found.background < BACKGROUND
        chosen = Poisson() if few else LeastSquares()
        words = f"usual loss: poisson, {found.photons_a_pixel:.3g} photons a pixel without a background" if few else ""
    if chosen.saturation is not None or dataset.saturation_counts is None:
        return chosen, words
    made = copy.copy(chosen)
    object.__setattr__(made, "saturation", dataset.saturation_counts)  # also of losses that have no such setting
    return made, words


def _counting(recipe: Recipe, bound: BoundModel[Any], comm: Communicator) -> Counting:
    """How many photons are counted; not known where the square root is better in any case."""
    dataset, specs = bound.dataset, bound.model.refinable
    moving = any(each.refine and specs[name].window_relative for name, each in bound.settings.items())
    if recipe.solver is not None or dataset.probe_positions_px is None or dataset.growing or moving:
        return Counting(None, "")
    found: Counting | InputError | None = None
    if comm.is_root:
        try:
            found = counting(dataset)
        except InputError as error:
            found = error
    found = comm.broadcast(found, "look how many photons are counted")
    if isinstance(found, InputError):
        raise found
    assert found is not None  # the root has counted
    return found
