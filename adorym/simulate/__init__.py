"""Data sets made in the computer, with their truth, on grids of their own."""
