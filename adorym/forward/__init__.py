"""Forward models: physics that predicts what the detector measures; importing the package registers them."""

from adorym.forward import (
    bragg_cdi,
    holography,
    holotomography,
    multi_peak,
    multislice,
    ptychography,
    ptychotomography,
    rocking_curve,
    tomography,
)
from adorym.forward.base import FirstObject, ForwardModel, Initializer, Request
from adorym.forward.scanning import ScanningModel

__all__ = [
    "FirstObject",
    "ForwardModel",
    "Initializer",
    "Request",
    "ScanningModel",
    "bragg_cdi",
    "holography",
    "holotomography",
    "multi_peak",
    "multislice",
    "ptychography",
    "ptychotomography",
    "rocking_curve",
    "tomography",
]
