"""Forward models: physics that predicts what the detector measures; importing the package registers them."""

from adorym.forward import holography, holotomography, multislice, ptychography, ptychotomography, tomography
from adorym.forward.base import ForwardModel, Initializer, Request
from adorym.forward.scanning import ScanningModel

__all__ = [
    "ForwardModel",
    "Initializer",
    "Request",
    "ScanningModel",
    "holography",
    "holotomography",
    "multislice",
    "ptychography",
    "ptychotomography",
    "tomography",
]
