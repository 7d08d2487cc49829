"""Preconditioners: approximations of the curvature of the loss, which gradient steps divide by."""

from adorym.preconditioners.base import Point, Preconditioner
from adorym.preconditioners.blocks import Blocks
from adorym.preconditioners.contrast_transfer import ContrastTransfer
from adorym.preconditioners.diagonal import Diagonal, Largest
from adorym.preconditioners.probed import Probed

__all__ = ["Blocks", "ContrastTransfer", "Diagonal", "Largest", "Point", "Preconditioner", "Probed"]
