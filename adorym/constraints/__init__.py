"""Constraints: projections of a parameter; importing the package registers them."""

from adorym.constraints import object, probe
from adorym.constraints.base import Constraint

__all__ = ["Constraint", "object", "probe"]
