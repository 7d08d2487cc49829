"""``adorym train ptycho_nn``: trains a network for ptychography on the beamline's own probe, without labels."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from adorym._version import __version__
from adorym.commands.training import Watch, train_in_sight
from adorym.data.atomic import write_json
from adorym.data.open import open_dataset
from adorym.data.recording import RECORDING
from adorym.data.result import RESULT_NAME
from adorym.errors import ConfigError, DataError
from adorym.networks.pattern_source import PatternSource
from adorym.networks.prediction import predict_scan
from adorym.networks.probe_fingerprint import Fingerprint
from adorym.networks.ptycho_training import PtychoSettings, PtychoTrainer
from adorym.networks.scan import Scan
from adorym.networks.weights import load_ptycho_network, save_network
from adorym.optics.probe_files import fit_window, read_probe
from adorym.registry import component
from adorym.report.training_curves import save_training_curves
from adorym.schema import build, dump
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings
from adorym.simulate.synthetic_objects import FAMILIES, SyntheticObjects

LOG = logging.getLogger("adorym")
WEIGHTS, CARD, CURVES = "weights.safetensors", "model_card.json", "training.png"
FAMILY_SAMPLES = 256
SCANS, SIDE = 12, 5  # held-out scans, and positions along their sides
HELD_OUT_SEED = 7_000_003  # far from every seed of a training


@component
class PtychoTraining:
    """The configuration of a training of ``ptycho_nn``.

    Attributes:
        probes: Files with probes, or results of runs; those of ``--probe`` are added.
        family: Probes drawn at random, in place of files.
        patterns: Synthetic patterns.
        data: Measured data set to train on instead, with the first probe.
        start_from: Weights that the training goes on from; those of chance if absent.
        training: Settings of the training.
        half_precision: Write the weights in 16 bits.
        seed: Seed of the objects, positions and photons.
    """

    probes: tuple[str, ...] = ()
    family: ProbeFamily | None = None
    patterns: SyntheticSettings = SyntheticSettings()
    data: str | None = None
    start_from: str | None = None
    training: PtychoSettings = PtychoSettings()
    half_precision: bool = True
    seed: int = Field(1, ge=0, lt=HELD_OUT_SEED)


def train_ptycho(
    given: Mapping[str, Any],
    folder: Path,
    probes: Sequence[str | Path] = (),
    *,
    resume: bool = False,
    watch: Watch | None = None,
) -> Path:
    """Train and return the path of the weights.

    Raises:
        InputError: A probe or the data cannot be read, or the configuration is wrong.
    """
    made = build(PtychoTraining, dict(given))
    files = [*made.probes, *map(str, probes)]
    if bool(files) == (made.family is not None):
        raise ConfigError(
            "probe", "the network is trained for known probes", expected="either probes or a 'family' of them",
            found="both" if files else "neither", remedy="give '--probe FILE', or --set family={}",
        )  # fmt: skip
    size = made.training.size
    modes = _padded([fit_window(read_probe(path), (size, size), "error", path) for path in files])
    trainer = PtychoTrainer(_source(made, modes), _held_out(made, modes), made.training, folder)
    if made.start_from is not None:
        _begin_with(trainer, made.start_from)
    history = train_in_sight(trainer, resume=resume, watch=watch)
    if trainer.ranks.rank != 0:
        return folder / WEIGHTS
    card = model_card(trainer, made, files, modes, history)
    path = save_network(
        trainer.network, folder / WEIGHTS, {k: json.dumps(v) for k, v in card.items()}, made.half_precision
    )
    write_json(folder / CARD, card)
    save_training_curves(history, folder / CURVES)
    return path


def recorded(place: str | Path) -> tuple[Path, Path]:
    """The recording and the result in the folder of a stream or a run; ``place`` may be the recording itself.

    Raises:
        ConfigError: One of them is not there.
    """
    place = Path(place).expanduser()
    data = place / RECORDING if place.is_dir() else place
    result = data.parent / RESULT_NAME
    for path, what in ((data, "recording"), (result, "reconstruction of the recording, which has the probe")):
        if not path.is_file():
            raise ConfigError(
                "--from", f"no {what}", expected=str(path), remedy="name the folder of a finished 'adorym stream'"
            )
    return data, result


def _begin_with(trainer: PtychoTrainer, path: str) -> None:
    """Give the network the weights in a file.

    Raises:
        ConfigError: They are those of a network of another build.
    """
    known, made = load_ptycho_network(path, trainer.device)[0], trainer.network
    if known.built != made.built:
        raise ConfigError(
            "start_from", "the weights are those of a network of another build", expected=made.built,
            found=known.built, remedy="set training.size, .width, .passes and .corrections to those of the weights",
        )  # fmt: skip
    made.load_state_dict(known.state_dict())


def _padded(probes: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Probes with the same number of modes; those that are added are dark."""
    most = max((len(p) for p in probes), default=0)
    return tuple(np.pad(p, [(0, most - len(p)), (0, 0), (0, 0)]) for p in probes)


def _source(made: PtychoTraining, modes: tuple[np.ndarray, ...]) -> PatternSource:
    if made.data is None:
        return _synthetic(made, made.patterns, modes, made.seed)
    if not modes:
        raise ConfigError("data", "measured patterns need the probe that made them", remedy="give '--probe FILE'")
    dataset = open_dataset(made.data)
    if dataset.window_px != (made.training.size,) * 2:
        raise DataError(
            made.data, "the patterns have another size than the network", expected=(made.training.size,) * 2,
            found=dataset.window_px, remedy="crop or bin them with 'adorym convert', or set training.size",
        )  # fmt: skip
    return Scan(dataset, modes[0], made.training.group, made.seed)


def _synthetic(
    made: PtychoTraining, patterns: SyntheticSettings, modes: tuple[np.ndarray, ...], seed: int
) -> SyntheticPatterns:
    training = made.training
    return SyntheticPatterns(patterns, modes, made.family, training.size, training.group, seed)


def _held_out(made: PtychoTraining, modes: tuple[np.ndarray, ...]) -> dict[str, PatternSource]:
    """Patterns of all families, with objects that no training sees; a family that is not trained is held out whole."""
    settings = {name: getattr(made.patterns, name) for name in dump(made.patterns)}
    contrast = {name: getattr(made.patterns.objects, name) for name in ("amplitude", "phase", "correlation")}
    return {
        family: _synthetic(
            made,
            SyntheticSettings(**(settings | {"objects": SyntheticObjects(families=(family,), **contrast)})),
            modes,
            HELD_OUT_SEED + number,
        )
        for number, family in enumerate(FAMILIES)
    }


def held_out_quality(trainer: PtychoTrainer, made: PtychoTraining, modes: tuple[np.ndarray, ...]) -> list[float]:
    """Misfit over that of vacuum of the pictures of whole scans: what is usual for data that are not foreign."""
    source, found = _synthetic(made, made.patterns, modes, HELD_OUT_SEED), []
    for number in range(SCANS):
        dataset = source.scan(number, SIDE)
        assert dataset.start_probe is not None  # the simulation gives it
        scan = Scan(dataset, dataset.start_probe, made.training.group)
        found.append(predict_scan(trainer.network, scan, dataset.truth["object"].shape, (0, 0)).quality)
    return found


def model_card(
    trainer: PtychoTrainer,
    made: PtychoTraining,
    files: Sequence[str],
    modes: tuple[np.ndarray, ...],
    history: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What the network was trained for and on, for how long, and its errors on held-out patterns."""
    known = list(modes)
    if made.family is not None:
        rng = np.random.default_rng(made.seed)
        known = [made.family.draw(made.training.size, rng) for _ in range(FAMILY_SAMPLES)]
    fingerprints = [Fingerprint.of(probe).as_dict() for probe in known]
    return {
        "network": "ptycho_nn",
        "adorym": __version__,
        "parameters": trainer.network.n_parameters,
        "group": made.training.group,
        "probes": [Path(path).name for path in files],
        "probe_family": made.family is not None,
        "fingerprints": fingerprints,
        "patterns": "measured" if made.data is not None else dump(made.patterns),
        "epochs": len(history.get("loss", ())),
        "training_s": float(np.sum(history.get("time_s", 0.0))),
        "device": trainer.device,
        "cores": os.cpu_count(),
        "settings": dump(made.training),
        "held_out_scores": trainer.scores(),
        "quality": held_out_quality(trainer, made, modes),
        "curves": {name: np.asarray(values).tolist() for name, values in history.items()},
    }
