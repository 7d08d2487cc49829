"""``adorym train``: trains a network and writes its weights with a model card; here, that for Bragg peaks."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adorym._version import __version__
from adorym.comm import launched
from adorym.commands.train_ptycho import CARD, CURVES, WEIGHTS, recorded, train_ptycho
from adorym.commands.training import Watch, train_in_sight
from adorym.config_file import assigned, load
from adorym.data.atomic import write_json
from adorym.errors import ConfigError, suggestion
from adorym.metrics.crystal import match
from adorym.networks.shards import Examples, read_shards, shard_paths
from adorym.networks.training import CdiTrainer, TrainingSettings
from adorym.networks.weights import save_network
from adorym.registry import component
from adorym.report.training_curves import save_training_curves
from adorym.schema import build, dump
from adorym.simulate.atomistic import AtomisticSettings, write_atomistic_set
from adorym.simulate.training_set import TrainingSet, wait_for_shards, write_training_set

LOG = logging.getLogger("adorym")
NETWORKS = ("cdi_nn", "ptycho_nn")
SCORED = 200


@component
class TrainingConfig:
    """The configuration of a training.

    Attributes:
        data: Folder of shards; made in the output folder from ``crystals`` if absent.
        crystals: Generator of the crystals.
        atomistic: Crystals relaxed atom by atom instead (needs LAMMPS), in the number given by ``crystals``.
        training: Settings of the training.
        half_precision: Write the weights in 16 bits.
    """

    data: str | None = None
    crystals: TrainingSet = TrainingSet()
    atomistic: AtomisticSettings | None = None
    training: TrainingSettings = TrainingSettings()
    half_precision: bool = True


def train_network(
    name: str,
    output: str | Path,
    config: str | Path | None = None,
    assignments: Iterable[str] = (),
    *,
    probes: Sequence[str | Path] = (),
    recording: str | Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> Path:
    """Train the network ``name`` and return the path of its weights; ``model_card.json`` and ``training.png``, with
    the training curves, are in the same folder.

    Also under ``mpirun`` or ``torchrun``: examples and batches are divided among the processes.

    Args:
        name: ``cdi_nn`` or ``ptycho_nn``.
        output: Folder for shards, checkpoint, weights and model card.
        config: YAML, TOML or JSON of `TrainingConfig` or `adorym.commands.train_ptycho.PtychoTraining`; the defaults
            if absent.
        assignments: ``key.path=value``.
        probes: Files or results with the probes of ``ptycho_nn``.
        recording: Folder of a stream, or a recording beside its result: data and probe of ``ptycho_nn``.
        resume: Resume from the checkpoint in the folder.
        watch: Called after every epoch with its entry of the history.

    Raises:
        InputError: Unknown network, wrong configuration, unreadable shards.
    """
    if name not in NETWORKS:
        raise ConfigError("network", f"no trainable network named '{name}'", remedy=suggestion(name, NETWORKS))
    given = assigned(assignments) if config is None else load(config, assignments).mapping
    if name == "ptycho_nn":
        if recording is not None:
            data, result = recorded(recording)
            given, probes = {**given, "data": str(data)}, [result, *probes]
        return train_ptycho(given, Path(output), probes, resume=resume, watch=watch)
    for option, value in (("probe", probes), ("from", recording)):
        if value:
            raise ConfigError(option, f"has no effect: '{name}' has no probe", remedy=f"leave '--{option}' out")
    return _train_cdi(build(TrainingConfig, given), Path(output), resume, watch)


def _train_cdi(made: TrainingConfig, folder: Path, resume: bool, watch: Watch | None) -> Path:
    examples, origins = read_shards(shard_paths(_shards(made, folder)))
    trainer = CdiTrainer(examples, made.training, folder)
    history = train_in_sight(trainer, resume=resume, watch=watch)
    if trainer.ranks.rank != 0:
        return folder / WEIGHTS
    card = model_card(trainer, made, origins, history)
    path = save_network(
        trainer.network, folder / WEIGHTS, {k: json.dumps(v) for k, v in card.items()}, made.half_precision
    )
    write_json(folder / CARD, card)
    save_training_curves(history, folder / CURVES)
    return path


def _shards(made: TrainingConfig, folder: Path) -> Path:
    if made.data is not None:
        return Path(made.data).expanduser()
    place, many, number = folder / "shards", made.crystals, (launched() or (1, 0))[::-1]
    if made.atomistic is None:
        paths = write_training_set(many, place, *number)
    else:
        paths = write_atomistic_set(made.atomistic, place, many.crystals, many.seed, *number)
    for path in paths:
        LOG.info("made %s", path)
    wait_for_shards(place, number)
    return folder / "shards"


def model_card(
    trainer: CdiTrainer, made: TrainingConfig, origins: list[dict[str, object]], history: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The network, its training data, the duration of the training, and its scores on held-out crystals."""
    digest = hashlib.sha256()
    for array in (trainer.training.modulus, trainer.validation.modulus):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "network": "cdi_nn",
        "adorym": __version__,
        "parameters": trainer.network.n_parameters,
        "crystals": len(trainer.training) + len(trainer.validation),
        "held_out": len(trainer.validation),
        "data_sha256": digest.hexdigest(),
        "data_origin": origins[0],
        "epochs_of_each_stage": [s.epochs for s in made.training.stages],
        "branches_of_each_stage": [list(s.branches) for s in made.training.stages],
        "training_s": float(np.sum(history.get("time_s", 0.0))),
        "device": trainer.device,
        "cores": os.cpu_count(),
        "settings": dump(made.training),
        "held_out_scores": held_out_scores(trainer, trainer.validation),
        "validation_curves": {k: [float(x) for x in v] for k, v in history.items() if k.startswith("validation")},
    }


def held_out_scores(trainer: CdiTrainer, held_out: Examples) -> dict[str, float]:
    """Median scores on held-out crystals, for the better of each object and its twin, without shift and ramp."""
    from adorym.networks.cdi_nn import predict

    errors, overlaps, phases, misfits = [], [], [], []
    for i in range(min(SCORED, len(held_out))):
        part = held_out.rows(slice(i, i + 1))
        modulus, shape, phase = (a[0].astype(np.float64) for a in (part.modulus, part.shape, part.phase))
        found = predict(trainer.network, modulus)
        compared = match(found, shape * np.exp(1j * phase))
        errors.append(compared.shape_error)
        overlaps.append(compared.overlap)
        phases.append(compared.phase_rms_rad)
        pattern = np.abs(np.fft.fftshift(np.fft.fftn(found)))
        misfits.append(float(np.mean(np.abs(pattern / max(pattern.max(), 1e-30) - modulus))))
    medians = {"shape_error": errors, "complex_overlap": overlaps, "phase_rms_rad": phases, "modulus_mae": misfits}
    return {f"median_{name}": float(np.nanmedian(values)) for name, values in medians.items()} | {
        "crystals": len(errors)
    }
