"""Figures of the network for ptychography: one pass, what comes after it, foreign data, speed.

Usage: python benchmarks/networks.py [--only NAME] [--json FILE]

They are those of the weights that the package brings; ``$ADORYM_PTYCHO_WEIGHTS`` names others for the same probes.
Scans are simulated on a grid twice as fine, with pictures as objects: no family of the training, and other seeds.
"""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from figures import Figure, main

import adorym
from adorym import metrics
from adorym.commands.score import in_frame
from adorym.commands.train import train_network
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.networks.onnx_runtime import is_installed, onnx_core
from adorym.networks.prediction import predict_patches
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.scan import Scan
from adorym.networks.trained import TrainedNetwork
from adorym.networks.weights import weights_path
from adorym.optics.windows import object_shape
from adorym.simulate.experiments import Ptychography
from adorym.simulate.illumination import FocusedBeam
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings
from adorym.simulate.phantoms import Pictures
from adorym.simulate.scans import Scan as Steps

SEEDS, EPOCHS = range(900, 905), 60
CASES = 100  # scans of the training's kind, and as many foreign ones
SIDE = 4


def weights() -> Path:
    """The file of the environment, or that of the package."""
    return weights_path("ptycho_nn", os.environ.get("ADORYM_PTYCHO_WEIGHTS"))


def scan(seed: int, overlap: float = 0.65, photons: float = 1e6) -> Dataset:
    """Pictures as the object, the probe known."""
    beam = FocusedBeam(aperture=9.0 + seed % 3)
    defocused = Ptychography(
        object_px=(170, 170), photons=photons, illumination=beam, scan=Steps(overlap=overlap), phantom=Pictures()
    ).run(seed)
    return defocused.with_(start_probe=defocused.truth["probe"])


def errors(obj: np.ndarray, origin: tuple[int, int], data: Dataset) -> tuple[float, float, float]:
    """Wrapped-phase MAE in radian, 1 - SSIM of the amplitude, and NRMSE, gauge removed."""
    true, start = data.truth["object"], np.asarray(data.truth.get("object_origin_px", (0, 0)))
    first = int(origin[0] - start[0]), int(origin[1] - start[1])
    framed, _ = in_frame(obj, first, true.shape)
    region = metrics.scanned_region(data.truth["probe_positions_px"] + start, data.window_px, true.shape)
    found = metrics.align_object(framed, true, region)
    pair = found.aligned[region], true[region]
    return metrics.phase_error(*pair).mae_rad, 1 - metrics.structural_similarities(*pair)[0], found.error


def reconstructed(data: Dataset, initial: dict | None, epochs: int) -> adorym.Result:
    """After some epochs, from the network or from vacuum."""
    with tempfile.TemporaryDirectory() as folder:
        write_native(data, Path(folder) / "scan.h5")
        parameters = {"probe": {"refine": False}, "object": {} if initial is None else {"initial": initial}}
        config = {
            "data": {"path": f"{folder}/scan.h5"},
            "forward_model": {"kind": "ptychography"},
            "parameters": parameters,
            "run": {"epochs": epochs, "device": "cpu", "seed": 1},
        }
        return adorym.reconstruct(config)


def single_pass() -> Iterator[Figure]:
    """One pass at a good dose, 65 % overlap: median over seeds; then ten epochs of the solver."""
    network, rows = TrainedNetwork.load(weights()), []
    for seed in SEEDS:
        data = scan(seed)
        shape, origin = object_shape(data.probe_positions_px, data.window_px)
        found = network.predict(network.scan(data, data.start_probe), shape, origin)
        flat = errors(np.ones(shape), origin, data)
        after = reconstructed(data, {"kind": "ptycho_nn", "weights": str(weights())}, 10)
        rows.append(
            [*errors(found.object, origin, data), *flat, errors(after.object[..., 0], after.origin_px, data)[0]]
        )
    middle = np.median(rows, axis=0)
    yield Figure("single_pass.phase_mae_rad", middle[0], 0.08)
    yield Figure("single_pass.one_minus_amplitude_ssim", middle[1], 0.1)
    yield Figure("single_pass.object_nrmse", middle[2])
    yield Figure("single_pass.phase_mae_of_vacuum_rad", middle[3])
    yield Figure("single_pass.phase_mae_after_ten_epochs_rad", middle[6], 0.02)


def gain() -> Iterator[Figure]:
    """Object error with the convolutions over that of the corrections alone, objects and probes of the family."""
    trained = TrainedNetwork.load(weights())
    plain = TrainedNetwork(PtychoNetwork(*trained.network.built), trained.card, "")
    for overlap in (0.2, 0.6):
        for photons in (1e3, 1e4, 1e6):
            settings = SyntheticSettings(photons=(photons, photons), overlap=(overlap, overlap))
            source, ends = SyntheticPatterns(settings, (), ProbeFamily(), 64, 1, 8_100_000), []
            for number in range(8):
                data = source.scan(number, SIDE)
                true = data.truth["object"]
                region = metrics.scanned_region(data.truth["probe_positions_px"], data.window_px, true.shape)
                pictures = [
                    n.predict(n.scan(data, data.start_probe), true.shape, (0, 0)).object for n in (trained, plain)
                ]
                ends.append([metrics.object_error(picture, true, region) for picture in pictures])
            ratio = float(np.mean([a / b for a, b in ends]))
            yield Figure(f"gain.overlap_{overlap:.0%}.photons_{photons:.0e}".replace("%", ""), ratio, 1.0)


def start() -> Iterator[Figure]:
    """Epochs from the network's picture until the final error of a start from vacuum, over its epochs; medians."""
    for name, changes in {"overlap_20": {"overlap": 0.2}, "photons_1e3": {"photons": 1e3}}.items():
        ratios, ends = [], []
        for seed in SEEDS[:3]:
            data = scan(seed, **changes)
            initial = {"kind": "ptycho_nn", "weights": str(weights())}
            runs = [
                [errors(r.object[..., 0], r.origin_px, data)[2] for n in (5, 10, 20, 40, EPOCHS)
                 for r in [reconstructed(data, each, n)]]
                for each in (initial, None)
            ]  # fmt: skip
            reached = [n for n, e in zip((5, 10, 20, 40, EPOCHS), runs[0], strict=True) if e <= runs[1][-1]]
            ratios.append((reached[0] if reached else 2 * EPOCHS) / EPOCHS)
            ends.append(runs[0][-1] / runs[1][-1])
        yield Figure(f"start.{name}.epochs_over_plain", float(np.median(ratios)), 1 / 3)
        yield Figure(f"start.{name}.final_error_over_plain", max(ends), 1.02)


def foreign() -> Iterator[Figure]:
    """Foreign scans not flagged, and own scans flagged: wrong probe, transposed, wrong scale, shifted center."""
    network, family = TrainedNetwork.load(weights()), ProbeFamily()
    source = SyntheticPatterns(SyntheticSettings(photons=(3e4, 1e6)), (), family, 64, 1, 424242)
    alarms, missed = 0, dict.fromkeys(("probe", "transposed", "scale", "center"), 0)
    for number in range(CASES):
        data = source.scan(number, SIDE)
        shape, probe = data.truth["object"].shape, data.start_probe
        patterns, kind = data.patterns.read(np.arange(data.n_patterns)), list(missed)[number % len(missed)]
        wrong, known = data, probe
        if kind == "probe":
            known = family.draw(64, np.random.default_rng(number + 10**6))
        elif kind == "transposed":
            wrong = data.with_(patterns=ArrayPatterns(patterns.transpose(0, 2, 1)))
        elif kind == "scale":
            wrong = data.with_(probe_positions_px=data.probe_positions_px * 0.7)
        else:
            wrong = data.with_(patterns=ArrayPatterns(np.roll(patterns, 4, axis=2)))
        for each, light, own in ((data, probe, True), (wrong, known, False)):
            seen = network.scan(each, light)
            flagged = network.foreign(seen, network.predict(seen, shape, (0, 0))) is not None
            alarms += own and flagged
            missed[kind] += not own and not flagged
    yield Figure("foreign.not_flagged", sum(missed.values()) / CASES, 0.05)
    each_kind = CASES / len(missed)
    for kind, count in missed.items():
        yield Figure(f"foreign.{kind}_not_flagged", count / each_kind, 0.05)
    yield Figure("foreign.false_alarms", alarms / CASES, 0.01)


def inference() -> Iterator[Figure]:
    """Milliseconds of processor time a pattern, one thread, physics included."""
    torch.set_num_threads(1)
    trained = TrainedNetwork.load(weights())
    width, passes, corrections = trained.network.built[1:]
    for size in (64, 128):
        network = PtychoNetwork(size, width, passes, corrections)
        data = SyntheticPatterns(
            SyntheticSettings(object_px=2 * size), (), ProbeFamily(), size, 1, 1
        ).scan(0, 6)  # fmt: skip
        seen = Scan(data, data.start_probe, trained.group)
        cores = {"torch": None} | ({"onnxruntime": onnx_core(network)} if is_installed() else {})
        for name, core in cores.items():
            predict_patches(network, seen, core)
            begun = time.process_time()
            predict_patches(network, seen, core)
            yield Figure(f"inference.{name}_{size}_ms", 1e3 * (time.process_time() - begun) / seen.length)
    yield Figure("inference.weights_mb", weights().stat().st_size / 1e6, 5.0)


def training() -> Iterator[Figure]:
    """Processor minutes, on one core, of as many patterns as the shipped weights saw, from the time of a few steps."""
    card = json.loads(weights().with_name("ptycho_nn.json").read_text())
    seen = card["epochs"] * card["patterns"]["patterns"] * card["group"]
    for group in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            settings = ["family={}", f"patterns.patterns={256 // group}", "patterns.pool=8", "training.epochs=1"]
            settings += [f"training.{name}={card['settings'][name]}" for name in ("width", "passes", "corrections")]
            more = ["training.validation=1", "training.threads=1", f"training.group={group}"]
            begun = time.process_time()
            train_network("ptycho_nn", folder, None, [*settings, *more, f"training.batch_size={64 // group}"])
            yield Figure(f"training.minutes_c{group}", (time.process_time() - begun) / 256 * seen / 60, 60)


MAKERS = {
    "single_pass": single_pass,
    "gain": gain,
    "start": start,
    "foreign": foreign,
    "inference": inference,
    "training": training,
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__.splitlines()[0], MAKERS))
