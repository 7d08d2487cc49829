"""The loss of the whole data set as a function of one vector, for solvers: gradient, curvature, proximal terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adorym.engine.gradients import batch_gradients, own_chunks
from adorym.engine.problem import Problem, expanded
from adorym.engine.terms import proximal, term_gradient
from adorym.errors import ConfigError
from adorym.optimizers.base import Gradient
from adorym.parameters import OBJECT
from adorym.regularizers.base import ProximalRegularizer, Regularizer, proximal_terms
from adorym.solvers.base import Objective, Solver
from adorym.storage.base import Slope
from adorym.storage.vector import StoreVector
from adorym.wrapper.base import Array, Tree

# Step of the finite difference for the curvature of a regularizer, relative to the norm of the vector.
NUDGE = 1e-4


def _values(gradient: Gradient) -> Array:
    return gradient.values


class FullBatchObjective(Objective):
    """The loss of ``patterns`` and the regularizers, over the parameters ``names`` of a problem; collective.

    Args:
        problem: The problem; it holds the values of the last evaluation.
        names: Parameters that are refined.
        patterns: ``(n,)`` sorted indices.
        solver: Determines the scaling of the unknowns, and whether proximal terms are left out.
    """

    def __init__(self, problem: Problem, names: list[str], patterns: np.ndarray, solver: Solver) -> None:
        self.problem, self.names, self.patterns, self.solver = problem, tuple(names), patterns, solver
        ours = [r for r in problem.regularizers if r.parameter in names]
        self.proximal = proximal_terms(ours) if solver.splits else {}
        self.smooth = [r for r in ours if r not in self.proximal.values()]
        self.scaling = self._filled(1.0)

    # -- from the problem and back -----------------------------------------------------------------------------------
    def values(self) -> StoreVector:
        """The present values, in their own units."""
        store, xp, values = self.problem.store, self.problem.xp, self.problem.values
        parts = {name: _wide(xp.to_numpy(values[name].array)) + 0 for name in self.names if name != OBJECT}
        if OBJECT in self.names:
            parts[OBJECT] = store.map(lambda _, tile: tile + 0, "value")
        return StoreVector(store, {name: parts[name] for name in self.names})

    def pack(self) -> StoreVector:
        """The current values in scaled units."""
        return self.values() / self.scaling

    def unpack(self, u: StoreVector) -> StoreVector:
        """Set the problem's values from ``u``; returns them in their own units."""
        x = self._rounded(u)
        self._place(x)
        return x

    def is_at(self, u: StoreVector) -> bool:
        """Whether the current values are those of ``u``."""
        return (self._rounded(u) - self.values()).norm() == 0

    def _rounded(self, u: StoreVector) -> StoreVector:
        x = u * self.scaling
        for name in set(self.names) - {OBJECT}:
            x.parts[name] = np.asarray(x.parts[name], self.problem.values[name].first.dtype)
        return x

    def _place(self, x: StoreVector) -> None:
        store, xp = self.problem.store, self.problem.xp
        for name, array in x.parts.items():
            if name != OBJECT:
                self.problem.values[name].array = xp.asarray(array, exact=True)
                continue
            for row, (tile,) in store.tiles(array):
                store.write("value", row, tile)
            store.comm.barrier("take over the object")

    def _blank(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Zeros for all parts of a vector, or for ``names``; what the object's part holds is still to be written."""
        problem, wanted = self.problem, names or self.names
        return {
            n: problem.store.empty() if n == OBJECT else np.zeros_like(_wide(problem.values[n].first)) for n in wanted
        }

    def _filled(self, value: float) -> StoreVector:
        return self.values().map(lambda a: np.full(a.shape, value))

    def rescale(self, rng: np.random.Generator) -> None:
        """Scale by the current curvature, ``x = h^{-1/2} u``; earlier vectors are then invalid."""
        found, made = self.solver.preconditioner.diagonal(self, rng), StoreVector(self.problem.store, {})
        alpha = self.solver.preconditioner.regularization
        for name in self.names:
            h = found.only(name).map(lambda a: (a + abs(a)) / 2)
            largest = h.largest()
            if not (np.isfinite(largest) and largest > 0):
                h, largest = self.scales().only(name).map(lambda a: a**-2), 1.0
            elif self.solver.splits:
                h = h.map(lambda a, top=largest: 0 * a + top)
            made |= h.map(lambda a, add=(alpha + 1e-9) * largest: ((1 - alpha) * a + add) ** -0.5)
        self.scaling = made

    # -- for solvers -------------------------------------------------------------------------------------------------
    def evaluate(self, u: StoreVector) -> tuple[float, StoreVector]:
        self.evaluations += 1
        self.unpack(u)
        problem, parts = self.problem, self._blank()
        value, found = batch_gradients(problem, self.patterns, frozenset(self.names), frozenset())
        for name, each in found.items():
            parts[name][... if each.index is None else each.index] = problem.xp.to_numpy(each.gradient)
        value += sum(self._add_term(term, parts) for term in self.smooth)
        return self._over_ranks(value), self._taken(parts) * self.scaling

    def product(self, u: StoreVector, v: StoreVector) -> StoreVector:
        self.evaluations += 4
        x, along = self.unpack(u), v * self.scaling
        result, size = self.raw_product(along), along.norm()
        for term in self.smooth if size > 0 else ():
            added = self._term_product(term, x, along, size)
            result |= result.only(term.parameter) + added
        return result * self.scaling

    def prox(self, u: StoreVector, step: float) -> StoreVector:
        store, xp, x = self.problem.store, self.problem.xp, self._rounded(u)
        for name, term in self.proximal.items():
            step_here = step * self.scaling.only(name).largest() ** 2  # one number a parameter

            def moved(_: int, tile: Array, term: ProximalRegularizer = term, step: float = step_here) -> Array:
                return proximal(self.problem, term, xp.asarray(tile, exact=True), step)

            part = x.parts[name]
            x.parts[name] = store.map(moved, part) if name == OBJECT else xp.to_numpy(moved(0, part))
        return x / self.scaling

    def left_out(self, u: StoreVector) -> float:
        if not self.proximal:
            return 0.0
        self.unpack(u)
        parts = self._blank()
        value = sum(self._add_term(term, parts) for term in self.proximal.values())
        self._taken(parts)  # discards the gradient
        return self._over_ranks(value)

    def flat(self, u: StoreVector) -> np.ndarray:
        reals = (_wide(u.host(name)) for name in self.names)
        return np.concatenate([a.reshape(-1).view(np.float64) for a in reals])

    def vector(self, flat: np.ndarray) -> StoreVector:
        store, parts, start = self.problem.store, self._blank(), 0
        for name in self.names:
            like = _wide(StoreVector(store, parts).host(name))
            stop = start + like.reshape(-1).view(np.float64).size
            array = np.array(flat[start:stop]).view(like.dtype).reshape(like.shape)
            parts[name], start = store.write(parts[name], 0, array) if name == OBJECT else array, stop
        return StoreVector(store, parts)

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        sides = []
        for side, free in ((0, -np.inf), (1, np.inf)):
            rows = []
            for name in self.names:
                scaling = _wide(self.scaling.host(name)).reshape(-1).view(np.float64)
                limits = None if name == OBJECT else self.problem.values[name].bounds
                shape = self.scaling.host(name).shape
                whole = None if limits is None else np.broadcast_to(limits[side], shape).ravel() / scaling
                rows.append(np.full(len(scaling), free) if whole is None else whole)
            sides.append(np.concatenate(rows))
        return (sides[0], sides[1]) if np.isfinite(sides).any() else None

    # -- for preconditioners -----------------------------------------------------------------------------------------
    def scales(self) -> StoreVector:
        """Natural size of each unknown."""
        made = self._filled(0.0)
        for name in self.names:
            made |= made.only(name).map(lambda a, size=self.problem.unknowns[name].scale: a + size)
        return made

    def signs(self, rng: np.random.Generator) -> StoreVector:
        """A random sign for each unknown."""
        return self.scaling.signs(int(rng.integers(1 << 62)))

    def model_curvature(self) -> StoreVector:
        """The diagonal for parts with a known curvature; complex values have one for both real and imaginary part."""
        problem, xp = self.problem, self.problem.xp
        known = frozenset(name for name in self.names if problem.unknowns[name].optimizer.needs_curvature)
        if not known:
            return StoreVector(problem.store, {})
        made = self._blank()
        _, found = batch_gradients(problem, self.patterns, frozenset(self.names), known)
        for name in known - {OBJECT}:
            index, h = found[name].index, xp.to_numpy(found[name].curvature)
            h = np.diagonal(h, axis1=-2, axis2=-1) if h.ndim > made[name].ndim else h
            h = h + 1j * h if np.iscomplexobj(made[name]) else h
            made[name][... if index is None else index] = h

        def both(g: Gradient) -> Array:
            h = problem.bound.preconditioner(OBJECT).of_sum(xp, g.curvature, g.curvature_max)
            return xp.complex(h, h) if xp.is_complex(g.values) else h

        return self._taken(made, both if OBJECT in known else _values).only(*known)

    def raw_product(self, v: StoreVector) -> StoreVector:
        """Product of the Gauss-Newton matrix of the loss at the current values with ``v``, in the unknowns' units."""
        if self.problem.loss.amplitude_curvature is None:
            remedy = "choose a solver that needs gradients only, such as {kind: lbfgs}"
            raise ConfigError("solver", f"the curvature of loss '{self.problem.loss.kind}' is not known", remedy=remedy)
        parts = self._blank()
        for patterns in own_chunks(self.problem, self.patterns):
            # An empty chunk uses one pattern with zero weight, so that all ranks call the store equally often.
            self._chunk_product(patterns if len(patterns) else self.patterns[:1], v, parts, float(len(patterns) > 0))
        for name in self.names:
            if name != OBJECT:
                parts[name] = self.problem.comm.sum(parts[name], f"sum of the curvature's product of {name}")
        return self._taken(parts)

    def _chunk_product(self, patterns: np.ndarray, v: StoreVector, total: dict[str, Any], weight: float) -> None:
        problem, xp = self.problem, self.problem.xp
        batch = problem.batch(patterns)
        rows, windows = problem.rows(batch), problem.windows(batch)
        inputs = {OBJECT: problem.store.gather(windows), **problem.used(batch, rows)}
        tangent: Tree = {}
        for name, direction in v.parts.items():
            if name == OBJECT:
                tangent[name] = problem.store.gather(windows, direction)
            else:
                index = rows[name].index
                tangent[name] = xp.asarray(direction if index is None else direction[index])

        def predicted(tree: Tree) -> Array:
            full = inputs | {name: tree[name] for name in v.parts}
            unknown, params = full.pop(OBJECT), expanded(xp, full, rows)
            return problem.model.predict(xp, problem.bound.space.to_object(xp, unknown, params), params, batch)

        tree = {name: inputs[name] for name in v.parts}
        intensity, change = xp.jvp(predicted, tree, tangent)
        curvature = 0.25 * weight * problem.weight * float(problem.loss.amplitude_curvature or 0.0)
        weighted = change * (curvature / (intensity + batch.floor))
        weighted = weighted if batch.mask is None else weighted * batch.mask
        for name, gradient in xp.vjp(predicted, tree, weighted).items():
            if name == OBJECT:
                problem.store.scatter_add(windows, gradient)
            else:
                index = rows[name].index
                total[name][... if index is None else index] += xp.to_numpy(gradient)

    # -- gradients ---------------------------------------------------------------------------------------------------
    def _over_ranks(self, value: float) -> float:
        return float(self.problem.comm.sum(np.array([float(value)]), "sum of the loss")[0])

    def _taken(self, parts: dict[str, Any], of: Callable[[Gradient], Array] = _values) -> StoreVector:
        """``parts``, with the object's part taken from the store's gradient, which is then cleared."""
        store = self.problem.store

        def step(
            tile: Array, gradient: Gradient, state: tuple[Array, ...], row: int
        ) -> tuple[Array, tuple[Array, ...]]:
            parts[OBJECT] = store.write(parts[OBJECT], row, of(gradient))
            return tile, state

        if OBJECT in parts:
            store.update(step)
        return StoreVector(store, parts)

    def _add_term(self, term: Regularizer, parts: dict[str, Any]) -> float:
        """This rank's part of a term at the current values; its gradient goes into ``parts``, or into the store."""
        problem, name = self.problem, term.parameter

        def of_tile(tile: Array) -> Slope:
            return (*term_gradient(problem, term, tile, 1.0), None)

        if name == OBJECT:
            return problem.store.add_gradient(of_tile, term.halo_px)
        value, gradient = term_gradient(problem, term, problem.values[name].array, 1.0)
        parts[name] = parts[name] + problem.xp.to_numpy(gradient)
        return value if problem.comm.is_root else 0.0

    def _term_product(self, term: Regularizer, x: StoreVector, along: StoreVector, size: float) -> StoreVector:
        """Change of a term's gradient along the direction of length ``size``, by a central difference."""
        part, slopes = x.only(term.parameter), []
        step = NUDGE * max(1.0, part.norm()) / size
        for sign in (1.0, -1.0):
            self._place(part + sign * step * along.only(term.parameter))
            parts = self._blank([term.parameter])
            self._add_term(term, parts)
            slopes.append(self._taken(parts))
        self._place(part)
        return (1 / (2 * step)) * (slopes[0] - slopes[1])


def _wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.result_type(array, np.float64), order="C")  # keeps scalars scalar
