"""First objects; importing the package registers them."""

from adorym.initializers import phase_contrast, simple

__all__ = ["phase_contrast", "simple"]
