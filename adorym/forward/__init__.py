"""Forward models: physics that predicts what the detector measures; importing the package registers them."""

from adorym.forward import ptychography
from adorym.forward.base import ForwardModel, Initializer, Request

__all__ = ["ForwardModel", "Initializer", "Request", "ptychography"]
