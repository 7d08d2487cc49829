"""A diagonal estimated by random signs, for any model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from adorym.preconditioners.base import Point, Preconditioner
from adorym.wrapper.base import Array


@dataclass(frozen=True)
class Probed(Preconditioner):
    r"""The diagonal of :math:`q\,J^T J` from vector-Jacobian products with random signs s.

    :math:`\langle (J^T s)^2 \rangle = \mathrm{diag}(J^T J)` (Hutchinson, Commun. Stat. Simul. Comput. 18, 1059 (1989)):
    never negative, and unbiased. The index of a pattern seeds its signs, so the estimate does not depend on how
    patterns are distributed, provided that no two of them share an unknown: one window or row per pattern.

    Attributes:
        probes: Number of random vectors.
    """

    probes: int = 2

    def serves(self, name: str, point: Point) -> bool:
        """Whether every pattern has its own window of the object, or its own row of the parameter."""
        array = point.params.get(name, point.obj)
        return len(array.shape) > 1 and array.shape[0] == len(point.batch.patterns)

    def curvature(self, name: str, point: Point) -> Array:
        xp, of_object = point.xp, name not in point.params
        shape, total = point.amplitudes().shape, 0.0

        def seen(tree: dict[str, Array]) -> Array:
            if of_object:
                return replace(point, obj=tree[name]).amplitudes()
            return point.amplitudes(**{name: tree[name]})

        for probe in range(self.probes):
            signs = [np.random.default_rng([probe, n]).choice([-1.0, 1.0], shape[1:]) for n in point.batch.patterns]
            start = point.obj if of_object else point.params[name]
            slope = xp.vjp(seen, {name: start}, xp.asarray(np.stack(signs)))[name]
            # A complex number is two unknowns of similar curvature.
            square = 0.5 * xp.abs2(slope) if xp.is_complex(slope) else xp.square(slope)
            total = total + square
        return (point.weight / self.probes) * total
