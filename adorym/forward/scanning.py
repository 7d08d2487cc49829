r"""What all models share that scan a probe over the object: where windows lie, and the parameters object, probe, positions.

A subclass has only to predict. It need not give curvatures either: wherever the detector sees
:math:`\sum_m |\mathcal U [O\,P_m]|^2` with a unitary :math:`\mathcal U`, whatever that is, the Gauss-Newton matrix of
the loss is bounded by the diagonals :math:`q\sum_m |P_m|^2` for the object and :math:`q\sum_j |O_j|^2` for the probe
(Maiden, Johnson & Li, Optica 4, 736 (2017)). That is what makes the ``preconditioned`` step of both fast.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from adorym.data.batches import Batch
from adorym.data.dataset import Dataset
from adorym.errors import DataError
from adorym.forward.base import ForwardModel, Request, object_parameter
from adorym.forward.probe import probe_parameter
from adorym.losses.base import Loss
from adorym.optics.geometry import Geometry, Regime
from adorym.optics.windows import object_shape
from adorym.parameters import Parameter, ParameterSettings
from adorym.wrapper.base import Array, Backend
