"""First objects; importing the package registers them."""

from adorym.initializers import off_axis, phase_contrast, simple

__all__ = ["off_axis", "phase_contrast", "simple"]
