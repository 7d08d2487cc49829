"""Solvers: update all refined parameters together on all data. Importing the package registers them."""

from adorym.solvers import library, line_search, memory, newton, preconditioners, splitting
from adorym.solvers.base import Objective, Solver, State, Step
from adorym.solvers.preconditioners import Preconditioner

__all__ = [
    "Objective",
    "Preconditioner",
    "Solver",
    "State",
    "Step",
    "library",
    "line_search",
    "memory",
    "newton",
    "preconditioners",
    "splitting",
]
