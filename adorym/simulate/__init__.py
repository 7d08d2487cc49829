"""Data sets made in the computer, with their truth, on grids of their own; importing the package registers them."""

from adorym.simulate import experiments, foam, full_field, ptychotomography, thick

__all__ = ["experiments", "foam", "full_field", "ptychotomography", "thick"]
