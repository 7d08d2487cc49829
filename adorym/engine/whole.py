"""The loss of the whole data set as a function of one vector, for solvers: packing, curvature, proximal terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adorym.engine.gradients import batch_gradients, own_chunks
from adorym.engine.problem import Problem, expanded
from adorym.engine.terms import proximal, term_gradient
from adorym.errors import ConfigError
from adorym.optimizers.base import Gradient
from adorym.regularizers.base import ProximalRegularizer, Regularizer
from adorym.solvers.base import Objective, Solver, Vector
from adorym.wrapper.base import Array, Tree

# Step of the difference of gradients that stands for the curvature of a regularizer, as a part of the vector's length.
NUDGE = 1e-4


@dataclass(frozen=True)
class Part:
    """Where a parameter lies in the vector: its first element, its shape and type."""

    name: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def here(self) -> slice:
        """Its elements; a complex value is two of them."""
        return slice(self.start, self.start + int(np.prod(self.shape)) * (2 if self.dtype.kind == "c" else 1))

    def flat(self, array: np.ndarray) -> Vector:
        """``array`` as real numbers."""
        a = np.ascontiguousarray(array, np.complex128 if self.dtype.kind == "c" else np.float64)
        return a.reshape(-1).view(np.float64)

    def array(self, vector: Vector) -> np.ndarray:
        """The parameter from the whole vector."""
        own = np.ascontiguousarray(vector[self.here])
        own = own.view(np.complex128) if self.dtype.kind == "c" else own
        return own.reshape(self.shape).astype(self.dtype)


class WholeLoss(Objective):
    """The loss of ``patterns`` and the regularizers, over the parameters ``names`` of a problem.

    Args:
        problem: Its values are those of the last evaluation.
        names: Parameters that are moved.
        patterns: ``(n,)`` sorted indices.
        solver: Says how the unknowns are scaled, and whether proximal terms are left out.
    """

    def __init__(self, problem: Problem, names: list[str], patterns: np.ndarray, solver: Solver) -> None:
        self.problem, self.patterns, self.solver = problem, patterns, solver
        self.parts: list[Part] = []
        for name in names:
            array = self._present(name)
            start = self.parts[-1].here.stop if self.parts else 0
            self.parts.append(Part(name, start, tuple(array.shape), array.dtype))
        ours = [r for r in problem.regularizers if r.parameter in names]
        self.proximal = _one_each(ours) if solver.splits else {}
        self.smooth = [r for r in ours if r not in self.proximal.values()]
        self.scaling = np.ones(self.parts[-1].here.stop)

    # -- packing -----------------------------------------------------------------------------------------------------
    def _present(self, name: str) -> np.ndarray:
        problem = self.problem
        return problem.store.values() if name == "object" else problem.xp.to_numpy(problem.values[name].array)

    def pack(self) -> Vector:
        """The present values."""
        return np.concatenate([p.flat(self._present(p.name)) for p in self.parts]) / self.scaling

    def unpack(self, u: Vector) -> None:
        """Take over the values."""
        x = u * self.scaling
        for part in self.parts:
            if part.name == "object":
                self.problem.store.restore(part.array(x), self.problem.store.state())
            else:
                self.problem.values[part.name].array = self.problem.xp.asarray(part.array(x), exact=True)

    def rescale(self, rng: np.random.Generator) -> None:
        """Scale by the present curvature, ``x = h^{-1/2} u``; vectors made before mean nothing any more."""
        self.scaling = np.ones(self.parts[-1].here.stop)
        found = self.solver.preconditioner.diagonal(self, rng)
        alpha = self.solver.preconditioner.regularization
        for part in self.parts:
            h = found[part.here]
            largest = h.max(initial=0.0)
            if not (np.isfinite(largest) and largest > 0):
                h, largest = 1 / self.scales()[part.here] ** 2, 1.0
            elif self.solver.splits:
                h = np.full_like(h, largest)
            self.scaling[part.here] = ((1 - alpha) * h + (alpha + 1e-9) * largest) ** -0.5

    # -- what solvers ask --------------------------------------------------------------------------------------------
    def evaluate(self, u: Vector) -> tuple[float, Vector]:
        self.evaluations += 1
        self.unpack(u)
        value, gradients = self._slope()
        for term in self.smooth:
            cost, pull = term_gradient(self.problem, term, self._array(term.parameter), 1.0)
            value += cost
            gradients[term.parameter] = gradients[term.parameter] + self.problem.xp.to_numpy(pull)
        return value, self._joined(gradients) * self.scaling

    def product(self, u: Vector, v: Vector) -> Vector:
        self.evaluations += 4
        self.unpack(u)
        along = v * self.scaling
        result = self.raw_product(along)
        size = np.linalg.norm(along)
        for term in self.smooth if size > 0 else ():
            part = next(p for p in self.parts if p.name == term.parameter)
            step = NUDGE * max(1.0, float(np.linalg.norm(self._x()[part.here]))) / float(size)
            result[part.here] += self._term_product(term, part, along, step)
        return result * self.scaling

    def prox(self, u: Vector, step: float) -> Vector:
        out = u * self.scaling
        for part in self.parts:
            if part.name in self.proximal:
                scale2 = float(self.scaling[part.start]) ** 2
                array = self.problem.xp.asarray(part.array(out), exact=True)
                found = proximal(self.problem, self.proximal[part.name], array, step * scale2)
                out[part.here] = part.flat(self.problem.xp.to_numpy(found))
        return out / self.scaling

    def left_out(self, u: Vector) -> float:
        if not self.proximal:
            return 0.0
        self.unpack(u)
        return sum(term_gradient(self.problem, t, self._array(n), 1.0)[0] for n, t in self.proximal.items())

    def bounds(self) -> tuple[Vector, Vector] | None:
        low, high = np.full(len(self.scaling), -np.inf), np.full(len(self.scaling), np.inf)
        for part in self.parts:
            limits = None if part.name == "object" else self.problem.values[part.name].bounds
            if limits is not None:
                for side, limit in ((low, limits[0]), (high, limits[1])):
                    side[part.here] = np.broadcast_to(limit, part.shape).ravel() / self.scaling[part.here]
        return (low, high) if np.isfinite(low).any() or np.isfinite(high).any() else None

    # -- what preconditioners ask ------------------------------------------------------------------------------------
    def scales(self) -> Vector:
        """Natural size of each unknown."""
        sizes = self.problem.unknowns
        return np.concatenate([np.full(p.here.stop - p.start, sizes[p.name].scale) for p in self.parts])

    def model_curvature(self) -> Vector:
        """The diagonal that the model knows, not a number elsewhere; of complex values, half their common one."""
        known = frozenset(p.name for p in self.parts if self.problem.unknowns[p.name].optimizer.needs_curvature)
        found = self._curvatures(known) if known else {}
        rows = []
        for part in self.parts:
            per_value = np.full(part.shape, np.nan)
            if part.name in found:
                h = found[part.name]
                h = np.diagonal(h, axis1=-2, axis2=-1) if h.ndim > len(part.shape) else h
                per_value = np.broadcast_to(h, part.shape)
            repeats = 2 if part.dtype.kind == "c" else 1
            rows.append(np.repeat(per_value.ravel(), repeats))
        return np.concatenate(rows)

    def raw_product(self, v: Vector) -> Vector:
        """The Gauss-Newton matrix of the loss at the present values times ``v``, both in the unknowns' units."""
        problem, xp, total = self.problem, self.problem.xp, {p.name: np.zeros(p.shape, p.dtype) for p in self.parts}
        if problem.loss.amplitude_curvature is None:
            remedy = "choose a solver that needs gradients only, such as {kind: lbfgs}"
            raise ConfigError("solver", f"the curvature of loss '{problem.loss.kind}' is not known", remedy=remedy)
        directions = {p.name: p.array(v) for p in self.parts}
        for patterns in own_chunks(problem, self.patterns):
            if len(patterns):
                self._chunk_product(patterns, directions, total)
        joined = self._joined({name: xp.to_numpy(a) for name, a in total.items()})
        return problem.comm.sum(joined, "sum of the curvature's products")

    def _chunk_product(self, patterns: np.ndarray, directions: dict[str, np.ndarray], total: dict) -> None:
        problem, xp = self.problem, self.problem.xp
        batch = problem.batch(patterns)
        rows, windows = problem.rows(batch), problem.windows(batch)
        inputs = {"object": problem.store.gather(windows), **problem.used(batch, rows)}
        tangent: Tree = {}
        for name, direction in directions.items():
            array = xp.asarray(direction)
            if name == "object":
                tangent[name] = xp.gather_windows(array, windows.corners_px, windows.shape)
            else:
                index = rows[name].index
                tangent[name] = array if index is None else xp.take(array, index)

        def predicted(tree: Tree) -> Array:
            full = inputs | {name: tree[name] for name in directions}
            obj = problem.transmission(full.pop("object"))
            return problem.model.predict(xp, obj, expanded(xp, full, rows), batch)

        tree = {name: inputs[name] for name in directions}
        intensity, change = xp.jvp(predicted, tree, tangent)
        curvature = 0.25 * problem.weight * float(problem.loss.amplitude_curvature or 0.0)
        weighted = change * (curvature / (intensity + batch.floor))
        weighted = weighted if batch.mask is None else weighted * batch.mask
        for name, gradient in xp.vjp(predicted, tree, weighted).items():
            if name == "object":
                total[name] = xp.scatter_windows(xp.asarray(total[name]), windows.corners_px, gradient)
            else:
                index = rows[name].index
                place = slice(None) if index is None else index
                total[name][place] += xp.to_numpy(gradient)

    # -- gradients of the data ---------------------------------------------------------------------------------------
    def _slope(self) -> tuple[float, dict[str, np.ndarray]]:
        problem, xp = self.problem, self.problem.xp
        names = frozenset(p.name for p in self.parts)
        part_of_rank, found = batch_gradients(problem, self.patterns, names, frozenset())
        value = float(problem.comm.sum(np.array([part_of_rank]), "sum of the loss")[0])
        gradients = {}
        for part in self.parts:
            if part.name == "object":
                gradients[part.name] = self._from_store(lambda g: g.values)
                continue
            index, gradient = found[part.name].index, xp.to_numpy(found[part.name].gradient)
            whole = np.zeros(part.shape, gradient.dtype)
            whole[slice(None) if index is None else index] = gradient
            gradients[part.name] = whole
        return value, gradients

    def _curvatures(self, names: frozenset[str]) -> dict[str, np.ndarray]:
        """As the model gives them; of parameters with rows, all rows."""
        xp, wanted = self.problem.xp, frozenset(p.name for p in self.parts)
        _, found = batch_gradients(self.problem, self.patterns, wanted, names)
        made = {"object": self._from_store(lambda g: g.curvature)} if "object" in names else {}
        if "object" in wanted and "object" not in names:
            self._from_store(lambda g: g.values)  # clears it
        for part in self.parts:
            if part.name in names and part.name != "object":
                index, h = found[part.name].index, xp.to_numpy(found[part.name].curvature)
                if index is not None:
                    whole = np.zeros((part.shape[0], *h.shape[1:]), h.dtype)
                    whole[index] = h
                    h = whole
                made[part.name] = h
        return made

    def _from_store(self, take: object) -> np.ndarray:
        kept: list[np.ndarray] = []
        xp = self.problem.xp

        def step(tile: Array, gradient: Gradient, state: tuple[Array, ...], _: int) -> tuple[Array, tuple[Array, ...]]:
            kept.append(np.array(xp.to_numpy(take(gradient))))  # type: ignore[operator]
            return tile, state

        self.problem.store.update(step)
        return kept[0]

    def _array(self, name: str) -> Array:
        part = next(p for p in self.parts if p.name == name)
        return self.problem.xp.asarray(part.array(self._x()), exact=True)

    def _x(self) -> Vector:
        return np.concatenate([p.flat(self._present(p.name)) for p in self.parts])

    def _joined(self, arrays: dict[str, np.ndarray]) -> Vector:
        return np.concatenate([p.flat(arrays[p.name]) for p in self.parts])

    def _term_product(self, term: Regularizer, part: Part, along: Vector, step: float) -> Vector:
        """Change of a term's gradient along the direction, by a central difference."""
        x, xp = self._x(), self.problem.xp
        ends = []
        for sign in (1.0, -1.0):
            array = xp.asarray(part.array(x + sign * step * along), exact=True)
            ends.append(part.flat(xp.to_numpy(term_gradient(self.problem, term, array, 1.0)[1])))
        return (ends[0] - ends[1]) / (2 * step)


def _one_each(terms: list[Regularizer]) -> dict[str, ProximalRegularizer]:
    """The first proximal term of every parameter; the operator of a sum of terms is not known."""
    found: dict[str, ProximalRegularizer] = {}
    for term in terms:
        if isinstance(term, ProximalRegularizer):
            found.setdefault(term.parameter, term)
    return found
