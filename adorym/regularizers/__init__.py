"""Regularizers: terms of a parameter that are added to the loss; importing the package registers them."""

from adorym.regularizers import crosstalk, sparsity, variation
from adorym.regularizers.base import ProximalRegularizer, Regularizer

__all__ = ["ProximalRegularizer", "Regularizer", "crosstalk", "sparsity", "variation"]
