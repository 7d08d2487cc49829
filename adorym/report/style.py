"""The look of all pictures: one place for colors, type, scale bars and color bars.

Figures are made without pyplot: no window, no global state, any number of them in any thread.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from adorym.report.text import quantity

INK, MUTED, GRID = "#1f2328", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREEN = "#2463a6", "#d9711c", "#2f8f6b"
SERIES = (BLUE, ORANGE, GREEN, "#8a5bb5", "#b8457a", "#7a6a2c")
DPI, WIDTH_IN = 150, 9.6

AMPLITUDE_MAP, PHASE_MAP, CYCLIC_MAP, DIFFERENCE_MAP, COUNTS_MAP = "gray", "magma", "twilight", "RdBu_r", "inferno"

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture on every machine
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
}


def styled() -> Any:
    """Context in which figures are built and rendered."""
    return rc_context(_STYLE)


def figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """An empty figure with automatic layout."""
    made = Figure(figsize=(width_in, min(max(height_in, 1.6), 14.0)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    return made


def to_png(drawn: Figure) -> tuple[bytes, int]:
    """The figure as a PNG file's bytes, and its width in pixels."""
    stream = io.BytesIO()
    drawn.savefig(stream, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.06)
    png = stream.getvalue()
    return png, int.from_bytes(png[16:20], "big")  # the header chunk begins with the width


def show(
    ax: Axes,
    image: np.ndarray,
    *,
    cmap: str = AMPLITUDE_MAP,
    limits: tuple[float, float] | None = None,
    pixel: tuple[float, float] = (1.0, 1.0),
) -> AxesImage:
    """Draw ``image`` ``(y, x)`` or ``(y, x, rgb)`` with true proportions; ``pixel`` is its (y, x) pixel size."""
    low, high = limits if limits is not None else (None, None)
    drawn = ax.imshow(image, cmap=cmap, vmin=low, vmax=high, aspect=pixel[0] / pixel[1])
    if image.ndim == 2 and max(image.shape) > 1000:
        drawn.set_interpolation("antialiased")
    ax.set_facecolor("#f3f4f6")  # shines through where nothing is known
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.set_anchor("N")  # titles of a row stand on one line, whatever the pictures' heights
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor="#d1d5db", linewidth=0.6)
    return drawn


def color_bar(drawn: AxesImage, label: str = "", ticks: Sequence[float] | None = None) -> None:
    """A slim color bar beside an image, as high as the image."""
    ax = drawn.axes
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.025, 0.0, 0.032, 1.0)), ticks=ticks)
    bar.outline.set(visible=True, edgecolor="#d1d5db", linewidth=0.6)
    bar.minorticks_off()
    bar.ax.tick_params(length=2)
    bar.ax.grid(False)
    if label:
        bar.ax.set_title(label, loc="left", fontsize=8, color=MUTED, pad=7)


def nice_length(extent: float) -> float:
    """1, 2 or 5 times a power of ten, about a fifth of ``extent``."""
    target = extent / 4
    decade = 10 ** math.floor(math.log10(target))
    return max(step * decade for step in (1, 2, 5) if step * decade <= target * (1 + 1e-9))


def scale_bar(ax: Axes, shape: tuple[int, ...], pixel_x_m: float | None) -> None:
    """A bar of a round length in the lower left corner, in nm or µm where the pixel size is known, else in pixels."""
    pixel, unit = (pixel_x_m, "m") if pixel_x_m else (1.0, "px")
    if shape[1] < 4:
        return
    length = nice_length(shape[1] * pixel)
    left, bottom = 0.045 * shape[1] - 0.5, 0.95 * shape[0] - 0.5
    thickness = 0.012 * shape[0]
    outline = [patheffects.withStroke(linewidth=2.0, foreground=(0, 0, 0, 0.65))]
    bar = Rectangle((left, bottom - thickness), length / pixel, thickness, facecolor="white", linewidth=0)
    bar.set_path_effects([patheffects.withStroke(linewidth=1.6, foreground=(0, 0, 0, 0.65)), patheffects.Normal()])
    ax.add_patch(bar)
    ax.annotate(
        quantity(length, unit, 3),
        (left + length / pixel / 2, bottom - thickness),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color="white",
        fontsize=9,
        fontweight="bold",
        path_effects=outline,
    )


def complex_colors(wave: np.ndarray, largest: float | None = None) -> np.ndarray:
    """``(y, x, 3)`` colors of a complex array: hue is the phase, brightness the amplitude.

    Hues are equally bright (Oklab, B. Ottosson 2020), so that brightness means amplitude alone.
    """
    amplitude = np.abs(wave)
    scale = largest if largest is not None else float(np.nanmax(amplitude, initial=0.0))
    strength = np.nan_to_num(np.clip(amplitude / scale if scale > 0 else amplitude * 0, 0, 1))
    phase = np.nan_to_num(np.angle(wave))
    lightness, chroma = 0.80 * strength**0.8, 0.125 * strength**0.8
    return _oklab_to_srgb(lightness, chroma * np.cos(phase), chroma * np.sin(phase))


def _oklab_to_srgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(cone**3 @ to_linear.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
