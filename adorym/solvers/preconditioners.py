"""Estimates of the curvature's diagonal, which the unknowns are scaled by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import numpy as np
from pydantic import Field

from adorym.registry import register


class Curved(Protocol):
    """What a preconditioner may ask of a problem; vectors are in the unknowns' own units."""

    def scales(self) -> np.ndarray:
        """Natural size of each unknown."""
        ...

    def model_curvature(self) -> np.ndarray:
        """The diagonal that the forward model knows, not a number where it knows none."""
        ...

    def raw_product(self, v: np.ndarray) -> np.ndarray:
        """The Gauss-Newton matrix times v."""
        ...


class Preconditioner(ABC):
    """An estimate of the diagonal of the Gauss-Newton matrix.

    Attributes:
        regularization: How much of a parameter's largest curvature is added where its curvature is small.
    """

    kind: ClassVar[str]
    regularization: float

    @abstractmethod
    def diagonal(self, problem: Curved, rng: np.random.Generator) -> np.ndarray:
        """``(n,)`` not negative, before regularization."""


@register("preconditioner", "intensity")
class Intensity(Preconditioner):
    r"""The model's own curvature: the probe's intensity for the object, the object's transmission for the probe.

    :math:`h_O(r) \propto \sum_j |P(r - r_j)|^2`, :math:`h_P(r) \propto \sum_j |O(r + r_j)|^2`, and the block of each
    probe position (Maiden, Johnson & Li, Optica 4, 736 (2017); Yeh et al., Opt. Express 23, 33214 (2015), section 3).
    Parameters whose curvature the model does not know are estimated as by ``estimated``.

    Attributes:
        regularization: Fraction of the largest curvature that is added where the curvature is small.
        probes: Random directions for what has to be estimated.
    """

    regularization: float = Field(0.05, ge=0, le=1)
    probes: int = Field(4, ge=1)

    def diagonal(self, problem: Curved, rng: np.random.Generator) -> np.ndarray:
        known = problem.model_curvature()
        missing = np.isnan(known)
        if missing.any():
            known = np.where(missing, estimated_diagonal(problem, rng, self.probes), known)
        return known


@register("preconditioner", "estimated")
class Estimated(Preconditioner):
    r"""Estimated from products with random signs, :math:`h = \langle v \odot H v \rangle`, for any model.

    Bekas, Kokiopoulou & Saad, Appl. Numer. Math. 57, 1214 (2007), eq. (2); every product costs about four evaluations.

    Attributes:
        regularization: Fraction of the largest curvature that is added where the curvature is small.
        probes: Random directions.
    """

    regularization: float = Field(0.1, ge=0, le=1)
    probes: int = Field(8, ge=1)

    def diagonal(self, problem: Curved, rng: np.random.Generator) -> np.ndarray:
        return estimated_diagonal(problem, rng, self.probes)


@register("preconditioner", "none")
class Unscaled(Preconditioner):
    """The natural size of every parameter, nothing else; its curvature is taken to be one.

    Attributes:
        regularization: Has no effect here.
    """

    regularization: float = Field(0.0, ge=0, le=1)

    def diagonal(self, problem: Curved, rng: np.random.Generator) -> np.ndarray:
        return 1 / problem.scales() ** 2


def estimated_diagonal(problem: Curved, rng: np.random.Generator, probes: int) -> np.ndarray:
    """Mean of ``v * H v`` over random signs v, each times the natural size of its unknown."""
    scale, total = problem.scales(), 0.0
    for _ in range(probes):
        signs = rng.choice([-1.0, 1.0], len(scale))
        total = total + signs * scale * problem.raw_product(signs * scale) / scale**2
    return np.maximum(total / probes, 0.0)
