"""Data sets: what was measured, the files it comes from and goes to, and the batches it is used in."""
