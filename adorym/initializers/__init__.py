"""Start objects; importing the package registers them."""

from adorym.initializers import algorithms, network, off_axis, phase_contrast, phasing, simple, tomographic

__all__ = ["algorithms", "network", "off_axis", "phase_contrast", "phasing", "simple", "tomographic"]
