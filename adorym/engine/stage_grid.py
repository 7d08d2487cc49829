r"""The result of one stage of a run on the pixels of the next, whose patterns are cropped or binned in another way.

Cropping the detector makes the object's pixels larger, binning makes the window smaller. How both frames lie to each
other is read off the recorded positions, which every stage has in its own pixels: :math:`p' = q\,p + s`. The probe
keeps its middle pixel, :math:`\lfloor N/2 \rfloor`, so that a point of the object at x, counted as positions are, is at
:math:`x' = q\,(x - \lfloor N/2 \rfloor) + s + \lfloor N'/2 \rfloor`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy  # its slow parts load at their first use

from adorym.data.dataset import Dataset
from adorym.data.result import Result
from adorym.errors import ConfigError
from adorym.optics.probe_files import fit_window
from adorym.parameters import POSITIONS, PROBE

VARIATIONS = "probe_variations"
# Under which name the result of a stage holds the recorded positions.
RECORDED = "recorded_px"
# A frame that differs by less is the same.
SAME_FRAME = 1e-6


@dataclass(frozen=True)
class _Frames:
    """``x' = scale x + shift`` of positions, and the windows."""

    scale: np.ndarray
    shift: np.ndarray
    before: tuple[int, int]
    after: tuple[int, int]

    def back(self, axis: int, x: np.ndarray) -> np.ndarray:
        """Where points at x, in the new pixels, are in the old ones."""
        middle, there = self.before[axis] // 2, self.after[axis] // 2
        return (x - self.shift[axis] - there) / self.scale[axis] + middle

    def forth(self, axis: int, x: float) -> float:
        middle, there = self.before[axis] // 2, self.after[axis] // 2
        return self.scale[axis] * (x - middle) + self.shift[axis] + there


def regridded(result: Result, dataset: Dataset) -> Result:
    """``result`` on the pixels of ``dataset``; detector images of another size are left out.

    Raises:
        ConfigError: It is not that of a scan of a thin object, or the stages share no patterns.
    """
    assert result.probe is not None  # checked by the caller
    frames = _frames(result, dataset)
    window = dataset.window_px
    if frames.before == window and np.abs(frames.scale - 1).max() < SAME_FRAME:
        return result
    fit = "crop_or_pad" if np.abs(frames.scale - 1).max() < SAME_FRAME else "resample"
    parameters = {}
    for name, each in result.parameters.items():
        if name == VARIATIONS:
            each = replace(each, value=fit_window(each.value, window, fit, name), start=None)  # type: ignore[arg-type]
        elif each.value.shape[-2:] == frames.before:
            continue
        elif name == POSITIONS:
            each = replace(each, value=frames.scale * each.value + frames.shift, start=None)
        elif each.unit == "px" and each.value.shape[-1] == 2:
            each = replace(each, value=frames.scale * each.value, start=None)
        parameters[name] = each
    probe = result.probe.reshape(-1, *frames.before)
    probe = fit_window(probe, window, fit, PROBE).reshape(*result.probe.shape[:-2], *window)  # type: ignore[arg-type]
    obj, origin = _object(result, frames)
    pixel = None if result.pixel_size_m is None else (*_pair(result.pixel_size_m, frames), *result.pixel_size_m[2:])
    return replace(result, object=obj, origin_px=origin, probe=probe, parameters=parameters, pixel_size_m=pixel)


def _pair(pixel_m: tuple[float, ...], frames: _Frames) -> tuple[float, float]:
    return pixel_m[0] / float(frames.scale[0]), pixel_m[1] / float(frames.scale[1])


def _frames(result: Result, dataset: Dataset) -> _Frames:
    recorded = result.numbers.get(RECORDED)
    assert result.probe is not None and dataset.probe_positions_px is not None
    if recorded is None or result.representation != "real_imag":
        what = "a stage with other pixels needs a scan of a thin object"
        raise ConfigError("run.stages", what, remedy="leave out crop and bin of the stages")
    own = result.numbers["pattern"]
    _, here, there = np.intersect1d(own, dataset.pattern_numbers, return_indices=True)
    if len(here) < 2:
        raise ConfigError("run.stages", "two stages share no patterns", remedy="choose 'data.frames' that overlap")
    old, new = recorded[here], dataset.probe_positions_px[there]
    a, b = old - old.mean(0), new - new.mean(0)
    scale = (a * b).sum(0) / np.maximum((a * a).sum(0), np.finfo(float).tiny)
    window = (int(result.probe.shape[-2]), int(result.probe.shape[-1]))
    return _Frames(scale, new.mean(0) - scale * old.mean(0), window, dataset.window_px)


def _object(result: Result, frames: _Frames) -> tuple[np.ndarray, tuple[int, int]]:
    """The object on the new pixels, and the index of the new position (0, 0)."""
    places, origin = [], []
    for axis, (n, zero) in enumerate(zip(result.object.shape[:2], result.origin_px, strict=True)):
        low, high = frames.forth(axis, -zero), frames.forth(axis, n - 1 - zero)
        first = int(np.ceil(low))
        origin.append(-first)
        places.append(frames.back(axis, np.arange(first, int(np.floor(high)) + 1)) + zero)
    y, x = np.meshgrid(*places, indexing="ij")
    slices = [np.asarray(result.object[..., z], np.complex128) for z in range(result.object.shape[2])]
    at = scipy.ndimage.map_coordinates
    made = [at(s.real, (y, x), mode="nearest") + 1j * at(s.imag, (y, x), mode="nearest") for s in slices]
    return np.stack(made, axis=-1).astype(np.complex64), (origin[0], origin[1])
