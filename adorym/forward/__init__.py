"""Forward models: physics that predicts what the detector measures; importing the package registers them."""

from adorym.forward import bragg_cdi, multi_peak, ptychography, rocking_curve
from adorym.forward.base import ForwardModel, Initializer, Request, Start
from adorym.forward.scanning import ScanningModel

__all__ = [
    "ForwardModel",
    "Initializer",
    "Request",
    "ScanningModel",
    "Start",
    "bragg_cdi",
    "multi_peak",
    "ptychography",
    "rocking_curve",
]
