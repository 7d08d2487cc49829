"""Pictures of crystals: three sections, the surface colored by phase or strain, agreement of phasing starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from adorym.data.field_of_view import robust_range
from adorym.metrics.shells import LIMIT, TransferFunction
from adorym.metrics.strain import StrainField
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.text import number


def transfer_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Phase retrieval transfer function of several starts, where the result keeps it."""
    fit = scene.result.fit
    if "prtf" not in fit:
        return None
    found = TransferFunction(np.asarray(fit["prtf_frequency"]), np.asarray(fit["prtf"]))
    drawn = style.figure(2.6)
    ax = drawn.subplots()
    ax.plot(found.frequency, found.value, color=style.BLUE)
    ax.axhline(LIMIT, linestyle="--", linewidth=1, color="0.5")
    ax.axvline(found.crossing, linestyle=":", linewidth=1, color="0.5")
    ax.set(xlabel="frequency (1 / voxel)", ylabel="PRTF", ylim=(0, 1.05), xlim=(0, 0.5))
    overlap = np.asarray(fit["starts_overlap"])[1:]
    n = len(overlap) + 1
    floor = float(1 / np.sqrt(n))
    ax.axhline(floor, linestyle=":", linewidth=1, color=style.ORANGE)
    where = f"it falls below 1/e (dashed) at a half period of {number(found.half_period_px, 3)} voxels"
    if found.crossing <= 0:
        where = "it is below 1/e (dashed) everywhere: the starts do not agree, and their object is not to be trusted"
    if not found.crosses:
        where = "it does not fall below 1/e (dashed), so it gives no resolution limit"
    text = (
        f"Phase retrieval transfer function of {n} starts: {where}. Unrelated phases would leave {number(floor, 2)} "
        f"(dotted). Complex overlap of the others with the best: "
        f"{number(float(np.median(overlap)), 3)} (median), {number(float(overlap.min()), 3)} (worst)."
    )
    return drawn, text


def start_picture(scene: Scene) -> tuple[Figure, str] | None:
    """Misfit of a network's first object beside random starts with the same steps, where the result keeps them."""
    fit = scene.result.fit
    if "refined_chi2" not in fit:
        return None
    raw, refined = float(fit["network_chi2"]), float(np.ravel(fit["refined_chi2"])[0])
    rows = [("network, aligned", [raw], style.MUTED), ("network and phasing", [refined], style.BLUE)]
    text = f"Misfit of the moduli: {number(raw, 3)} for the network's guess, {number(refined, 3)} after phasing"
    voxels = int(np.ravel(fit["refined_voxels"])[0])
    if "random_chi2" in fit:
        random = np.ravel(fit["random_chi2"])
        rows.append((f"{len(random)} random starts", random.tolist(), style.ORANGE))
        text += (
            f"; {number(float(np.median(random)), 3)} (median), {number(float(random.min()), 3)} (best) after the same "
            f"iterations from {len(random)} random starts. A misfit falls as the support grows: {voxels} voxels "
            f"from the network, {float(np.median(fit['random_voxels'])):.0f} (median) from random starts"
        )
    drawn = style.figure(0.7 + 0.35 * len(rows))
    ax = drawn.subplots()
    for i, (_, values, color) in enumerate(rows):
        ax.plot(values, [i] * len(values), "o", color=color, alpha=0.8)
    ax.set(xscale="log", xlabel="χ²", ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
    ax.set_yticklabels([name for name, _, _ in rows])
    return drawn, text + "."


def save_crystal_pictures(field: StrainField, voxel_m: float | None, folder: Path) -> tuple[Path, ...]:
    """Write ``crystal_sections.png`` and, where PyVista is installed, ``crystal_surface.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    with style.styled():
        png, _ = style.to_png(sections(field, voxel_m))
    path = folder / "crystal_sections.png"
    path.write_bytes(png)
    if importlib.util.find_spec("pyvista") is None:
        return (path,)
    return path, _surface(field, voxel_m, folder / "crystal_surface.png")


def sections(field: StrainField, voxel_m: float | None) -> Figure:
    """Amplitude, phase and, where it is known, strain, in three planes through the center of mass."""
    named = {"amplitude": (field.amplitude, style.AMPLITUDE_MAP, "")}
    named["phase"] = (field.phase_rad, style.PHASE_MAP, "rad")
    if np.isfinite(field.strain).any():
        named["strain"] = (1e3 * field.strain, style.PHASE_MAP, "10⁻³")
    center = np.rint(np.argwhere(field.inside).mean(0)).astype(int)
    drawn = style.figure(2.0 * len(named) + 0.3)
    axes = drawn.subplots(len(named), 3, squeeze=False)
    for row, (name, (values, cmap, unit)) in zip(axes, named.items(), strict=True):
        inside = values[field.inside & np.isfinite(values)]
        low, high = robust_range(inside, np.ones(inside.shape, bool), 1.0)
        if name != "amplitude":
            high = max(abs(low), abs(high))
            low = -high
        planes = {"x–y": values[:, :, center[2]], "z–y": values[:, center[1]], "x–z": values[center[0]].T}
        for i, (ax, (title, plane)) in enumerate(zip(row, planes.items(), strict=True)):
            image = style.show(ax, plane, cmap=cmap, limits=(low if name != "amplitude" else 0.0, high), pixel=(1, 1))
            ax.set_title(f"{name.capitalize()}, {title}" if i == 0 else title)
            if i == 0:
                style.scale_bar(ax, plane.shape, voxel_m)
            if i == 2:
                style.color_bar(image, unit)
    return drawn


def _surface(field: StrainField, voxel_m: float | None, path: Path) -> Path:
    import pyvista  # only for those who have it

    grid = pyvista.ImageData(dimensions=np.array(field.amplitude.shape)[[1, 0, 2]], spacing=(voxel_m or 1.0,) * 3)
    known = np.isfinite(field.strain).any()
    color = np.nan_to_num(field.strain if known else field.phase_rad)
    for name, values in (("amplitude", field.amplitude), ("color", color)):
        grid[name] = np.transpose(values, (1, 0, 2)).ravel(order="F")
    plotter = pyvista.Plotter(off_screen=True, window_size=(900, 700))
    surface = grid.contour([0.5 * float(field.amplitude.max())], scalars="amplitude")
    plotter.add_mesh(surface, scalars="color", cmap="RdBu_r", scalar_bar_args={"title": "strain" if known else "rad"})
    plotter.screenshot(str(path))
    plotter.close()
    return path
