"""First objects; importing the package registers them."""

from adorym.initializers import off_axis, phase_contrast, simple, tomographic

__all__ = ["off_axis", "phase_contrast", "simple", "tomographic"]
