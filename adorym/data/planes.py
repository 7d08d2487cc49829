"""Planes of an object to look at: a channel, a section through it, and the range of its colors."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from adorym.data.field_of_view import robust_range, solid, without_ramp
from adorym.data.looks import Look

AXES = ("y", "x", "z")
CHANNELS = {
    "real_imag": ("amplitude", "phase"),
    "delta_beta": ("delta", "beta"),
    "attenuation": ("attenuation",),
}


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture.

    Attributes:
        values: ``(rows, columns)`` float32; NaN where there is nothing to see.
        low: Start of the range of its colors.
        high: End of it.
    """

    values: np.ndarray
    low: float
    high: float


def channels(seen: Look[Any]) -> tuple[str, ...]:
    """Names of what can be seen of the object."""
    return CHANNELS[seen.result.representation]


def plane(seen: Look[Any], channel: str, axis: str = "z", index: int = 0) -> Plane:
    """The section of ``channel`` across ``axis`` at ``index`` of the thinned object.

    Of a scan only the seen part is shown, without global phase and, across z, without the phase ramp.

    Raises:
        IndexError: There is no such section.
        ValueError: No such channel or axis.
    """
    which, number = AXES.index(axis), channels(seen).index(channel)
    view, obj = seen.view, seen.result.object
    cut = np.take(obj, index, axis=which)
    inside, bright = np.ones(cut.shape[:2], bool), np.ones(cut.shape[:2], bool)
    if axis == "z":
        cut, inside, bright = cut[view.crop], view.seen, view.bright
    if seen.result.representation == "real_imag":
        amplitude = np.abs(cut)
        if channel == "phase":
            inside = inside if view.scanned else inside & solid(amplitude)
            values = np.angle(without_ramp(cut, inside & bright, ramp=view.scanned and axis == "z"))
        else:
            values = amplitude
    else:
        values = cut[..., number] if cut.ndim == 3 else cut
    low, high = robust_range(values, inside & bright)
    return Plane(np.where(inside, values, np.nan).astype(np.float32), low, high)


def png(shown: Plane, longest_px: int = 320) -> bytes:
    """A gray PNG, its longer side enlarged or reduced to ``longest_px``; transparent where there is nothing to see."""
    scaled = np.clip((shown.values - shown.low) / (shown.high - shown.low), 0, 1)
    alpha = np.where(np.isfinite(scaled), 255, 0)
    pixels = np.stack([np.nan_to_num(scaled) * 255, alpha], axis=-1).astype(np.uint8)
    picture = Image.fromarray(pixels, "LA")
    factor = longest_px / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()
