"""All pictures of a report, each drawn only where the result holds what it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from adorym.report import style
from adorym.report.base import Picture, Scene
from adorym.report.crystal_pictures import start_picture, transfer_picture
from adorym.report.curve_pictures import fit_picture, frc_picture, loss_picture, parameters_picture
from adorym.report.object_pictures import object_picture
from adorym.report.probe_pictures import positions_picture, probe_picture

Draw = Callable[[Scene], tuple[Figure, str] | None]

# In the order of the page: what was reconstructed, how well it explains the data, what else was refined.
PICTURES: dict[str, tuple[str, Draw]] = {
    "object": ("Object", object_picture),
    "start": ("First object", start_picture),
    "transfer": ("Agreement of starts", transfer_picture),
    "resolution": ("Resolution", frc_picture),
    "probe": ("Probe", probe_picture),
    "loss": ("Convergence", loss_picture),
    "fit": ("Fit to the data", fit_picture),
    "positions": ("Probe positions", positions_picture),
    "parameters": ("Refined parameters", parameters_picture),
}


def draw_pictures(scene: Scene) -> list[Picture]:
    """Every picture that ``scene`` allows, in page order."""
    pictures = []
    with style.styled():
        for name, (title, draw) in PICTURES.items():
            drawn = draw(scene)
            if drawn is not None:
                png, width = style.to_png(drawn[0])
                pictures.append(Picture(name, title, drawn[1], png, width))
    return pictures


def save_pictures(pictures: list[Picture], directory: Path) -> list[Path]:
    """Write ``directory/<name>.png`` for each picture."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{picture.name}.png" for picture in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture.png)
    return paths
