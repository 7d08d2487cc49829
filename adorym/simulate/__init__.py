"""Data sets made in the computer, with their truth, on grids of their own; importing the package registers them."""

from adorym.simulate import experiments, foam, ptychotomography, thick

__all__ = ["experiments", "foam", "ptychotomography", "thick"]
