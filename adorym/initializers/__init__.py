"""First objects; importing the package registers them."""

from adorym.initializers import algorithms, phasing, simple

__all__ = ["algorithms", "phasing", "simple"]
