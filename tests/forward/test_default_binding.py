"""What a model gets that says nothing of its binding."""

from typing import Any, ClassVar

import numpy as np
import pytest
from tiny_scan import Exact

from adorym.data.dataset import Dataset
from adorym.forward.base import ForwardModel
from adorym.forward.object import ObjectSettings, object_parameter
from adorym.registry import component


@component
class Mean(ForwardModel):
    """The brightness of the object alone."""

    kind: ClassVar[str] = "mean"
    refinable: ClassVar[dict[str, Any]] = {"object": object_parameter(optimizer={"kind": "adam"})}

    def predict(self, xp, obj, params, batch):
        return xp.abs2(obj)


@pytest.mark.parametrize("margin", [0, 3])
def test_pictures_without_positions_show_the_whole_object(margin):
    data = Dataset(Exact(np.ones((4, 10, 12))))
    bound = Mean().bind(data, {"object": ObjectSettings(margin_px=margin)})
    assert bound.shape == (10 + 2 * margin, 12 + 2 * margin) and bound.origin_px == (margin, margin)
    windows = bound.view.windows(np.array([bound.origin_px]), bound.shape, {})
    assert windows.shape == (10, 12)
