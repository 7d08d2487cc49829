"""Pictures of a network while a scan goes on: alone, and as the place from which the solver starts."""

import json

import numpy as np
import pytest
from mpi_launch import run as mpi_run
from tiny_scan import Scan, object_at

from adorym.commands.stream import StreamOptions, stream
from adorym.config import load_config
from adorym.data.native_write import write_native
from adorym.data.result import read_result
from adorym.errors import ConfigError
from adorym.networks.probe_fingerprint import Fingerprint
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.weights import save_network
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings
from adorym.stream.picture import network_of

CONFIG = """
data: {path: scan.h5}
forward_model: {kind: ptychography}
parameters:
  object: {initial: {kind: "KNOWING"}}
  probe: {initial: {kind: file, path: probe.npy}, refine: false}
run: {epochs: 2, backend: autograd, precision: double}
output: {progress: quiet, report: false}
"""
# It knows the object, but not the phase of a pattern, and not where the picture begins.
KNOWING = """
import numpy as np
from adorym.forward.object import PatchInitializer
from tiny_scan import object_at

class Knowing(PatchInitializer):
    def make(self, dataset, shape, rng):
        return np.ones(shape, complex)

    def patches(self, dataset, probe, rows):
        y, x = (np.arange(n) for n in probe.shape[-2:])
        corners = np.rint(dataset.probe_positions_px[rows])
        first = corners[:, :1, None] + y[:, None], corners[:, 1:, None] + x
        turns = np.exp(1j * np.random.default_rng(rows[0]).uniform(0, 6, len(rows)))
        power = np.sqrt(1e8 / np.sum(np.abs(probe) ** 2))  # of the true beam, in the one of the run
        return power * object_at(*first) * turns[:, None, None]
"""
FAST = {"settle": 0.1, "quiet": 5.0, "finish": "none"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    scan = Scan(grid=(6, 7), photons=1e8)
    write_native(scan.noisy(angle_index=np.zeros(42, int), theta_rad=np.zeros(1)), tmp_path / "scan.h5")
    np.save(tmp_path / "probe.npy", scan.probe())
    (tmp_path / "knowing.py").write_text(KNOWING)
    (tmp_path / "c.yaml").write_text(CONFIG.replace("KNOWING", f"{tmp_path / 'knowing.py'}:Knowing"))
    return tmp_path


def error_of(path):
    """Of the object, weighted with the light that it received, a common factor removed."""
    result, scan = read_result(path), Scan(grid=(6, 7))
    obj, (oy, ox) = result.object[..., 0], result.origin_px
    y, x = np.indices(obj.shape)
    true, light = object_at(y - oy, x - ox), np.zeros(obj.shape)
    beam = np.sum(np.abs(scan.probe()) ** 2, axis=0)
    for row, column in np.rint(scan.positions + np.array([oy, ox])).astype(int).tolist():
        light[row : row + beam.shape[0], column : column + beam.shape[1]] += beam
    light[light < 0.1 * light.max()] = 0
    factor = np.sum(light * true * obj.conj()) / np.sum(light * np.abs(obj) ** 2)
    power = np.sum(light * np.abs(true) ** 2)
    return float(np.sqrt(np.sum(light * np.abs(factor * obj - true) ** 2) / power))


def followed(folder, engine, **changes):
    options = StreamOptions(**FAST | changes, engine=engine)
    return stream(f"replay:{folder / 'scan.h5'}", folder / "c.yaml", folder / engine, options=options)


def test_the_network_alone_looks_once_at_every_frame(folder):
    done = followed(folder, "network")
    assert done.looks == 1 and done.books["used"] == 42 and len(done.lags_s) == 42 and not done.failed
    assert error_of(folder / "network" / "result.h5") < 1e-3
    history = read_result(folder / "network" / "result.h5").history
    assert len(history["loss"]) >= 1 and np.isfinite(history["loss"]).all()


def test_the_solver_starts_from_the_network_where_no_frame_was(folder):
    """Soon after its start the solver is further off than the network was; a second is enough on a busy machine."""
    both, plain = followed(folder, "both", settle=1.0), followed(folder, "iterative")
    assert both.looks >= 1 and plain.looks >= 1
    first = [read_result(folder / name / "result.h5").history["loss"][0] for name in ("both", "iterative")]
    assert first[0] < 0.1 * first[1]
    assert error_of(folder / "both" / "result.h5") < 0.05


def test_the_picture_of_a_network_grows_with_the_scan(folder):
    followed(folder, "network", start=1, policy="block")
    assert error_of(folder / "network" / "result.h5") < 1e-3


def test_two_ranks_fail_together(folder):
    (folder / "knowing.py").write_text(KNOWING.replace("turns[:, None, None]", "turns"))
    words = ["stream", f"replay:{folder / 'scan.h5'}", "--config", folder / "c.yaml", "-o", folder / "two"]
    words += ["--stream", "engine=network", "--stream", "finish=none", "--stream", "quiet=5 s"]
    done = mpi_run(2, ["-m", "adorym", *map(str, words)], folder)
    assert "42 recorded" in done.out and "No picture" in done.out and "knowing.py" in done.out + done.err


def test_two_ranks_lay_the_same_picture(folder):
    words = ["stream", f"replay:{folder / 'scan.h5'}", "--config", folder / "c.yaml", "-o", folder / "two"]
    words += ["--set", "run.store=do", "--stream", "engine=network", "--stream", "finish=none"]
    done = mpi_run(2, ["-m", "adorym", *map(str, words)], folder)
    assert done.status == 0, done.out + done.err
    assert error_of(folder / "two" / "result.h5") < 1e-3


@pytest.mark.parametrize("engine", ["network", "both"])
def test_an_engine_with_a_network_needs_one(folder, engine):
    (folder / "c.yaml").write_text(CONFIG.replace('object: {initial: {kind: "KNOWING"}}', "object: {}"))
    with pytest.raises(ConfigError, match=f"'{engine}' needs a network.*parameters.object.initial.*found none"):
        followed(folder, engine)
    assert not (folder / engine / "recording.h5").exists()


def test_objects_of_another_kind_are_refused_by_name(folder):
    text = (folder / "c.yaml").read_text().replace("object: {", "object: {representation: delta_beta, ")
    (folder / "c.yaml").write_text(text.replace("parameters:", "parameters:\n  probe_positions: {refine: false}"))
    done = followed(folder, "network")
    assert "the transmission of a thin object" in done.failed and "engine=iterative" in done.failed


def test_a_network_that_answers_nonsense_is_shown_with_its_file(folder, caplog):
    (folder / "knowing.py").write_text(KNOWING.replace("turns[:, None, None]", "np.nan * turns[:, None, None]"))
    done = followed(folder, "network")
    assert "knowing.py" in done.failed and done.books["recorded"] == 42
    assert "the picture stops, the recording goes on" in caplog.text


def test_a_probe_that_is_foreign_leaves_the_picture_to_the_solver(tmp_path, caplog):
    """With the weights of a network for another probe; the same network for its own probe makes the picture."""
    family, made = ProbeFamily(gaussian=0.0), SyntheticSettings(photons=(1e6, 1e6), overlap=(0.6, 0.6))
    probe = family.draw(64, np.random.default_rng(1))
    data = SyntheticPatterns(made, (probe,), None, 64, 1, 3).scan(0, 4)
    write_native(data, tmp_path / "scan.h5")
    np.save(tmp_path / "probe.npy", data.start_probe)
    for name, known in (("own", probe), ("other", family.draw(64, np.random.default_rng(8)))):
        card = {"fingerprints": [Fingerprint.of(known).as_dict()], "probe_family": False, "group": 4, "quality": [0.3]}
        texts = {key: json.dumps(value) for key, value in card.items()}
        save_network(PtychoNetwork(64, 2, 1, 10), tmp_path / f"{name}.safetensors", texts)
        config = CONFIG.replace(
            'kind: "KNOWING"', f"kind: ptycho_nn, device: cpu, weights: {tmp_path / name}.safetensors"
        )
        (tmp_path / "c.yaml").write_text(config.replace("autograd", "torch").replace("double", "single"))
        caplog.clear()
        done = stream(
            f"replay:{tmp_path / 'scan.h5'}", tmp_path / "c.yaml", tmp_path / name,
            options=StreamOptions(**FAST, engine="both", start=1),
        )  # fmt: skip
        assert not done.failed
        assert ("the picture goes on without the network" in caplog.text) == (name == "other")
        assert name == "own" or "the probe is not one that the network was trained for" in caplog.text
    network = network_of(load_config(tmp_path / "c.yaml"), "both")
    assert network is not None and network_of(load_config(tmp_path / "c.yaml"), "iterative") is None
