"""Line search for a step that satisfies the strong Wolfe conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.solvers.base import Objective, Vector


@dataclass(frozen=True)
class Point:
    """A trial along the line: step, loss, slope along the line, and the gradient."""

    step: float
    value: float
    slope: float
    gradient: Vector


@dataclass(frozen=True)
class Wolfe:
    """Strong Wolfe conditions, and the number of trials to meet them.

    Attributes:
        decrease: The loss must fall by at least this fraction of its linear prediction.
        slope: The slope's magnitude must fall to at most this fraction of the initial one.
        evaluations: Largest number of trials.
    """

    decrease: float = 1e-4
    slope: float = 0.4
    evaluations: int = 8


def search(
    objective: Objective, u: Vector, direction: Vector, start: tuple[float, Vector], first: float, rule: Wolfe
) -> Point | None:
    """A step that satisfies the strong Wolfe conditions, else the best decrease found; ``None`` if there is none.

    Bracketing and cubic interpolation (Nocedal & Wright, *Numerical Optimization*, 2006, algorithms 3.5 and 3.6).

    Args:
        objective: The loss.
        u: Start of the line.
        direction: Its direction, a descent direction.
        start: Loss and gradient at u.
        first: First trial step.
        rule: Conditions on the step.
    """
    value, gradient = start
    begin = Point(0.0, value, float(gradient @ direction), gradient)
    low, high, step, best = begin, None, first, None
    for _ in range(rule.evaluations):
        trial = _at(objective, u, direction, step)
        falls = trial.value <= value + rule.decrease * step * begin.slope
        if falls and (best is None or trial.value < best.value):
            best = trial
        if falls and trial.value < low.value and abs(trial.slope) <= -rule.slope * begin.slope:
            return trial
        if not falls or trial.value >= low.value:
            high = trial
        else:
            if high is None and trial.slope < 0:
                low, step = trial, min(3.0, _growth(low, trial)) * step
                continue
            if trial.slope * ((low.step if high is None else high.step) - trial.step) >= 0:
                high = low
            low = trial
        step = _between(low, high if high is not None else begin)
    return best


def _at(objective: Objective, u: Vector, direction: Vector, step: float) -> Point:
    value, gradient = objective.evaluate(u + step * direction)
    value = value if np.isfinite(value) else np.inf
    return Point(step, value, float(gradient @ direction) if np.isfinite(value) else np.inf, gradient)


def _growth(a: Point, b: Point) -> float:
    """Factor on the step at which the linearly extrapolated slope is zero."""
    change = b.slope - a.slope
    return 3.0 if change <= 0 else max(1.2, (b.step - a.slope * (b.step - a.step) / change - b.step) / b.step + 1)


def _between(low: Point, high: Point) -> float:
    """Minimum of the cubic through two points and their slopes, kept away from the ends."""
    gap = high.step - low.step
    if not (np.isfinite(high.value) and np.isfinite(high.slope)) or gap == 0:
        return low.step + 0.3 * gap
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (low.step - high.step)
    root = d1 * d1 - low.slope * high.slope
    if root < 0:
        return low.step + 0.5 * gap
    d2 = np.sign(gap) * np.sqrt(root)
    denominator = high.slope - low.slope + 2 * d2
    part = 0.5 if denominator == 0 else 1 - (high.slope + d2 - d1) / denominator
    return low.step + float(np.clip(part, 0.1, 0.9)) * gap
