"""Scalings of a solver's unknowns, by an estimate of the curvature's diagonal.

A solver looks at its scaling once in many iterations. What gradient steps of single parameters are divided by, batch
by batch, is in `adorym.preconditioners`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import numpy as np
from pydantic import Field

from adorym.registry import register


class Curved(Protocol):
    """A problem as preconditioners use it; vectors are in the unknowns' own units.

    In addition to the operations of solvers, ``u * v``, ``u / v`` and ``u.map(f)`` act on each element, and ``u | v``
    joins the parts of two vectors, those of v taking precedence.

    Attributes:
        names: The parameters; each is a part of every vector.
    """

    names: tuple[str, ...]

    def scales(self) -> Any:
        """Natural size of each unknown."""

    def signs(self, rng: np.random.Generator) -> Any:
        """A random sign for each unknown."""

    def model_curvature(self) -> Any:
        """The diagonal from the forward model, for the parts with a known curvature only."""

    def raw_product(self, v: Any) -> Any:
        """The Gauss-Newton matrix times v."""


class Preconditioner(ABC):
    """A scaling of a solver's unknowns: an estimate of the diagonal of the Gauss-Newton matrix.

    Attributes:
        regularization: Fraction of a parameter's largest curvature that is added where its curvature is small.
    """

    kind: ClassVar[str]
    regularization: float

    @abstractmethod
    def diagonal(self, problem: Curved, rng: np.random.Generator) -> Any:
        """The estimate before regularization; negative elements count as zero."""


@register("preconditioner", "intensity")
class Intensity(Preconditioner):
    r"""The model's own curvature: the probe's intensity for the object, the object's transmission for the probe.

    :math:`h_O(r) \propto \sum_j |P(r - r_j)|^2`, :math:`h_P(r) \propto \sum_j |O(r + r_j)|^2`, and the block of each
    probe position (Maiden, Johnson & Li, Optica 4, 736 (2017); Yeh et al., Opt. Express 23, 33214 (2015), section 3).
    The curvature of other parameters is estimated as by ``estimated``.

    Attributes:
        regularization: Fraction of the largest curvature that is added where the curvature is small.
        probes: Number of random directions for these estimates.
    """

    regularization: float = Field(0.05, ge=0, le=1)
    probes: int = Field(4, ge=1)

    def diagonal(self, problem: Curved, rng: np.random.Generator) -> Any:
        known = problem.model_curvature()
        if len(known.parts) == len(problem.names):
            return known
        return estimated_diagonal(problem, rng, self.probes) | known


@register("preconditioner", "estimated")
class Estimated(Preconditioner):
    r"""Estimated from products with random signs, :math:`h = \langle v \odot H v \rangle`, for any model.

    Bekas, Kokiopoulou & Saad, Appl. Numer. Math. 57, 1214 (2007), eq. (2); every product costs about four evaluations.

    Attributes:
        regularization: Fraction of the largest curvature that is added where the curvature is small.
        probes: Number of random directions.
    """

    regularization: float = Field(0.1, ge=0, le=1)
    probes: int = Field(8, ge=1)

    def diagonal(self, problem: Curved, rng: np.random.Generator) -> Any:
        return estimated_diagonal(problem, rng, self.probes)


@register("preconditioner", "none")
class Unscaled(Preconditioner):
    """Scaling by the natural size of every parameter only; the curvature is taken as one.

    Attributes:
        regularization: Has no effect here.
    """

    regularization: float = Field(0.0, ge=0, le=1)

    def diagonal(self, problem: Curved, rng: np.random.Generator) -> Any:
        return problem.scales().map(lambda size: size**-2)


def estimated_diagonal(problem: Curved, rng: np.random.Generator, probes: int) -> Any:
    """Mean of ``v * H v`` over random signs v, each times the natural size of its unknown."""
    scale = problem.scales()
    total = 0.0 * scale
    for _ in range(probes):
        v = problem.signs(rng) * scale
        total = total + v * problem.raw_product(v)
    return (1 / probes) * total / scale / scale
