"""Curves of a network's training: loss and the parts of the validation, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from adorym.report import style


def save_training_curves(history: Mapping[str, np.ndarray], path: Path) -> Path | None:
    """Write the picture; ``None`` if no epoch was done.

    Args:
        history: One value an epoch: ``loss``, ``stage``, and the names that begin with ``validation``.
        path: The PNG.
    """
    stage = np.asarray(history.get("stage", ()))
    if stage.size == 0:
        return None
    epochs = np.arange(1, stage.size + 1)
    named = {name: np.asarray(values) for name, values in history.items() if name.startswith("validation")}
    with style.styled():
        drawn = style.figure(3.2)
        ax = drawn.subplots()
        ax.plot(epochs, history["loss"], "o-", color=style.INK, label="training, parts of the stage together")
        for color, (name, values) in zip(style.SERIES, named.items(), strict=False):
            ax.plot(epochs, values, "o-", color=color, label=name.replace("_", ", "))
        for i in np.flatnonzero(np.diff(stage)):
            ax.axvline(epochs[i] + 0.5, color=style.MUTED, linestyle=":", linewidth=1)
        ax.set(xlabel="epoch (stages divided by dotted lines)", ylabel="weighted misfit", yscale="log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
        path.write_bytes(style.to_png(drawn)[0])
    return path
