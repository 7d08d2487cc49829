"""Data sets made in the computer, with their truth, on grids of their own; importing the package registers them."""

from adorym.simulate import cones, experiments, foam

__all__ = ["cones", "experiments", "foam"]
