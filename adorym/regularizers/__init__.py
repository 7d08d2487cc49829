"""Regularizers: terms of the object that are added to the loss; importing the package registers them."""

from adorym.regularizers import variation
from adorym.regularizers.base import Regularizer

__all__ = ["Regularizer", "variation"]
