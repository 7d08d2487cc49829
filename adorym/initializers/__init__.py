"""Start objects; importing the package registers them."""

from adorym.initializers import (
    algorithms,
    network,
    off_axis,
    phase_contrast,
    phasing,
    ptycho_network,
    simple,
    tomographic,
)

__all__ = ["algorithms", "network", "off_axis", "phase_contrast", "phasing", "ptycho_network", "simple", "tomographic"]
