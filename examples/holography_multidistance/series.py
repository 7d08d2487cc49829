"""The runs of the table: how much noise, which loss, and a control that leaves the holograms misaligned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import adorym
from adorym.commands.score import in_frame, score
from adorym.data.native_write import write_native
from adorym.simulate.holograms import HolographyOfPictures

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent.parent / "shared" / "data"
ADAM = "parameters.object.optimizer={kind: adam, learning_rate: 6e-3}"
# Where the prediction is too bright, intensities are far more curved than at a perfect fit.
SHORT = "parameters.object.optimizer={kind: preconditioned, learning_rate: 0.1, regularization: 0, momentum: 0.9}"
# Name, photons a pixel (0: no noise) and what is changed in the configuration.
RUNS: dict[str, tuple[float, list[str]]] = {
    "no noise, least squares": (0, []),
    # Steps of equal size for all pixels, as in the paper; steps by curvature are sharp before the focus has moved.
    "no noise, no autofocus": (0, ["forward_model.autofocus={last: false}", "forward_model.balance=null", ADAM]),
    "no noise, not aligned": (0, ["parameters.affine={refine: false}"]),
    "4000 photons, least squares": (4000, []),
    "4000 photons, Poisson": (4000, ["loss={kind: poisson}"]),
    "4000 photons, least squares + TV": (4000, ["regularizers=[{kind: total_variation, weight: 1e-3}]"]),
    "400 photons, least squares": (400, []),
    "400 photons, Poisson": (400, ["loss={kind: poisson}"]),
    "400 photons, least squares of intensities": (400, ["loss={kind: intensity}", SHORT]),
    "400 photons, least squares + TV": (400, ["regularizers=[{kind: total_variation, weight: 1e-2}]"]),
}


@dataclass(frozen=True)
class Done:
    """What came of one run.

    Attributes:
        figures: Those of the score, by key.
        distances_m: ``(4,)`` refined.
        found: ``(y, x)`` complex object, in the frame of ``true``.
        true: ``(y, x)`` complex.
    """

    figures: dict[str, float]
    distances_m: np.ndarray
    found: np.ndarray
    true: np.ndarray


def phase_picture() -> str:
    """The mandrill, where it is at hand (below ``$ADORYM_DATA``), else a picture that comes with scikit-image."""
    path = Path(os.environ.get("ADORYM_DATA", SHARED)) / "pictures" / "mandrill.tif"
    return str(path) if path.is_file() else "astronaut"


@dataclass(frozen=True)
class Setting:
    """What the runs of a table have in common.

    Attributes:
        size_px: Width and height of the holograms.
        epochs: Of a run.
        seed: Of misalignment and noise.
        band_limited: Whether the specimen has no detail finer than the pixels can hold.
        changes: Of the configuration, before those of the run.
        picture: The phase of the specimen; `phase_picture` if not given.
    """

    size_px: int = 512
    epochs: int = 300
    seed: int = 41
    band_limited: bool = True
    changes: tuple[str, ...] = ()
    picture: str = ""


def solve(name: str, folder: Path, setting: Setting) -> Done:
    """Simulate, reconstruct and score one of `RUNS` in ``folder``."""
    photons, changes = RUNS[name]
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "holograms.h5"
    pictures = HolographyOfPictures(
        size_px=setting.size_px,
        photons=photons,
        phase_picture=setting.picture or phase_picture(),
        band_limited=setting.band_limited,
    )
    made = pictures.run(setting.seed)
    write_native(made, data)
    settings = [f"data.path={data}", f"run.epochs={setting.epochs}", "output.progress=quiet"]
    result = adorym.reconstruct(
        adorym.load_config(HERE / "config.yaml", [*settings, *setting.changes, *changes]), output=folder
    )
    figures = {each.key: each.value for each in score(folder, data).figures}
    true = made.truth["object"]
    found, _ = in_frame(result.object[..., 0], result.origin_px, true.shape)
    return Done(figures, result.parameters["propagation_distances"].value, found, true)
