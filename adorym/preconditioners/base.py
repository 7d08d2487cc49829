r"""The preconditioner: an approximation of the Gauss-Newton matrix of one parameter.

With the amplitudes :math:`a = \sqrt{I + \epsilon}`, their Jacobian :math:`J = \partial a / \partial u` and the second
derivative q of the weighted loss by an amplitude, the Gauss-Newton matrix is :math:`q\,J^T M J` with the mask M. It is
approximated by a diagonal, by small blocks, or by an operator on the whole gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from adorym.data.batches import Batch
from adorym.wrapper.base import Array, Backend

# ``f(obj, params)`` -> intensities ``(n, y, x)``
Predict = Callable[[Array, Mapping[str, Array]], Array]


@dataclass(frozen=True, eq=False)
class Point:
    """The point at which a curvature is computed: a batch, and the current values, outside the AD graph.

    Attributes:
        xp: Backend.
        predict: The model's prediction for other values.
        obj: Windows of the object, as the model takes them.
        params: Values by name; for a parameter with rows, one row per pattern.
        batch: The patterns.
        weight: q, the second derivative of the weighted loss by an amplitude.
    """

    xp: Backend
    predict: Predict
    obj: Array
    params: Mapping[str, Array]
    batch: Batch[Any]
    weight: float

    def amplitudes(self, **changed: Array) -> Array:
        """Predicted amplitudes ``(n, y, x)`` with some parameters changed; masked pixels are zero."""
        a = self.xp.sqrt(self.predict(self.obj, {**self.params, **changed}) + self.batch.floor)
        return a if self.batch.mask is None else a * self.xp.sqrt(self.batch.mask)


class Preconditioner(ABC):
    """An approximation of the curvature of the loss by one parameter.

    Attributes:
        needs_whole: Whether `apply` needs the whole gradient instead of some of its rows.
    """

    needs_whole: ClassVar[bool] = False

    @abstractmethod
    def curvature(self, name: str, point: Point) -> Array:
        """Curvature by the parameter ``name``, summed over the batch.

        For the object ``(n or 1, y, x, ...)``, one window each. For another parameter the diagonal, of its shape or
        broadcastable to it, one row per pattern if it has rows; or blocks ``(..., k, k)``. Not negative.
        """

    def of_sum(self, xp: Backend, curvature: Array, largest: Array | float) -> Array:
        """What a step divides by, from the sum of `curvature` over a batch and its largest entry in the whole array."""
        return curvature

    def apply(self, xp: Backend, unknown: Array, gradient: Array) -> Array:
        """The gradient by the whole object times a positive operator, before the step divides by the curvature."""
        return gradient
