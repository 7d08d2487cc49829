"""Updates: changes of the unknowns between two batches, state -> state."""

from adorym.updates.autofocus import Autofocus, FocusUpdate
from adorym.updates.base import State, Update
from adorym.updates.gauge import FactorGauge, OffsetGauge, TiltGauge
from adorym.updates.support import SupportSettings, SupportUpdate
from adorym.updates.trend import PositionTrend

__all__ = [
    "Autofocus",
    "FactorGauge",
    "FocusUpdate",
    "OffsetGauge",
    "PositionTrend",
    "State",
    "SupportSettings",
    "SupportUpdate",
    "TiltGauge",
    "Update",
]
