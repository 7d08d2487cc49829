"""First objects; importing the package registers them."""

from adorym.initializers import simple, tomographic

__all__ = ["simple", "tomographic"]
