r"""What a preconditioner is: an approximation of the Gauss-Newton matrix of one parameter.

With the amplitudes :math:`a = \sqrt{I + \epsilon}`, their Jacobian :math:`J = \partial a / \partial u` and the second
derivative q of the weighted loss by an amplitude, the Gauss-Newton matrix is :math:`q\,J^T M J`, M being the mask. What
is kept of it is a diagonal, small blocks, or an operator that is applied to the whole gradient.
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
    """Where a curvature is asked for: a batch, and the values it is predicted from. Nothing here is traced.

    Attributes:
        xp: Backend.
        predict: The model's prediction for other values.
        obj: Windows of the object, as the model takes them.
        params: Values by name, one row a pattern where a parameter has rows.
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
        needs_whole: Whether `apply` needs the whole gradient, not some rows of it.
    """

    needs_whole: ClassVar[bool] = False

    @abstractmethod
    def curvature(self, name: str, point: Point) -> Array:
        """Curvature by the parameter ``name``, summed over the batch.

        Of the object ``(n or 1, y, x, ...)``, one window each; of another parameter its diagonal, of its shape or
        broadcasting to it, one row a pattern where it has rows; or its blocks, ``(..., k, k)``. Not negative.
        """

    def apply(self, xp: Backend, unknown: Array, gradient: Array) -> Array:
        """The gradient by the whole object times a positive operator, before the step divides by the curvature."""
        return gradient
