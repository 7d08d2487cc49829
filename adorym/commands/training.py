"""What the trainings of all networks show while they go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adorym.callbacks.live_curves import LiveCurves
from adorym.networks.trainer import Trainer, train

Watch = Callable[[Mapping[str, float]], None]


def train_in_sight(trainer: Trainer[Any], *, resume: bool = False, watch: Watch | None = None) -> dict[str, Any]:
    """Train to the end, with curves for `adorym watch` on the way; returns the history as arrays.

    Raises:
        ConfigError: The folder holds a training, and it is not to be resumed.
    """
    folder = trainer.folder
    if trainer.ranks.rank != 0 or folder is None:
        return train(trainer, resume=resume, watch=watch)
    live = LiveCurves(folder, f"training in {folder.name}", trainer.n_epochs)
    with live:

        def show(record: Mapping[str, float]) -> None:
            live.add(record)
            if watch is not None:
                watch(record)

        return train(trainer, resume=resume, watch=show)
