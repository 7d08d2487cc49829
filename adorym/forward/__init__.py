"""Forward models: the physics that predicts a measurement. Importing the package registers them."""

from adorym.forward import (
    bragg_cdi,
    bragg_ptychography,
    cone_tomography,
    fourier_ptychography,
    holography,
    holotomography,
    multi_peak,
    multislice,
    ptychography,
    ptychotomography,
    rocking_curve,
    speckle_tracking,
    tomography,
)
from adorym.forward.base import ForwardModel, Request
from adorym.forward.object import FirstObject, Initializer

__all__ = [
    "FirstObject",
    "ForwardModel",
    "Initializer",
    "Request",
    "bragg_cdi",
    "bragg_ptychography",
    "cone_tomography",
    "fourier_ptychography",
    "holography",
    "holotomography",
    "multi_peak",
    "multislice",
    "ptychography",
    "ptychotomography",
    "rocking_curve",
    "speckle_tracking",
    "tomography",
]
