"""Draws the figures of the documentation: the conventions and the flow of data. `conf.py` runs it at every build.

Usage: python docs/make_figures.py [FOLDER] [svg|png]
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from adorym.simulate.synthetic_objects import FAMILIES, SyntheticObjects

INK, SOFT, BLUE, ORANGE, GREEN = "#22303c", "#8a99a6", "#2f6fb0", "#d9782d", "#3f8f5b"
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "svg.hashsalt": "adorym",  # the same file at every build
}


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A white figure of ``width`` x ``height`` inches whose axes cover it, in inches, without frame."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = INK, **style: object) -> None:
    """An arrow from ``start`` to ``end``."""
    options = {"arrowstyle": "-|>", "mutation_scale": 13, "lw": 1.5, "shrinkA": 0, "shrinkB": 0, **style}
    axes.add_patch(FancyArrowPatch(start, end, color=color, **options))


def axes_convention() -> Figure:
    """Beam along +z, images (y, x) with y downwards, object (y, x, z), rotation about y: a right-handed frame."""
    figure, axes = canvas(8, 3.6)
    depth = np.array([-0.42, -0.30])  # x points out of the page, towards the reader

    def corners(x0: float, y0: float, width: float, height: float) -> list[np.ndarray]:
        return [np.array(p) for p in ((x0, y0), (x0 + width, y0), (x0 + width, y0 + height), (x0, y0 + height))]

    back = corners(2.9, 1.45, 0.9, 1.3)
    front = [p + 2 * depth for p in back]
    faces = [front, [front[3], front[2], back[2], back[3]], [front[1], back[1], back[2], front[2]]]
    for face, shade in zip(faces, ("#dbe8f4", "#eef4fa", "#c3d8ec"), strict=True):
        axes.add_patch(Polygon(face, closed=True, facecolor=shade, edgecolor=BLUE, lw=1.2))
    axes.text(2.95, 3.0, "object (y, x, z)", color=BLUE, ha="center")

    screen = [np.array(p) for p in ((6.6, 1.2), (6.6, 3.35))]
    plane = [screen[0], screen[1], screen[1] + 3 * depth, screen[0] + 3 * depth]
    axes.add_patch(Polygon(plane, closed=True, facecolor="#fdf1e7", edgecolor=ORANGE, lw=1.2))
    axes.text(6.0, 0.02, "pattern (y, x)", color=ORANGE, ha="center")
    corner = screen[1]
    axes.plot(*corner, "o", color=ORANGE, ms=6)
    axes.text(corner[0] + 0.12, corner[1] - 0.04, "pixel (0, 0)", color=ORANGE, va="center")
    arrow(axes, tuple(corner), tuple(corner - [0, 0.75]), ORANGE)
    axes.text(corner[0] + 0.1, corner[1] - 0.7, "y", color=ORANGE, style="italic")
    arrow(axes, tuple(corner), tuple(corner + 1.4 * depth), ORANGE)
    axes.text(*(corner + 1.4 * depth + [0.0, -0.3]), "x", color=ORANGE, style="italic", ha="center")

    middle = (back[0] + front[2]) / 2
    arrow(axes, (0.35, middle[1]), (front[0][0] - 0.02, middle[1]), INK, lw=2)
    exit_face, hit = (back[1] + front[2]) / 2, (plane[0] + plane[2]) / 2
    arrow(axes, tuple(exit_face), tuple(hit), INK, lw=1.4, linestyle=(0, (4, 3)))
    axes.text(0.35, middle[1] + 0.14, "beam, exp(+ikz)")
    axes.plot([middle[0], middle[0]], [0.55, 0.86], color=GREEN, lw=1.2, ls=(0, (5, 3)))
    turn = {"connectionstyle": "arc3,rad=0.45", "mutation_scale": 11, "arrowstyle": "<|-|>"}
    arrow(axes, (middle[0] - 0.3, 0.62), (middle[0] + 0.3, 0.62), GREEN, **turn)
    axes.text(middle[0] + 0.42, 0.5, "rotation axis: y", color=GREEN, va="center")

    origin = np.array([0.95, 0.95])
    frame = (((0.75, 0), "z", (0.12, 0)), ((0, -0.7), "y", (0, -0.14)), (1.25 * depth, "x", (-0.1, -0.1)))
    for tip, name, shift in frame:
        arrow(axes, tuple(origin), tuple(origin + tip), INK)
        axes.text(*(origin + tip + shift), name, style="italic", ha="center", va="center")
    return figure


def probe_position() -> Figure:
    """The window's corner in the object array: origin + position; the fraction of a pixel shifts the probe in it."""
    figure, axes = canvas(8, 3.75)
    pitch, left, top = 0.3, 0.6, 3.45
    rows, columns, origin = 11, 15, (2, 2)
    position, window = (3.4, 5.7), (5, 6)

    def at(y: float, x: float) -> tuple[float, float]:
        return left + pitch * x, top - pitch * y

    for row in range(rows + 1):
        axes.plot(*zip(at(row, 0), at(row, columns), strict=True), color="#d5dde3", lw=0.8, zorder=0)
    for column in range(columns + 1):
        axes.plot(*zip(at(0, column), at(rows, column), strict=True), color="#d5dde3", lw=0.8, zorder=0)
    x, y = at(rows, 0)
    axes.add_patch(Rectangle((x, y), columns * pitch, rows * pitch, fill=False, edgecolor=BLUE, lw=1.5))
    axes.text(left, top + 0.12, "object array (y, x)", color=BLUE)

    for cell, color in ((origin, GREEN), ((0, 0), BLUE)):
        x, y = at(cell[0] + 1, cell[1])
        axes.add_patch(Rectangle((x, y), pitch, pitch, facecolor=color, alpha=0.75))
    corner = tuple(round(o + p) for o, p in zip(origin, position, strict=True))
    x, y = at(corner[0] + window[0], corner[1])
    size = (window[1] * pitch, window[0] * pitch)
    axes.add_patch(Rectangle((x, y), *size, facecolor=ORANGE, alpha=0.16))
    axes.add_patch(Rectangle((x, y), *size, fill=False, edgecolor=ORANGE, lw=1.8))

    exact = tuple(o + p for o, p in zip(origin, position, strict=True))
    x, y = at(*exact)
    axes.add_patch(Rectangle((x, y - size[1]), *size, fill=False, edgecolor=ORANGE, lw=1.2, ls=(0, (3, 2))))
    arrow(axes, at(*origin), at(*exact), INK, mutation_scale=11)
    axes.plot(*at(*origin), "o", color=GREEN, ms=4)
    axes.plot(*at(*exact), "o", color=ORANGE, ms=4)

    texts = [
        (BLUE, "pixel (0, 0) of the object array"),
        (GREEN, f"origin_px = {origin}: where position (0, 0) lies"),
        (INK, f"arrow: probe position {position} px"),
        (ORANGE, f"window {window} px, cut out at the nearest pixel, {corner}"),
        (ORANGE, "dashed: the remaining (+0.4, -0.3) px, by which the probe is shifted in its window"),
    ]
    line = top - 0.25
    for color, text in texts:
        axes.text(5.45, line, "■", color=color, va="top", fontsize=9)
        lines = _wrapped(text, 27)
        axes.text(5.7, line, lines, color=INK, va="top", fontsize=9.5, linespacing=1.25)
        line -= 0.2 * (lines.count("\n") + 1) + 0.16
    return figure


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(" ".join(text.split()), width)


def pixel_grids() -> Figure:
    """Where the center is: of a rotation, and of a Fourier transform, in the code and in files."""
    figure, axes = canvas(8, 2.9)
    for top, n in ((2.35, 4), (1.15, 5)):
        for i in range(n):
            x = 0.5 + 0.52 * i
            axes.add_patch(Rectangle((x, top - 0.5), 0.5, 0.5, facecolor="#eef4fa", edgecolor=BLUE))
            axes.text(x + 0.25, top - 0.25, str(i), ha="center", va="center", color=SOFT)
        center = 0.5 + 0.52 * (n - 1) / 2 + 0.25
        axes.plot([center] * 2, [top - 0.62, top + 0.1], color=ORANGE, lw=1.8)
        axes.text(center, top - 0.82, f"(n - 1)/2 = {(n - 1) / 2}", color=ORANGE, ha="center", fontsize=9)
    axes.text(0.5, 2.58, "center of rotation, tilt and affine maps", fontsize=10)

    n = 8
    k = np.fft.fftfreq(n)
    pattern = np.exp(-40 * (k[:, None] ** 2 + 0.5 * k[None, :] ** 2))
    for x, values, title, zero in (
        (3.95, pattern, "in the code:\nzero frequency at pixel (0, 0)", (0, 0)),
        (6.05, np.fft.fftshift(pattern), "in files:\nat pixel (n//2, n//2)", (n // 2, n // 2)),
    ):
        axes.imshow(values, extent=(x, x + 1.6, 0.35, 1.95), cmap="Blues", vmin=-0.1, vmax=1.4, zorder=0)
        pitch = 1.6 / n
        corner = (x + pitch * zero[1], 1.95 - pitch * (zero[0] + 1))
        axes.add_patch(Rectangle(corner, pitch, pitch, fill=False, edgecolor=ORANGE, lw=2))
        axes.text(x, 2.08, title, fontsize=9.5, linespacing=1.3)
    axes.set(xlim=(0, 8), ylim=(0, 2.9), aspect="auto")
    return figure


STAGES = [
    ("Dataset", "data/", BLUE),
    ("Batches", "data/", BLUE),
    ("ObjectStore\n.gather", "storage/", GREEN),
    ("ForwardModel\n.predict", "forward/", ORANGE),
    ("Loss +\nRegularizers", "losses/", ORANGE),
]
BACK = [
    ("Callbacks", "callbacks/", SOFT),
    ("Constraints", "constraints/", GREEN),
    ("Optimizer\n.step", "optimizers/", GREEN),
    ("ObjectStore\n.scatter_add", "storage/", GREEN),
    ("value_and_grad", "wrapper/", INK),
]


def data_flow() -> Figure:
    """One iteration: data to loss along the top, gradient to update along the bottom."""
    figure, axes = canvas(9, 3.1)
    width, height, pitch = 1.45, 0.78, 1.75
    for y, stages in ((2.0, STAGES), (0.5, BACK)):
        for i, (name, folder, color) in enumerate(stages):
            x = 0.25 + pitch * i
            size, look = (width - 0.12, height - 0.12), {"fc": "white", "ec": color, "lw": 1.6}
            axes.add_patch(FancyBboxPatch((x + 0.06, y + 0.06), *size, boxstyle="round,pad=0.06", **look))
            middle = {"ha": "center", "va": "center"}
            axes.text(x + width / 2, y + height / 2, name, fontsize=9.5, **middle)
            axes.text(x + width / 2, y - 0.15, folder, fontsize=8, color=SOFT, family="monospace", **middle)
        for i in range(len(stages) - 1):
            ends = (0.25 + pitch * i + width + 0.02, y + height / 2), (0.25 + pitch * (i + 1) - 0.02, y + height / 2)
            arrow(axes, *(ends if stages is STAGES else ends[::-1]), INK, mutation_scale=11)
    last = 0.25 + pitch * 4 + width / 2
    arrow(axes, (last, 1.72), (last, 0.5 + height + 0.03), INK, mutation_scale=11)
    third = 0.25 + pitch * 2 + width / 2
    arrow(axes, (third, 0.5 + height + 0.03), (third, 1.72), GREEN, linestyle=(0, (4, 3)), mutation_scale=11)
    axes.text(third + 0.1, 1.5, "next batch", fontsize=8.5, color=GREEN, va="center")
    return figure


def network_families() -> Figure:
    """Amplitude and phase of an object of each family that networks for ptychography are trained on."""
    figure = Figure(figsize=(9, 4.7), layout="constrained")
    FigureCanvasAgg(figure)
    for column, family in enumerate(FAMILIES):
        objects = SyntheticObjects(families=(family,), amplitude=(0.5, 0.5), phase=(2.0, 2.0))
        obj = objects.make(0, (128, 128), np.random.default_rng(column + 3))
        for row, (image, colors) in enumerate(((np.abs(obj), "gray"), (np.angle(obj), "viridis"))):
            axes = figure.add_subplot(2, 4, 4 * row + column + 1, xticks=[], yticks=[])
            axes.imshow(image, cmap=colors)
            axes.set_title(family if row == 0 else "", fontsize=9, family="monospace")
            axes.set_ylabel(("amplitude", "phase")[row] if column == 0 else "")
    return figure


STREAM = {
    "source": (0.25, 1.9, "source", "frames, positions", BLUE),
    "recording": (2.35, 1.9, "recording", "every frame, lossless", GREEN),
    "join": (4.45, 1.9, "waiting room", "frames join positions", BLUE),
    "picture": (6.55, 1.9, "picture", "new frames first", ORANGE),
    "run": (2.35, 0.45, "run", "as adorym run", ORANGE),
    "result": (4.45, 0.45, "result.h5", "the same as offline", GREEN),
    "screen": (6.55, 0.45, "screens", "ZMQ, PVAccess", SOFT),
}
WAYS = [("source", "recording"), ("recording", "join"), ("join", "picture"), ("recording", "run"), ("run", "result"),
        ("picture", "screen")]  # fmt: skip


def stream_flow() -> Figure:
    """Frames from the source to the recording, to the picture that follows, and to the result after the scan."""
    figure, axes = canvas(8.6, 3.1)
    width, height, middle = 1.7, 0.8, {"ha": "center", "va": "center"}
    for x, y, name, what, color in STREAM.values():
        look = {"fc": "white", "ec": color, "lw": 1.6, "boxstyle": "round,pad=0.06"}
        axes.add_patch(FancyBboxPatch((x + 0.06, y + 0.06), width - 0.12, height - 0.12, **look))
        axes.text(x + width / 2, y + 0.53, name, fontsize=10, **middle)
        axes.text(x + width / 2, y + 0.25, what, fontsize=8, color=SOFT, **middle)
    for start, end in WAYS:
        (x0, y0), (x1, y1) = STREAM[start][:2], STREAM[end][:2]
        if y0 == y1:
            arrow(axes, (x0 + width + 0.02, y0 + height / 2), (x1 - 0.02, y1 + height / 2), mutation_scale=11)
        else:
            arrow(axes, (x0 + width / 2, y0 - 0.02), (x1 + width / 2, y1 + height + 0.02), mutation_scale=11)
    for x, text in ((1.1, "lost by name"), (6.0, "refused by name")):
        axes.text(x + (0 if x < 2 else -0.7), 2.86, text, fontsize=8.5, color=SOFT, **middle)
    axes.text(3.28, 1.55, "after the scan", fontsize=8.5, color=SOFT, va="center")
    return figure


FIGURES = {
    "network_families": network_families,
    "axes_convention": axes_convention,
    "probe_position": probe_position,
    "pixel_grids": pixel_grids,
    "data_flow": data_flow,
    "stream_flow": stream_flow,
}


def main(folder: Path, suffix: str = "svg") -> None:
    """Draw all figures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in FIGURES.items():
            metadata = {"Date": None} if suffix == "svg" else None
            draw().savefig(folder / f"{name}.{suffix}", dpi=110, metadata=metadata)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "_generated"
    main(target, *sys.argv[2:3])
