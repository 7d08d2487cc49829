"""First objects; importing the package registers them."""

from adorym.initializers import simple

__all__ = ["simple"]
