"""Regularizers and constraints on the parameters of a problem, relative to a reference, in the space of the unknown."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np

from adorym.constraints.base import Constraint
from adorym.engine.problem import Present, Problem
from adorym.parameters import OBJECT
from adorym.regularizers.base import ProximalRegularizer, Regularizer
from adorym.storage.base import Slope
from adorym.wrapper.base import Array, Tree


def reference_value(problem: Problem, name: str) -> Array | float:
    """The value that regularizers subtract: vacuum for the object, else the start value, or 0 if complex."""
    if name == OBJECT:
        return problem.bound.space.reference_value
    first = problem.values[name].first
    return 0.0 if np.iscomplexobj(first) else problem.xp.asarray(first, exact=True)


def weight_of(problem: Problem, name: str) -> float:
    """Factor on the sum over a parameter's elements: 1 / (number of elements)."""
    shape = problem.store.shape if name == OBJECT else tuple(problem.values[name].array.shape)
    return 1.0 / float(np.prod(shape))


def term_gradient(problem: Problem, regularizer: Regularizer, array: Array, factor: float) -> tuple[float, Array]:
    """``factor`` times the weighted term of ``array`` (or of a tile of the object), and its gradient."""
    xp, name = problem.xp, regularizer.parameter
    base, scale = reference_value(problem, name), problem.unknowns[name].scale
    factor = factor * weight_of(problem, name)

    def term(tree: Tree) -> tuple[Array, None]:
        return factor * regularizer.value(xp, (tree[name] - base) / scale), None

    value, _, gradient = xp.value_and_grad(term)({name: array})
    return value, gradient[name]


def term_curvature(problem: Problem, name: str, array: Array, factor: float) -> Array | None:
    """Curvature of all regularizers of a parameter, ``None`` without any."""
    total = None
    for regularizer in problem.regularizers:
        if regularizer.parameter == name:
            h = _curvature(problem, regularizer, array, factor)
            total = h if total is None else total + h
    return total


def _curvature(problem: Problem, regularizer: Regularizer, array: Array, factor: float) -> Array:
    name = regularizer.parameter
    scale = problem.unknowns[name].scale
    h = regularizer.curvature(problem.xp, (array - reference_value(problem, name)) / scale)
    return (factor * weight_of(problem, name) / scale**2) * h


def tile_term(problem: Problem, regularizer: Regularizer, tile: Array, factor: float) -> Slope:
    """Value, gradient and, if the optimizer uses it, curvature of a term for some rows of the object."""
    value, gradient = term_gradient(problem, regularizer, tile, factor)
    if not problem.obj.optimizer.needs_curvature:
        return value, gradient, None
    return value, gradient, _curvature(problem, regularizer, tile, factor)


def proximal(problem: Problem, regularizer: ProximalRegularizer, array: Array, step: float) -> Array:
    """The proximal operator of the weighted term of the whole parameter."""
    base, scale = reference_value(problem, regularizer.parameter), problem.unknowns[regularizer.parameter].scale
    step = step * weight_of(problem, regularizer.parameter) / scale**2
    return base + scale * regularizer.prox(problem.xp, (array - base) / scale, step)


def share_of_rows(problem: Problem, name: str, patterns: np.ndarray) -> np.ndarray:
    """``(rows,)``: fraction of the patterns using each row of a parameter that are in this batch."""
    value, angles = problem.values[name], problem.dataset.angle_index
    index = np.arange(len(angles)) if value.spec.per == "pattern" else angles
    rows, inverse = np.unique(index[patterns], return_inverse=True)
    return np.bincount(inverse) / np.bincount(index)[rows]


def batch_terms(problem: Problem, patterns: np.ndarray, names: Collection[str], fraction: float) -> tuple[float, Tree]:
    """Value of all regularizers in a batch, and their gradients by the rows that the batch uses; collective.

    The value is this rank's part, the gradients are complete. The object's gradients go into its store. Over an epoch
    every element contributes once, whatever the batches are.

    Args:
        problem: The problem.
        patterns: ``(n,)`` sorted indices of the batch's patterns.
        names: Parameters that are refined in this epoch.
        fraction: Fraction of the epoch's patterns in this batch.
    """
    xp, total = problem.xp, 0.0
    found: Tree = {}
    for regularizer in problem.regularizers:
        name = regularizer.parameter
        if name not in names:
            continue
        if name == OBJECT:
            term = partial(tile_term, problem, regularizer, factor=fraction)
            total += problem.store.add_gradient(term, regularizer.halo_px)
            continue
        value = problem.values[name]
        cost, gradient = term_gradient(problem, regularizer, value.array, 1.0)
        total += fraction * cost if problem.comm.is_root else 0.0  # every rank has the whole of it
        rows = value.rows(patterns, problem.dataset.angle_index[patterns])
        if rows is None:
            gradient = fraction * gradient
        else:
            share = share_of_rows(problem, name, patterns).reshape(-1, *(1,) * (len(gradient.shape) - 1))
            gradient = xp.take(gradient, rows[0]) * xp.asarray(share, exact=True)
        found[name] = gradient if name not in found else found[name] + gradient
    return total, found


def projected(problem: Problem, constraint: Constraint, array: Array, row: int = 0) -> Array:
    """Apply ``constraint`` to ``array``, or to a tile of the object from ``row`` on, in the run's representation."""
    xp = problem.xp
    if constraint.parameter == OBJECT:
        rows = constraint.of_rows(row, row + array.shape[0], problem.store.shape)
        return problem.bound.space.project(xp, rows, array, Present(problem))
    if not constraint.relative:
        return constraint.project(xp, array)
    first = xp.asarray(problem.values[constraint.parameter].first, exact=True)
    return first + constraint.project(xp, array - first)
