"""What a regularizer is: a sum over one parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from adorym.wrapper.base import Array, Backend


class Regularizer(ABC):
    """A term of one parameter that is added to the loss.

    It sees the parameter's *deviation* from rest, :math:`u = (x - x_0)/s`: of the object from vacuum (transmission 1,
    or delta = beta = 0), of the probe from nothing, of everything else from its start value; s is the scale that a
    learning rate without unit refers to. The engine divides the sum by the number of elements, a fixed number, and
    adds it once an epoch, spread over the batches.

    Attributes:
        parameter: Name of the parameter that it acts on.
        weight: Factor on the term.
        halo_px: How many pixels after its last ones a tile needs, so that the values of all tiles add up to that of
            the whole object; ``None`` if the term is no sum over pixels and their neighbors.
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
        """Diagonal of a quadratic that touches the term at ``deviation`` and lies above it: real, of its shape.

        Steps that divide by the curvature of the loss add it; they would overshoot otherwise.
        """


class ProximalRegularizer(Regularizer):
    """A regularizer with a proximal operator, for splitting methods (Parikh & Boyd, Found. Trends Optim. 1 (2014))."""

    @abstractmethod
    def prox(self, xp: Backend, deviation: Array, step: float) -> Array:
        r"""The minimum over u of :math:`\tfrac12 |u - u_0|^2 + \tau R(u)`, step :math:`\tau`, weight included.

        Where the value is rounded off near zero to be differentiable, the operator is that of the sharp term.
        """


def proximal_terms(terms: Iterable[Regularizer]) -> dict[str, ProximalRegularizer]:
    """The first proximal term of every parameter; the operator of a sum of terms is not known."""
    found: dict[str, ProximalRegularizer] = {}
    for term in terms:
        if isinstance(term, ProximalRegularizer):
            found.setdefault(term.parameter, term)
    return found
