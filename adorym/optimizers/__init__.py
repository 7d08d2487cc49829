"""Optimizers and learning-rate schedules; importing the package registers them."""

from adorym.optimizers import first_order, preconditioned, schedules
from adorym.optimizers.base import Gradient, Optimizer

__all__ = ["Gradient", "Optimizer", "first_order", "preconditioned", "schedules"]
