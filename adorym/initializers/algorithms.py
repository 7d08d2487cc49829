r"""Iterative phasing algorithms: steps from one object to the next by projections.

:math:`P_M` replaces the modulus of the object's transform by the measured one, :math:`P_S` sets the object to zero
outside its support, and :math:`R = 2P - 1`. Review: Marchesini, Rev. Sci. Instrum. 78, 011301 (2007).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from pydantic import Field

from adorym.registry import register
from adorym.wrapper.base import Array, Backend
from adorym.wrapper.fused.phasing import relaxed

Projection = Callable[[Array], Array]


class PhasingAlgorithm(ABC):
    """A phasing algorithm; ``x`` is ``(n, z, y, x)`` complex, ``support`` bool of the same shape.

    Attributes:
        estimates: Whether the iterate itself resembles the object; otherwise the support is found from its projection
            onto the modulus.

    Other packages add algorithms through the entry point group ``adorym.phasing_algorithm``.
    """

    kind: ClassVar[str]
    estimates: ClassVar[bool] = True

    @abstractmethod
    def step(self, xp: Backend, x: Array, support: Array, to_modulus: Projection) -> Array:
        """The next object; ``to_modulus`` is :math:`P_M`."""


@register("phasing_algorithm", "er")
class ErrorReduction(PhasingAlgorithm):
    """Error reduction, :math:`x = P_S P_M x` (Gerchberg & Saxton, Optik 35, 237 (1972))."""

    def step(self, xp: Backend, x: Array, support: Array, to_modulus: Projection) -> Array:
        found = to_modulus(x)
        return relaxed(xp, support, found, x, (0.0, 0.0))


@register("phasing_algorithm", "hio")
class HybridInputOutput(PhasingAlgorithm):
    r"""Hybrid input-output: :math:`P_M x` inside the support, :math:`x - \beta P_M x` outside (Fienup 1982).

    Attributes:
        beta: Feedback.
    """

    beta: float = Field(0.9, gt=0, le=1)

    def step(self, xp: Backend, x: Array, support: Array, to_modulus: Projection) -> Array:
        found = to_modulus(x)
        return relaxed(xp, support, found, x, (1.0, -self.beta))


@register("phasing_algorithm", "raar")
class RelaxedReflections(PhasingAlgorithm):
    r"""Relaxed averaged alternating reflections, :math:`x = \tfrac\beta2 (R_S R_M + 1) x + (1 - \beta) P_M x`.

    Luke, Inverse Problems 21, 37 (2005), eq. (2.5).

    Attributes:
        beta: Relaxation.
    """

    estimates: ClassVar[bool] = False
    beta: float = Field(0.9, gt=0, le=1)

    def step(self, xp: Backend, x: Array, support: Array, to_modulus: Projection) -> Array:
        found = to_modulus(x)
        return relaxed(xp, support, found, x, (self.beta, 1 - 2 * self.beta))


@register("phasing_algorithm", "dm")
class DifferenceMap(PhasingAlgorithm):
    r"""Difference map, :math:`x + \beta \left[P_M (2 P_S - 1) x - P_S x\right]`.

    Elser, J. Opt. Soc. Am. A 20, 40 (2003), with the estimates for :math:`\beta = 1`, eq. (24), relaxed.

    Attributes:
        beta: Length of the step.
    """

    estimates: ClassVar[bool] = False
    beta: float = Field(0.9, gt=0, le=1)

    def step(self, xp: Backend, x: Array, support: Array, to_modulus: Projection) -> Array:
        inside = xp.where(support, x, 0 * x)
        return x + self.beta * (to_modulus(2 * inside - x) - inside)
