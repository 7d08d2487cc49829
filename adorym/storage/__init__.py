"""Stores of the object: in memory, distributed over ranks, or in a file."""
