"""One self-contained HTML page about a reconstruction: pictures inlined, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import math
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.result import Result
from adorym.errors import DataError
from adorym.report.base import Picture, Scene
from adorym.report.object_pictures import extent_text
from adorym.report.pictures import draw_pictures, save_pictures
from adorym.report.position_trend import position_trend
from adorym.report.score import Score
from adorym.report.text import counted, duration, number, parameter_row, prefix, title_of

PICTURE_DIRECTORY = "pictures"


def write_report(result: Result, path: str | Path, dataset: Dataset | None = None, score: Score | None = None) -> Path:
    """Write the page to ``path`` and its pictures to ``pictures/*.png`` beside it.

    Args:
        result: What to report on.
        path: The HTML file.
        dataset: The data, for what the result alone does not tell (angles, positions that were not refined).
        score: Comparison with a truth.

    Raises:
        DataError: The files cannot be written.
    """
    path = Path(path)
    shown = Scene(result, dataset, score)
    pictures = draw_pictures(shown)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_pictures(pictures, path.parent / PICTURE_DIRECTORY)
        path.write_text(render(shown, pictures, name=path.resolve().parent.name), encoding="utf-8")
    except OSError as error:
        raise DataError(str(path), "the report cannot be written", found=str(error)) from error
    return path


def render(shown: Scene, pictures: list[Picture], name: str = "") -> str:
    """The page's HTML; ``name`` stands in its title where the configuration names no data file."""
    result, figures = shown.result, shown.score.figures if shown.score else ()
    heading, subtitle = _headings(result.settings, name)
    return _template().render(
        heading=heading,
        subtitle=subtitle,
        provenance=result.provenance,
        version=result.provenance.get("adorym", ""),
        facts=_facts(shown),
        pictures=[(picture, base64.b64encode(picture.png).decode("ascii")) for picture in pictures],
        rows=[parameter_row(name, parameter) for name, parameter in result.parameters.items()],
        scores=[(title_of(f.name), f.text + (f"  ({f.note})" if f.note else "")) for f in figures],
        reference=shown.score.reference if shown.score else "",
        trend=position_trend(result),
        verdict=result.verdict,
        config=result.config,
    )


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    source = resources.files("adorym.report").joinpath("template.html").read_text(encoding="utf-8")
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(autoescape=True, **options).from_string(source)


def _headings(settings: dict[str, Any], name: str) -> tuple[str, str]:
    path, model = settings.get("data", {}).get("path"), settings.get("forward_model")
    heading = Path(str(path)).name if path else name
    technique = str((model.get("kind") if isinstance(model, dict) else model) or "").rpartition(".py:")[2]
    return heading or "Reconstruction", title_of(technique) + " reconstruction" if technique else "Reconstruction"


def _facts(shown: Scene) -> list[tuple[str, str, str]]:
    """Name, value and remark of the figures at the top of the page."""
    result, facts = shown.result, []
    loss = result.history.get("loss", np.zeros(0)).ravel()
    finite = loss[np.isfinite(loss)]
    if finite.size:
        first, last = float(finite[0]), float(finite[-1])
        fell = f"{number(first / last, 3)} × lower than in epoch 1" if first > last > 0 else ""
        facts.append(("Final loss", number(last, 4), fell))
        facts.append(("Epochs", str(loss.size), ""))
    if (verdict := result.verdict) is not None:
        times = verdict.times_noise
        fit = f"{number(times, 3)} × the noise" if math.isfinite(times) else f"{number(100 * verdict.relative, 2)} %"
        facts.append(("Misfit", fit, verdict.kind))
    seconds = result.history.get("time_s")
    if seconds is not None and seconds.size:
        pace = f"{duration(float(np.nanmedian(seconds)))} per epoch"
        facts.append(("Time", duration(float(np.nansum(seconds))), pace))
    y, x, z = result.object.shape[:3]
    size = "array " + " × ".join(str(n) for n in ((x, y) if z == 1 else (x, y, z))) + " px"
    facts.append(("Scanned area" if shown.view.scanned else "Object", extent_text(result, shown.view), size))
    if result.pixel_size_m is not None:
        dy, dx = result.pixel_size_m[:2]
        factor, unit = prefix(dx, "m")
        square = abs(dy - dx) <= 1e-6 * dy
        text = number(dx * factor) if square else f"{number(dx * factor)} × {number(dy * factor)}"
        facts.append(("Pixel size", f"{text} {unit}", "" if square else "x × y"))
    if shown.positions_px is not None:
        modes = 0 if result.probe is None else result.probe.shape[-3]
        numbers = ((modes, "probe mode"), (shown.dataset.n_angles if shown.dataset else 0, "angle"))
        remarks = [counted(n, noun) for n, noun in numbers if n > 1]
        facts.append(("Probe positions", str(len(shown.positions_px)), ", ".join(remarks)))
    trend = position_trend(result)
    if trend is not None:
        facts.append(("Position correction", f"{number(trend.rms_px, 3)} px rms", trend.scale))
    return facts
