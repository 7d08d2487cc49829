"""Forward models: physics that predicts what the detector measures; importing the package registers them."""

from adorym.forward import bragg_cdi, multi_peak, ptychography, rocking_curve
from adorym.forward.base import FirstObject, ForwardModel, Initializer, Request
from adorym.forward.scanning import ScanningModel

__all__ = [
    "FirstObject",
    "ForwardModel",
    "Initializer",
    "Request",
    "ScanningModel",
    "bragg_cdi",
    "multi_peak",
    "ptychography",
    "rocking_curve",
]
