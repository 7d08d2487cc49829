"""Parameters that follow the object by a rule of their own, such as a support by shrink-wrap."""

from __future__ import annotations

from adorym.engine.problem import Problem
from adorym.parameters import Value


def follow(problem: Problem, epoch: int) -> None:
    """Bring every such parameter up to date before ``epoch``; before the first, whether it is refined or not."""
    for value in problem.values.values():
        if value.spec.rule is not None and (epoch == 0 or value.settings.active(epoch)):
            _apply(problem, value, epoch)


def followed(problem: Problem, epoch: int) -> bool:
    """Whether ``epoch`` began with such a change: its loss is then that of another problem than the one before."""
    return any(v.spec.rule is not None and v.settings.active(epoch) for v in problem.values.values())


def _apply(problem: Problem, value: Value, epoch: int) -> None:
    assert value.spec.rule is not None  # the caller looked
    xp = problem.xp
    made = value.spec.rule(value.settings, problem.store.values(), xp.to_numpy(value.array), epoch)
    value.array = xp.copy(xp.asarray(made))
    if value.spec.masks_object:
        problem.store.apply(lambda tile, row: tile * value.array[row : row + tile.shape[0]])
