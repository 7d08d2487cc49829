"""Compare a reconstructed crystal with the truth that a simulation stored beside its data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from adorym import metrics
from adorym.data.dataset import Dataset
from adorym.data.result import Result
from adorym.errors import DataError
from adorym.metrics.crystal import CrystalMatch, match
from adorym.metrics.shells import shell_correlation


def crystal_scores(result: Result, data: Dataset, where: str) -> tuple[list[dict[str, Any]], metrics.RingCorrelation]:
    """``(figures as keywords, Fourier shell correlation)``; twin, shift, ramp, offset and scale are removed.

    Raises:
        DataError: The two have different shapes.
    """
    true = np.asarray(data.truth["crystal"])
    if result.object.shape != true.shape:
        raise DataError(
            where, "the crystal has another shape than the truth", expected=true.shape, found=result.object.shape
        )
    compared = match(result.object, true)
    shells = shell_correlation(compared.aligned, true, truth=True)
    return list(_figures(compared, shells, result, data)), shells


def _figures(
    compared: CrystalMatch, shells: metrics.RingCorrelation, result: Result, data: Dataset
) -> Iterator[dict[str, Any]]:
    note = "the twin of the truth" if compared.twin else ""
    yield {"key": "overlap", "name": "complex overlap", "value": compared.overlap, "note": note}
    yield {"key": "shape_error", "name": "shape error", "value": compared.shape_error, "note": "of the amplitude's sum"}
    yield {"key": "phase_rms_rad", "name": "phase error, rms", "value": compared.phase_rms_rad, "unit": "rad"}
    limit = "limited by the voxel" if shells.resolved else "half period, half-bit crossing"
    yield {"key": "resolution_px", "name": "resolution (FSC)", "value": shells.half_period, "unit": "px", "note": limit}
    wanted, refined = data.truth.get("rocking_positions_px"), result.parameters.get("rocking_positions")
    if wanted is not None and refined is not None and len(wanted) == len(refined.value):
        for key, value in (("rocking_rms_px", refined.value), ("rocking_start_rms_px", refined.start)):
            if value is not None:
                name = "rocking positions, rms" + (" at the start" if "start" in key else "")
                yield {"key": key, "name": name, "value": _place_error(value, wanted), "unit": "px"}


def _place_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square without a common shift and stretch, which the data do not determine."""
    design = np.stack([np.ones(len(wanted)), wanted], axis=1)
    difference = found.ravel() - design @ np.linalg.lstsq(design, found.ravel(), rcond=None)[0]
    return float(np.sqrt(np.mean(difference**2)))
