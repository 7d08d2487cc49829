"""The guard of a run: shorter steps while they are too long, an end where nothing helps, and the best state until then.

All limits are relative. A loss is dimensionless (a misfit per count), so that what rounding makes of it is a number of
the precision, and what a run gains from its start to its end is measured by the loss of the first epoch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from adorym.engine.gradients import batch_gradients
from adorym.engine.problem import Problem
from adorym.engine.settings import Plateau
from adorym.errors import RunError
from adorym.parameters import OBJECT, Value
from adorym.storage.base import LikeObject
from adorym.wrapper.base import Array

LOG = logging.getLogger("adorym")
# The run has diverged if the loss exceeds its smallest value so far by this factor.
DIVERGENCE_FACTOR = 20.0
# Below this fraction of the first loss, ups and downs are those of a fit that has succeeded.
FITTED = 1e-3
# The steps are too long if the loss rises by this factor from one epoch to the next.
RISE = 1.1
# Epochs of a falling loss in which the rates recover from a rise; as many more for every earlier rise.
RECOVERY = 4
# A state replaces the best one so far if its loss is smaller by this factor.
BETTER = 0.99


def rounding(problem: Problem) -> float:
    """Loss below which only rounding errors are seen."""
    return max(1e-12, float(np.finfo(problem.xp.float_dtype).eps))


def has_risen(losses: Sequence[float], least: float) -> bool:
    """Whether the last loss shows that the steps are too long; ``least`` is the loss at the rounding error."""
    return len(losses) > 1 and losses[-1] > RISE * losses[-2] and losses[-1] > least


def recovered(factor: float, reduction: float, rises: int) -> float:
    """The factor on all rates after one more epoch in which the loss fell, when ``rises`` have reduced it so far.

    What one rise took comes back in `RECOVERY` epochs times the number of rises: a rise on the way from a poor start
    costs little, while steps that are too long for the problem become ever rarer.
    """
    raised = factor * reduction ** (-1 / (RECOVERY * max(rises, 1)))
    return 1.0 if raised > 1 - 1e-9 else raised


def check_finite(loss: float, where: str, rates: Mapping[str, float]) -> None:
    """Refuse a loss that is not a finite number.

    Raises:
        RunError: It is not; ``where`` says in which batch.
    """
    if math.isfinite(loss):
        return
    names = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    raise RunError(
        "run",
        f"the loss is not a finite number in {where}",
        found=f"learning rates now: {names}",
        remedy="lower them, or look for bad pixels with 'adorym inspect'",
    )


def check_divergence(losses: Sequence[float], least: float, first: int = 0) -> None:
    """Refuse a loss far above its smallest value so far.

    Args:
        losses: One per epoch.
        least: The loss at the rounding error.
        first: The first epoch whose loss can be compared with the last one.

    Raises:
        RunError: It grows without bound.
    """
    epoch, losses = len(losses), losses[first:]
    if len(losses) < 3 or losses[-1] <= DIVERGENCE_FACTOR * max(min(losses), FITTED * losses[0], least):
        return
    raise RunError(
        "run",
        f"the loss grows without bound: {losses[-1]:.3g} in epoch {epoch}",
        expected=f"not far above its smallest value {min(losses):.3g}",
        remedy="lower the learning rates",
    )


def data_loss(problem: Problem, batches: Sequence[np.ndarray]) -> float:
    """Loss of all ``batches`` at the present state, without regularizers; collective."""
    total = sum(batch_gradients(problem, patterns, frozenset([OBJECT]), frozenset())[0] for patterns in batches)
    problem.store.update(lambda tile, gradient, state, row: (tile, state))  # clears the gradient
    return float(problem.comm.sum(np.array([float(total)]), "sum of the loss")[0])


def on_plateau(plateau: Plateau | None, losses: Sequence[float]) -> bool:
    """Whether the loss has not fallen for as long as ``plateau`` allows."""
    if plateau is None or len(losses) <= plateau.patience:
        return False
    best_before = min(losses[: -plateau.patience])
    return min(losses[-plateau.patience :]) > best_before * (1 - plateau.tolerance)


@dataclass
class Best:
    """The state with the smallest loss so far: object and parameters, without the optimizers' states.

    Attributes:
        epoch: Epoch at whose end it was kept; 0 for none.
        loss: Loss of that epoch.
    """

    epoch: int = 0
    loss: float = math.inf
    _object: LikeObject = None
    _values: dict[str, Array] = field(default_factory=dict)

    def keep(self, problem: Problem, epoch: int, loss: float) -> None:
        """Keep the present state if it is clearly better and finite; collective."""
        if not loss < BETTER * self.loss:
            return
        xp, store = problem.xp, problem.store
        finite = all(np.isfinite(store.read("value", *rows)).all() for rows in [store.local_rows])
        finite &= all(np.isfinite(array).all() for array in problem.present().values())
        if problem.comm.max(float(not finite), "look for what is not a number"):
            return
        self._object = store.empty() if self._object is None else self._object
        for row, (tile,) in store.tiles("value"):
            self._object = store.write(self._object, row, tile)
        self._values = {name: xp.copy(value.array) for name, value in problem.values.items()}
        self.epoch, self.loss = epoch, loss

    def restore(self, problem: Problem) -> bool:
        """Go back to it; returns whether there was one."""
        if not self.epoch:
            return False
        for row, (tile,) in problem.store.tiles(self._object):
            problem.store.write("value", row, tile)
        for name, array in self._values.items():
            problem.values[name].array = problem.xp.copy(array)
        problem.restart()
        return True


def restore_if_worse(problem: Problem, before: Best, loss: float) -> None:
    """Go back to the state ``before`` the updates after the last epoch if they have spoiled the fit.

    Args:
        problem: The problem.
        before: The state, with its `data_loss`.
        loss: The same now.
    """
    if loss > RISE * max(before.loss, rounding(problem)) and before.restore(problem):
        LOG.warning(
            "autofocus: the object in focus fits worse, with a loss of %.3g instead of %.3g; it is left as it was. "
            "Search the focus in earlier epochs with 'forward_model.autofocus.at'", loss, before.loss,
        )  # fmt: skip


def second_look(problem: Problem, epoch: int, total: int, rates: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Values of the parameters that are refined for the second time in ``epoch``: before, an object may be empty."""
    values = {name: problem.values[name] for name in rates if name != OBJECT}

    def begun(value: Value) -> bool:
        last, before = epoch - value.settings.every, epoch - 2 * value.settings.every
        moved = [e >= value.settings.start and value.schedule.factor(e, total) > 0 for e in (before, last)]
        return moved == [False, True]

    return {name: problem.xp.to_numpy(value.array).copy() for name, value in values.items() if begun(value)}


def warn_unmoved(problem: Problem, before: Mapping[str, np.ndarray]) -> None:
    """Warn of the parameters that still have the values ``before``."""
    for name, values in before.items():
        if np.array_equal(values, problem.xp.to_numpy(problem.values[name].array)):
            LOG.warning("parameters.%s: the loss does not depend on it in this run; refining it has no effect", name)
