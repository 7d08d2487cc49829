"""A result of a scan on pixels of another size, as after a better distance or energy, or another crop of the detector.

The object and the positions stay where they are in meters, about the middle of the window. The probe's spectrum lies
on the detector's pixels, whatever these are in the object: cropped or padded about the zero frequency, it fits another
crop.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.data.positions import first_px
from adorym.data.result import ParameterResult, Result
from adorym.parameters import POSITIONS

LOG = logging.getLogger("adorym")
# Relative difference of pixel sizes that shifts no pixel of an ordinary object by a tenth of its width.
SAME_PIXEL = 1e-4
# Larger factors are a mistake: of a unit, or of the data.
LARGEST_FACTOR = 4.0
# Difference of the widths of two windows of one detector's pixels, in parts.
SAME_EXTENT = 0.01
# Under which name a result holds where its positions begin; without it, they began at 0.
FIRST = "first_position_px"


def on_grid(result: Result, dataset: Dataset, path: str) -> Result:
    """``result`` on the pixels of ``dataset``, where both are scans and their pixels differ in size; else as it is.

    Positions that are in pixels in the file do not depend on the size of these.
    """
    here, there, probe = dataset.pixel_size_m, result.pixel_size_m, result.probe
    if here is None or there is None or probe is None or dataset.probe_positions_px is None:
        return result
    if len(there) != 2 or np.allclose(here, there, rtol=SAME_PIXEL, atol=0):
        return _in_frame(result, dataset)
    if "probe_positions_px" not in dataset.computed:
        LOG.warning("start_from: '%s' has another pixel size; positions are in pixels, and nothing is resampled", path)
        return replace(result, pixel_size_m=here)
    factor = np.array(there) / np.array(here)
    modes = _fitting(probe.reshape(-1, *probe.shape[-2:]), dataset.window_px, factor)
    if modes is None or not (factor.min() > 1 / LARGEST_FACTOR and factor.max() < LARGEST_FACTOR):
        return result
    LOG.warning(
        "start_from: '%s' is resampled: its pixels are %s times as large", path, ", ".join(f"{f:.4g}" for f in factor)
    )
    before, now = _first(result), first_px(dataset)
    start = result.origin_px[0] + before, result.origin_px[1] + before  # of the first position: all is scaled about it
    y, x = np.ceil(np.array(start) * factor).astype(int).tolist()
    obj = _resampled(np.asarray(result.object), start, (y, x), factor, (probe.shape[-2:], dataset.window_px))
    modes = modes.reshape(*probe.shape[:-2], *dataset.window_px)
    parameters = _positions(result, before, factor, now)
    return replace(
        result, object=obj, origin_px=(y - now, x - now), pixel_size_m=here, probe=modes, parameters=parameters
    )


def _in_frame(result: Result, dataset: Dataset) -> Result:
    """``result``, on the same pixels, with positions that begin where those of ``dataset`` do."""
    before, now = _first(result), first_px(dataset)
    if before == now:
        return result
    y, x = (index + before - now for index in result.origin_px)
    return replace(result, origin_px=(y, x), parameters=_positions(result, before, np.ones(2), now))


def _first(result: Result) -> int:
    return int(result.numbers.get(FIRST, 0))


def _positions(result: Result, before: int, factor: np.ndarray, now: int) -> dict[str, ParameterResult]:
    """The parameters, with positions that begin at ``now`` instead of ``before``, times ``factor``."""
    parameters = dict(result.parameters)
    if POSITIONS in parameters:
        value = (parameters[POSITIONS].value - before) * factor + now
        parameters[POSITIONS] = replace(parameters[POSITIONS], value=value)
    return parameters


def _resampled(
    obj: np.ndarray,
    old: tuple[int, int],
    new: tuple[int, int],
    factor: np.ndarray,
    windows: tuple[tuple[int, ...], tuple[int, ...]],
) -> np.ndarray:
    """The object at the points of the new pixels; ``windows``: (y, x) sizes of both, whose middles coincide."""
    axes = []
    for k in (0, 1):
        size = int(np.ceil(obj.shape[k] * factor[k])) + 1
        middle = [origin + (window[k] - 1) / 2 for origin, window in zip((old[k], new[k]), windows, strict=True)]
        axes.append(middle[0] + (np.arange(size) - middle[1]) / factor[k])
    points = np.meshgrid(*axes, indexing="ij")
    planes = obj.reshape(*obj.shape[:2], -1)
    made = np.stack(
        [
            scipy.ndimage.map_coordinates(planes[..., i], points, order=3, mode="nearest")
            for i in range(planes.shape[-1])
        ],
        -1,
    )
    return made.reshape(*made.shape[:2], *obj.shape[2:]).astype(obj.dtype)


def _fitting(probe: np.ndarray, window: tuple[int, int], factor: np.ndarray) -> np.ndarray | None:
    """The probe for windows of another size; ``None`` if that is not another crop of the same detector."""
    sizes = np.array(window) / np.array(probe.shape[1:])
    if np.allclose(sizes, 1):
        return probe
    if not np.allclose(sizes, factor, rtol=SAME_EXTENT):
        return None
    spectrum = np.fft.fftshift(np.fft.fft2(_centered(probe, 1), norm="ortho"), axes=(1, 2))
    for axis, (n, m) in enumerate(zip(probe.shape[1:], window, strict=True), 1):
        first = n // 2 - m // 2  # the zero frequencies coincide
        if m <= n:
            spectrum = np.take(spectrum, np.arange(first, first + m), axis)
        else:
            widths = [(0, 0)] * 3
            widths[axis] = (-first, m - n + first)
            spectrum = np.pad(spectrum, widths)
    modes = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2)), norm="ortho")
    return _centered(modes, -1).astype(probe.dtype)


def _centered(modes: np.ndarray, sign: int) -> np.ndarray:
    """Modes moved so that the middle of the window, (n - 1) / 2, comes to index 0, or back."""
    spectrum = np.fft.fft2(modes)
    for axis in (1, 2):
        n = modes.shape[axis]
        ramp = np.exp(2j * np.pi * sign * np.fft.fftfreq(n) * (n - 1) / 2)
        spectrum = spectrum * ramp.reshape([-1 if k == axis else 1 for k in range(3)])
    return np.fft.ifft2(spectrum)
