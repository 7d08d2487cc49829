"""A constraint of one's own: above its tip, a sample on a needle is surrounded by vacuum."""

from dataclasses import replace

from pydantic import Field

from adorym import Constraint


class VacuumAbove(Constraint):
    """The transmission is 1 in the first rows of the object.

    Attributes:
        parameter: What it acts on.
        rows: How many rows are empty.
    """

    parameter: str = "object"
    rows: int = Field(ge=0)

    def of_rows(self, start, stop, shape):
        """The same constraint for the rows from ``start`` to ``stop``: a rank may hold no more."""
        return replace(self, rows=max(0, self.rows - start))

    def project(self, xp, tile):
        """The nearest object ``(y, x)`` or ``(y, x, z)`` that is empty there."""
        return xp.concat([xp.zeros_like(tile[: self.rows]) + 1, tile[self.rows :]])
