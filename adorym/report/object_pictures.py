"""Pictures of the object: the part that the data saw, in colors that the rest does not influence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its slow parts load at their first use
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adorym.data.field_of_view import FieldOfView, robust_range, solid, without_ramp
from adorym.data.result import Result
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.text import number, power_of_ten, prefix

MAX_SLICES = 16  # an object of more slices is a volume: it is shown in three sections, not slice by slice
SHOWN_SLICES = 4
THIN = 16  # of a volume this much wider than high only the section across its height is shown


@dataclass(frozen=True, eq=False)
class Panel:
    """One image: ``values`` ``(y, x)``, where they are shown, where they set the colors, (y, x) pixel size, title."""

    values: np.ndarray
    seen: np.ndarray
    bright: np.ndarray
    pixel: tuple[float, float]
    title: str


def object_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Amplitude and phase, or delta and beta: of one slice, of some slices, or in three sections of a volume."""
    result, view = scene.result, scene.view
    if 0 in result.object.shape:
        return None
    depth = result.object.shape[2]
    rows = _slices(result, view) if depth <= MAX_SLICES else _sections(result, view)
    caption = _caption(result, view)
    if depth > MAX_SLICES:
        many = max(map(len, rows.values())) > 1
        caption += " Sections through the center of mass." if many else " The section of most matter along y."
    elif depth > SHOWN_SLICES:
        caption += f" {SHOWN_SLICES} of {depth} slices."
    return _grid(rows, result.pixel_size_m is not None), caption


def _caption(result: Result, view: FieldOfView) -> str:
    area = "The scanned area; " if view.scanned else ""
    if result.representation == "attenuation":
        text = area + f"linear attenuation coefficient in 1/{'voxel' if result.pixel_size_m is None else 'm'}."
    elif result.representation == "delta_beta":
        text = area + "refractive index n = 1 − δ + iβ."
    elif view.scanned:
        text = area + "global phase and linear phase ramp removed."
    else:
        text = area + "global phase removed."
    return text[:1].upper() + text[1:]


def _slices(result: Result, view: FieldOfView) -> dict[str, list[Panel]]:
    depth = result.object.shape[2]
    chosen = np.unique(np.linspace(0, depth - 1, min(depth, SHOWN_SLICES)).round().astype(int))
    factor, unit = prefix((depth - 1) * result.voxel_size_m[2], "m") if result.voxel_size_m else (1.0, "")
    rows: dict[str, list[Panel]] = {}
    for z in chosen:
        plane = result.object[view.crop[0], view.crop[1], z]
        where = "" if depth == 1 else f"slice {z + 1}"
        if depth > 1 and result.voxel_size_m:
            where += f", z = {number(z * result.voxel_size_m[2] * factor, 3)} {unit}"
        for name, values, seen in _channels(plane, result.representation, view, ramp=view.scanned):
            rows.setdefault(name, []).append(Panel(values, seen, seen & view.bright, result.pixel_m, where))
    return rows


def _channels(
    plane: np.ndarray, representation: str, view: FieldOfView | None, *, ramp: bool = False
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, values and where they are shown, of each channel of a plane ``(y, x)`` complex or ``(y, x, 2)``."""
    seen = np.ones(plane.shape[:2], bool) if view is None else view.seen
    if representation == "attenuation":
        return [("μ", plane, seen)]
    if representation == "delta_beta":
        return [("δ", plane[..., 0], seen), ("β", plane[..., 1], seen)]
    amplitude = np.abs(plane)
    inside = seen if ramp else seen & solid(amplitude)
    phase = np.angle(without_ramp(plane, inside if view is None else inside & view.bright, ramp=ramp))
    return [("amplitude", amplitude, seen), ("phase", phase, inside)]


def _sections(result: Result, view: FieldOfView) -> dict[str, list[Panel]]:
    volume = result.object[view.crop]
    density = np.nan_to_num(np.abs(volume if volume.ndim == 3 else volume[..., 0]))
    center = [
        round(float(c)) for c in scipy.ndimage.center_of_mass(density if density.any() else np.ones(density.shape))
    ]
    dy, dx, dz = result.voxel_size_m or (1.0, 1.0, 1.0)
    across = {"x–z": (volume[center[0]].swapaxes(0, 1), (dz, dx))}
    planes = {"x–y": (volume[:, :, center[2]], (dy, dx)), "z–y": (volume[:, center[1]], (dy, dz)), **across}
    if volume.shape[0] * dy < max(volume.shape[1] * dx, volume.shape[2] * dz) / THIN:
        planes = across  # a few rows beside it would be lines
    rows: dict[str, list[Panel]] = {}
    for title, (plane, size) in planes.items():
        for name, values, seen in _channels(plane, result.representation, None):
            rows.setdefault(name, []).append(Panel(values, seen, seen, size, title))
    return rows


def _grid(rows: dict[str, list[Panel]], known_size: bool) -> Figure:
    columns = max(len(panels) for panels in rows.values())
    shapes = [(p.values.shape[0] * p.pixel[0], p.values.shape[1] * p.pixel[1]) for p in next(iter(rows.values()))]
    if columns == 1:
        height, width = shapes[0]
        if width <= 2 * height:  # side by side, unless so wide that they are better one above the other
            drawn = style.figure((style.WIDTH_IN / 2 - 0.6) * height / width + 0.45)
            axes = drawn.subplots(1, len(rows), squeeze=False).reshape(-1, 1)
        else:
            drawn = style.figure(len(rows) * ((style.WIDTH_IN - 1) * height / width + 0.45))
            axes = drawn.subplots(len(rows), 1, squeeze=False).reshape(-1, 1)
    else:
        ratios = [w / max(h for h, _ in shapes) for h, w in shapes]
        tallest = (style.WIDTH_IN - 1.0) / sum(ratios)
        drawn = style.figure(len(rows) * (min(tallest, 4.5) + 0.4))
        axes = drawn.subplots(len(rows), columns, squeeze=False, width_ratios=ratios)
    for row, (name, panels) in zip(axes, rows.items(), strict=True):
        _draw_row(list(row), name, panels, known_size)
    return drawn


def _draw_row(axes: list[Axes], name: str, panels: list[Panel], known_size: bool) -> None:
    values = np.concatenate([p.values[p.bright] for p in panels])
    limits = robust_range(values, np.ones(values.shape, bool))
    cmap = style.AMPLITUDE_MAP if name in ("amplitude", "β", "μ") else style.PHASE_MAP
    label = {"phase": "rad"}.get(name, "")
    factor = 1.0
    if name == "phase" and limits[1] - limits[0] > 1.9 * np.pi:
        cmap, limits = style.CYCLIC_MAP, (-np.pi, np.pi)  # it wraps: both ends must have the same color
    elif name in ("δ", "β", "μ"):
        factor, label = _common_factor(limits)
    heading = {"amplitude": "Amplitude", "phase": "Phase"}.get(name, name)
    shown = (limits[0] * factor, limits[1] * factor)
    for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
        inside = np.where(panel.seen, panel.values * factor, np.nan)
        image = style.show(ax, inside, cmap=cmap, limits=shown, pixel=panel.pixel)
        ax.set_title(f"{heading}, {panel.title}" if panel.title and i == 0 else panel.title or heading)
        if i == 0:
            style.scale_bar(ax, panel.values.shape, panel.pixel[1] if known_size else None)
        if i == len(panels) - 1:
            style.color_bar(image, label)


def _common_factor(limits: tuple[float, float]) -> tuple[float, str]:
    largest = max(abs(limits[0]), abs(limits[1]))
    if largest == 0 or 0.1 <= largest < 1000:
        return 1.0, ""
    exponent = int(np.floor(np.log10(largest) + 1e-4))  # 9.9999e-6 in single precision is 1e-5
    return 10.0**-exponent, f"× {power_of_ten(exponent)}"


def extent_text(result: Result, view: FieldOfView) -> str:
    """Size of the seen area, ``12.3 × 8.4 µm`` (x × y), or in pixels."""
    height, width = view.seen.shape
    if result.pixel_size_m is None:
        return f"{width} × {height} px"
    across, down = width * result.pixel_size_m[1], height * result.pixel_size_m[0]
    factor, unit = prefix(max(across, down), "m")
    return f"{across * factor:.3g} × {down * factor:.3g} {unit}"
