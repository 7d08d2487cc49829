"""``adorym predict``: the picture of a scan from a trained network alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adorym._version import __version__
from adorym.data.dataset import Dataset
from adorym.data.open import open_dataset
from adorym.data.result import ParameterResult, Result, write_result
from adorym.errors import DataError, GeometryError
from adorym.forward.thin import check_scan
from adorym.networks.onnx_runtime import is_installed, onnx_core
from adorym.networks.prediction import Prediction
from adorym.networks.trained import TrainedNetwork
from adorym.optics.geometry import Geometry
from adorym.optics.probe_files import fit_window, read_probe
from adorym.optics.windows import object_shape
from adorym.report import style

LOG = logging.getLogger("adorym")
RESULT, PICTURE = "result.h5", "picture.png"


@dataclass(frozen=True)
class Predicted:
    """What a prediction wrote, and how far it can be believed.

    Attributes:
        result: Path of the result.
        picture: Path of the picture.
        patterns: Number of patterns.
        seconds: Time of the prediction, reading of the patterns included.
        quality: Median misfit over that of vacuum.
        foreign: Why the data are foreign to the network; ``None`` if they are not.
    """

    result: Path
    picture: Path
    patterns: int
    seconds: float
    quality: float
    foreign: str | None


def predict(
    data: str | Path,
    weights: str | Path | None,
    output: str | Path,
    probe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    keep_patches: bool = False,
) -> Predicted:
    """Predict the object of a scan; write ``result.h5`` and ``picture.png`` into ``output``.

    The convolutions run in onnxruntime where it is installed.

    Args:
        data: Data file of any readable format.
        weights: Weights of a ``ptycho_nn``; those that the package brings if ``None``.
        output: Folder.
        probe: File or result with the probe; that of the data file if absent.
        settings: Data settings, as in the section ``data`` of a configuration.
        keep_patches: Also write the patch under every pattern.

    Raises:
        InputError: A file cannot be read, there is no probe, or sizes differ.
    """
    dataset = open_dataset(data, settings)
    check_scan(dataset)
    trained = TrainedNetwork.load(weights)
    scan = trained.scan(dataset, _probe(dataset, probe))
    shape, origin = object_shape(scan.positions_px, dataset.window_px)
    core = onnx_core(trained.network) if is_installed() else None
    start = time.perf_counter()
    found = trained.predict(scan, shape, origin, core)
    seconds = time.perf_counter() - start
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    made = _result(dataset, scan.probe * np.sqrt(scan.photons), found, origin, keep_patches)
    path = write_result(made, folder / RESULT)
    picture = save_prediction(found, folder / PICTURE)
    foreign = trained.foreign(scan, found)
    return Predicted(path, picture, scan.length, seconds, found.quality, foreign)


def _probe(dataset: Dataset, path: str | Path | None) -> np.ndarray:
    if path is not None:
        return fit_window(read_probe(path), dataset.window_px, "error", str(path))
    if dataset.start_probe is None:
        raise DataError(
            dataset.path, "the data bring no probe, which the network needs", remedy="give '--probe FILE', such as the "
            "result of an earlier run",
        )  # fmt: skip
    return dataset.start_probe


def _result(
    dataset: Dataset, probe: np.ndarray, found: Prediction, origin: tuple[int, int], keep_patches: bool
) -> Result:
    fit = dict(found.diagnostics)
    if keep_patches and found.patches is not None:
        fit["patches"] = found.patches
    positions = dataset.probe_positions_px
    assert positions is not None  # a scan
    return Result(
        object=found.object[..., None],
        origin_px=origin,
        pixel_size_m=_pixel_size_m(dataset),
        probe=probe,
        parameters={"probe_positions": ParameterResult(positions, "px")},
        fit=fit,
        provenance={"version": __version__, "made by": "adorym predict"},
    )


def _pixel_size_m(dataset: Dataset) -> tuple[float, float] | None:
    try:
        return Geometry.of(dataset).pixel_size_m("far_field")
    except GeometryError:
        return None


def save_prediction(found: Prediction, path: Path) -> Path:
    """Write a picture of amplitude, phase and coverage."""
    seen = found.coverage > 0
    amplitude, phase = (np.where(seen, a, np.nan) for a in (np.abs(found.object), np.angle(found.object)))
    with style.styled():
        drawn = style.figure(2.8)
        for ax, (title, image) in zip(
            drawn.subplots(1, 3),
            {"amplitude": amplitude, "phase (rad)": phase, "coverage": found.coverage}.items(),
            strict=True,
        ):
            shown = ax.imshow(image, cmap="gray" if title == "amplitude" else None)
            ax.set(title=title, xticks=[], yticks=[])
            drawn.colorbar(shown, ax=ax, shrink=0.8)
        path.write_bytes(style.to_png(drawn)[0])
    return path
