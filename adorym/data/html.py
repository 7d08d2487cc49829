"""A result in a notebook: its pictures, its loss and its numbers, as HTML that stands for itself."""

from __future__ import annotations

import base64
import html
from typing import Any

import numpy as np

from adorym.data.looks import Look, curve
from adorym.data.planes import channels, plane, png

WIDTH, HEIGHT = 300, 90  # of the loss, in pixels
STYLE = "display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start;font-size:90%"


def as_html(seen: Look[Any], title: str) -> str:
    """The middle slice of each channel, the loss on a logarithmic scale, and ``title``.

    Args:
        seen: A look at the reconstruction.
        title: A line of text.
    """
    middle = seen.result.object.shape[2] // 2
    parts = [_picture(seen, name, middle) for name in channels(seen)]
    losses = seen.result.history.get("loss", np.zeros(0))
    if len(losses) > 1:
        caption = f"<figcaption>loss, {len(losses)} epochs</figcaption>"
        parts.append(f"<figure style='margin:0'>{_line(losses)}{caption}</figure>")
    return f"<div><div>{html.escape(title)}</div><div style='{STYLE}'>{''.join(parts)}</div></div>"


def _picture(seen: Look[Any], name: str, middle: int) -> str:
    data = base64.b64encode(png(plane(seen, name, "z", middle))).decode("ascii")
    depth = seen.result.object.shape[2] * seen.step[2]
    where = f"{name}, slice {middle * seen.step[2] + 1} of {depth}" if depth > 1 else name
    picture = f"<img alt='{name}' style='max-width:320px' src='data:image/png;base64,{data}'>"
    return f"<figure style='margin:0'>{picture}<figcaption>{where}</figcaption></figure>"


def _line(losses: np.ndarray) -> str:
    drawn = curve(np.arange(len(losses)), losses)
    points = [(x, np.log10(y)) for x, y in zip(drawn["x"], drawn["y"], strict=True) if y is not None and y > 0]
    if not points:
        return ""
    x, y = np.array(points).T
    x = (x - x.min()) / max(np.ptp(x), 1e-30) * (WIDTH - 4) + 2
    y = (y.max() - y) / max(np.ptp(y), 1e-30) * (HEIGHT - 4) + 2
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    line = f"<polyline points='{path}' fill='none' stroke='currentColor' stroke-width='1.5'/>"
    return f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='loss'>{line}</svg>"
