"""Losses: what predicted intensities are compared with counts by; importing the package registers them."""

from adorym.losses import counting
from adorym.losses.base import Loss

__all__ = ["Loss", "counting"]
