"""The regularizer: a sum over one parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from adorym.wrapper.base import Array, Backend


class Regularizer(ABC):
    """A term of one parameter that is added to the loss.

    It acts on the parameter's *deviation* from a reference value, :math:`u = (x - x_0)/s`: vacuum for the object
    (transmission 1, or delta = beta = 0), zero for the probe, the start value for all others; s is the scale that a
    learning rate without unit refers to. The engine divides the sum by the number of elements, a fixed number, and
    adds it once per epoch, distributed over the batches.

    Attributes:
        parameter: Name of the parameter that it acts on.
        weight: Factor on the term.
        halo_px: Number of pixels that a tile needs after its last ones, so that the values of all tiles add up to that
            of the whole object; ``None`` if the term is not a sum over pixels and their neighbors.
    """

    kind: ClassVar[str]
    halo_px: ClassVar[int | None] = 0
    parameter: str
    weight: float

    @abstractmethod
    def value(self, xp: Backend, deviation: Array) -> Array:
        """``weight`` times the sum over all elements; ``deviation`` has the shape of the parameter."""

    @abstractmethod
    def curvature(self, xp: Backend, deviation: Array) -> Array:
        """Diagonal of a quadratic upper bound that touches the term at ``deviation``: real, of its shape.

        Steps that divide by the curvature of the loss add it; otherwise they would overshoot.
        """


class ProximalRegularizer(Regularizer):
    """A regularizer with a proximal operator, for splitting methods (Parikh & Boyd, Found. Trends Optim. 1 (2014))."""

    @abstractmethod
    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        r"""The minimum over u of :math:`\tfrac12 |u - u_0|^2 + \tau R(u)`, step :math:`\tau`, weight included.

        If the value is smoothed near zero to be differentiable, the operator is that of the unsmoothed term.
        """


def proximal_terms(terms: Iterable[Regularizer]) -> dict[str, ProximalRegularizer]:
    """The first proximal term of every parameter; the operator of a sum of terms is not known."""
    found: dict[str, ProximalRegularizer] = {}
    for term in terms:
        if isinstance(term, ProximalRegularizer):
            found.setdefault(term.parameter, term)
    return found
