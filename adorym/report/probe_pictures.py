"""Pictures of the probe and of the positions it was moved to."""

from __future__ import annotations

import numpy as np
import scipy  # its slow parts load at their first use
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adorym.optics.modes import orthogonalize, powers
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.text import number, prefix, quantity

SHOWN_MODES = 8
SHOWN_ARROWS = 1500


def probe_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Orthogonal probe modes at the object: hue is phase, brightness amplitude."""
    probe = scene.result.probe
    if probe is None or probe.size == 0 or not np.isfinite(probe).all():
        return None
    scans = probe.reshape(-1, *probe.shape[-3:])
    modes = orthogonalize(scans).reshape(-1, *probe.shape[-2:])
    total = np.repeat([powers(each).sum() for each in scans], scans.shape[1])
    fractions = powers(modes) / np.maximum(total, np.finfo(float).tiny)
    titles = _titles(scans.shape[0], scans.shape[1], fractions)
    shown = min(len(modes), SHOWN_MODES)
    columns = min(shown, 4)
    rows = -(-shown // columns)
    pixel = scene.result.pixel_m
    aspect = probe.shape[-2] * pixel[0] / (probe.shape[-1] * pixel[1])
    width = (style.WIDTH_IN - 1.0) / max(columns, 2.6)
    drawn = style.figure(rows * (width * aspect + 0.4), columns * width + 1.0)
    axes = drawn.subplots(rows, columns, squeeze=False).ravel()
    for i, ax in enumerate(axes):
        if i >= shown:
            ax.set_visible(False)
            continue
        style.show(ax, style.complex_colors(modes[i]), pixel=pixel)
        ax.set_title(titles[i])
        if i == 0:
            style.scale_bar(ax, modes[i].shape, scene.pixel_x_m)
    _phase_wheel(drawn, axes[columns - 1])
    photons = " and ".join(number(float(powers(each).sum()), 3) for each in scans)
    fixed = scene.result.provenance.get("photons", "")
    caption = (
        "Brightness is amplitude, each mode scaled to its own maximum; hue is phase. "
        f"{photons} photons in the beam{f' ({fixed})' if fixed else ''}."
    )
    if scans.shape[1] > 1:
        caption += " Modes are orthogonalized; per cent of the power."
    return drawn, caption


def _titles(scans: int, modes: int, fractions: np.ndarray) -> list[str]:
    """Of each mode of each scan."""
    found = []
    for i, fraction in enumerate(fractions):
        scan = f"Scan {i // modes + 1}" if scans > 1 else ""
        mode = f"Mode {i % modes + 1}   {100 * fraction:.1f} %" if modes > 1 else ""
        found.append(", ".join(filter(None, (scan, mode))) or "Probe")
    return found


def _phase_wheel(drawn: Figure, ax: Axes) -> None:
    n = 161
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    radius = np.hypot(y, x)
    colors = style.complex_colors(np.minimum(radius, 1) * np.exp(1j * np.arctan2(-y, x)), 1.0)
    edge = np.clip((1 - radius) * n / 2, 0, 1)  # one pixel of soft edge
    wheel = ax.inset_axes((1.06, 0.0, 0.26, 0.26))
    wheel.imshow(np.dstack([colors, edge]))
    wheel.set_axis_off()
    for text, place, align in (("0", (1.06, 0.5), ("left", "center")), ("π/2", (0.5, 1.04), ("center", "bottom"))):
        wheel.text(*place, text, transform=wheel.transAxes, ha=align[0], va=align[1], fontsize=7.5, color=style.MUTED)


def positions_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Where the probe was: start, correction (enlarged if small), and how large the corrections are."""
    refined = scene.positions_px
    if refined is None or len(refined) < 2 or not np.isfinite(refined).all():
        return None
    first = _first_angle(scene, len(refined))
    refined = refined[first]
    parameter = scene.result.parameters.get("probe_positions")
    start = None if parameter is None or parameter.start is None else parameter.start
    if start is not None and start.shape == parameter.value.shape:  # type: ignore[union-attr]
        shift = refined - start[first]
        shift = shift - shift.mean(axis=0)
        if np.abs(shift).max() < 1e-9:
            shift = None
    else:
        shift = None
    pixel, unit = _axis_unit(scene, refined)
    if shift is None:
        drawn = style.figure(4.6, 5.2)
        _scatter(drawn.subplots(), refined * pixel, unit)
        return drawn, f"{len(refined)} probe positions."
    spread = np.ptp(refined * pixel, axis=0)
    drawn = style.figure(4.6)
    left, right = drawn.subplots(1, 2, width_ratios=(float(np.clip(spread[1] / max(spread[0], 1e-30), 0.5, 2.0)), 1))
    enlarged = _enlargement(refined, shift)
    _scatter(left, (refined - shift) * pixel, unit)
    some = np.linspace(0, len(shift) - 1, min(len(shift), SHOWN_ARROWS)).astype(int)
    tail, arrow = ((refined - shift) * pixel)[some], (shift * pixel)[some]
    left.quiver(
        tail[:, 1], tail[:, 0], arrow[:, 1], arrow[:, 0], angles="xy", scale_units="xy",
        scale=1 / enlarged, width=0.0028, headwidth=3.5, color=style.BLUE, zorder=3,
    )  # fmt: skip
    left.set_title("Start and correction" + (f" (arrows × {enlarged:g})" if enlarged > 1 else ""))
    rms = _histogram(right, np.hypot(*shift.T))
    size = scene.result.pixel_size_m
    physical = "" if size is None else f" ({quantity(rms * float(np.sqrt(size[0] * size[1])), 'm', 3)})"
    caption = f"{len(refined)} positions, corrected by {number(rms, 3)} px rms{physical}, mean shift removed."
    if len(some) < len(shift):
        caption += f" {len(some)} arrows shown."
    return drawn, caption


def _first_angle(scene: Scene, n: int) -> np.ndarray:
    if scene.dataset is not None and scene.dataset.n_angles > 1 and len(scene.dataset.angle_index) == n:
        return np.flatnonzero(scene.dataset.angle_index == scene.dataset.angle_index[0])
    return np.arange(n)


def _axis_unit(scene: Scene, positions: np.ndarray) -> tuple[np.ndarray, str]:
    """Factor (y, x) from pixels to the unit of the axes."""
    size = scene.result.pixel_size_m
    if size is None:
        return np.ones(2), "px"
    factor, unit = prefix(float(np.max(np.ptp(positions, axis=0) * size[:2])) or 1.0, "m")
    return np.array(size[:2]) * factor, unit


def _scatter(ax: Axes, positions: np.ndarray, unit: str) -> None:
    area = float(np.clip(2500 / len(positions), 2, 14))
    ax.scatter(positions[:, 1], positions[:, 0], s=area, color="#9ca3af", linewidths=0, zorder=2)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.06)
    ax.invert_yaxis()  # rows count downwards, as in the pictures of the object
    ax.set_xlabel(f"x ({unit})")
    ax.set_ylabel(f"y ({unit})")
    ax.set_title("Probe positions")


def _enlargement(positions: np.ndarray, shift: np.ndarray) -> float:
    """Round factor that makes a typical arrow as long as neighbors are apart, never below 1."""
    apart = np.median(scipy.spatial.cKDTree(positions).query(positions, k=2)[0][:, 1])
    typical = np.median(np.hypot(*shift.T))
    if not 0 < typical < apart:
        return 1.0
    ratio = 0.9 * apart / typical
    return max(1.0, style.nice_length(4 * ratio))


def _histogram(ax: Axes, length: np.ndarray) -> float:
    rms = float(np.sqrt(np.mean(length**2)))
    bins = int(np.clip(2 * np.sqrt(len(length)), 8, 60))
    ax.hist(length, bins=bins, range=(0, float(np.percentile(length, 99.5)) * 1.05), color=style.BLUE, alpha=0.85)
    ax.axvline(rms, color=style.ORANGE, linewidth=1.4)
    ax.annotate(
        f"rms {number(rms, 3)} px", (rms, 0.97), xycoords=("data", "axes fraction"), xytext=(5, 0),
        textcoords="offset points", color=style.ORANGE, va="top",
    )  # fmt: skip
    ax.set_xlabel("length of correction (px)")
    ax.set_ylabel("positions")
    ax.grid(axis="x", visible=False)
    ax.set_title("Size of the corrections")
    return rms
