"""A stream that learns: new weights take over between two batches, unless they are worse; a recording trains them."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from adorym.commands.stream import StreamOptions, stream
from adorym.commands.train import train_network
from adorym.config import load_config
from adorym.data.native_write import write_native
from adorym.data.recording import RECORDING
from adorym.data.result import read_result
from adorym.errors import ConfigError
from adorym.networks.newest import NewestNetwork
from adorym.networks.probe_fingerprint import Fingerprint
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.weights import load_ptycho_network, save_network
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings
from adorym.stream.picture import LivePicture
from adorym.stream.waiting import Ready

PROBE = ProbeFamily(gaussian=0.0).draw(64, np.random.default_rng(1))
MADE = SyntheticSettings(photons=(1e6, 1e6), overlap=(0.6, 0.6))
DATA = SyntheticPatterns(MADE, (PROBE,), None, 64, 1, 3).scan(0, 4)
ROWS = np.arange(16)
CONFIG = """
data: {path: scan.h5}
forward_model: {kind: ptychography}
parameters:
  object: {initial: {kind: ptycho_nn, device: cpu, weights: FOLDER/w.safetensors}}
  probe: {initial: {kind: file, path: FOLDER/probe.npy}}
run: {epochs: 2, device: cpu}
output: {progress: quiet, report: false}
"""


def put_weights(folder, corrections, seed=0):
    """Weights of an untrained network, which is as good as its corrections, in place of those in the folder."""
    card = {"fingerprints": [Fingerprint.of(PROBE).as_dict()], "probe_family": False, "group": 4, "quality": [0.5]}
    network = PtychoNetwork(64, 2, 1, corrections)
    network.branches[0].down[0][0].bias.data[:] = 1e-3 * seed  # other weights that do nothing, either
    save_network(network, folder / "new.safetensors", {key: json.dumps(value) for key, value in card.items()})
    os.replace(folder / "new.safetensors", folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.fixture
def folder(tmp_path):
    write_native(DATA, tmp_path / "scan.h5")
    np.save(tmp_path / "probe.npy", DATA.start_probe)
    put_weights(tmp_path, 0)
    (tmp_path / "c.yaml").write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    return tmp_path


def test_better_weights_take_over_and_worse_ones_do_not(folder, caplog):
    newest = NewestNetwork(folder / "w.safetensors", "cpu")
    first = newest.name
    with caplog.at_level(logging.INFO, logger="adorym"):
        newest.look(DATA, DATA.start_probe, ROWS)
        assert newest.name == first and not caplog.text  # nothing has changed
        put_weights(folder, 10)
        newest.look(DATA, DATA.start_probe, ROWS)
        assert newest.name != first and newest.network.network.corrections == 10
        assert f"{newest.name} takes over from {first}: misfit 0." in caplog.text
        better = newest.name
        put_weights(folder, 1)
        newest.look(DATA, DATA.start_probe, ROWS)
        assert newest.name == better and f"{better} stays in use: w.safetensors" in caplog.text
        put_weights(folder, 10, seed=1)  # as good, and newer
        newest.look(DATA, DATA.start_probe, ROWS)
        assert newest.name not in (first, better)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_file_that_cannot_be_read_changes_nothing(folder, caplog, content):
    newest = NewestNetwork(folder / "w.safetensors", "cpu")
    known, path = newest.name, folder / "w.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    newest.look(DATA, DATA.start_probe, ROWS)
    assert newest.name == known
    assert (f"{known} stays in use" in caplog.text) == (content is not None)


def frames(numbers):
    images, positions = DATA.patterns.read(numbers), DATA.probe_positions_px[numbers]
    return [Ready(int(n), i, tuple(p), 0.0) for n, i, p in zip(numbers, images, positions, strict=True)]


def test_the_result_names_the_model_of_every_patch(folder):
    picture = LivePicture(load_config(folder / "c.yaml"), {"positions_unit": "px"}, Path("r.h5"), "both")
    for part, corrections in ((ROWS[:8], 5), (ROWS[8:], 12)):
        put_weights(folder, corrections)
        picture.add(frames(part))
        picture.step(16)
    found = [str(name) for name in picture.result().fit["network_model"].astype(str)]
    assert len(found) == 16 and len(set(found[:8])) == len(set(found[8:])) == 1 and found[0] != found[8]
    assert all(name.startswith("w.safetensors ") for name in found)


def test_a_recording_trains_the_network_of_the_next_scan(folder):
    options = StreamOptions(settle=0.1, quiet=5.0, start=1)
    stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / "one", options=options)
    assert read_result(folder / "one" / "picture.h5").object.shape[2] == 1
    small = ["training.width=2", "training.passes=1", "training.corrections=0", "training.epochs=1",
             "training.batch_size=4", "training.validation=2", "training.threads=1", "patterns.pool=2",
             "patterns.patterns_per_object=2", "training.learning_rate=1e-9", "half_precision=false"]  # fmt: skip
    start = f"start_from={folder / 'w.safetensors'}"
    path = train_network("ptycho_nn", folder / "next", None, [*small, start], recording=folder / "one")
    card = json.loads((folder / "next" / "model_card.json").read_text())
    assert card["patterns"] == "measured" and card["probes"] == ["result.h5"]
    was, now = (load_ptycho_network(each)[0].state_dict() for each in (folder / "w.safetensors", path))
    assert all(np.allclose(was[name], now[name], atol=1e-6) for name in was)  # it began with these

    file = folder / "one" / RECORDING
    train_network("ptycho_nn", folder / "again", None, small, recording=file)
    with pytest.raises(ConfigError, match="network of another build.*expected.*width"):
        train_network("ptycho_nn", folder / "x", None, [*small, start, "training.width=3"], recording=file)
    with pytest.raises(ConfigError, match="no recording.*finished 'adorym stream'"):
        train_network("ptycho_nn", folder / "y", None, small, recording=folder)
    with pytest.raises(ConfigError, match="has no effect: 'cdi_nn'"):
        train_network("cdi_nn", folder / "z", recording=file)
