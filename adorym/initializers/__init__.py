"""First objects; importing the package registers them."""

from adorym.initializers import algorithms, network, phasing, simple

__all__ = ["algorithms", "network", "phasing", "simple"]
