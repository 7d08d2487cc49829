"""Constraints: projections of a parameter; importing the package registers them."""

from adorym.constraints import limits, object, probe, support
from adorym.constraints.base import Constraint

__all__ = ["Constraint", "limits", "object", "probe", "support"]
