"""The network: its parameters, its code of the phase, its loss, its weights on disk, its training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from adorym.commands.train import train_network
from adorym.errors import ConfigError, DataError
from adorym.metrics.crystal import match
from adorym.networks.cdi_nn import CdiNetwork, decoded, diffraction, predict
from adorym.networks.shards import Examples, Turn, read_shards, shard_paths, write_shard
from adorym.networks.training import PHASE_LOSSES, SHAPE_LOSSES, CdiTrainer, Stage, TrainingSettings
from adorym.networks.weights import load_network, read_safetensors, save_network, write_safetensors

TINY = (2, 3, 4)


def examples(n: int = 6, size: int = 32) -> Examples:
    """Boxes with a smooth phase."""
    rng = np.random.default_rng(0)
    shape = np.zeros((n, size, size, size), np.float32)
    for s in shape:
        a, b, c = rng.integers(5, 9, 3)
        s[16 - a : 16 + a, 16 - b : 16 + b, 16 - c : 16 + c] = 1
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    phase = shape * (1 - axis[:, None, None] ** 2 - axis**2)
    modulus = diffraction(torch.from_numpy(shape), torch.from_numpy(phase)).numpy()
    return Examples(modulus, shape, phase)


def settings(**changes) -> TrainingSettings:
    stages = (Stage(branches=("encoder", "shape"), epochs=1), Stage(branches=("phase",), epochs=1), Stage(epochs=1))
    fields = {"width": TINY, "batch_size": 4, "stages": stages, "device": "cpu", "validation": 0.3, "dropout": 0.0}
    return TrainingSettings(**(fields | changes))


def test_number_of_parameters_at_full_width():
    assert CdiNetwork().n_parameters == 3_459_938


def test_shapes_and_rectified_outputs():
    network = CdiNetwork(TINY)
    shape, code = network(torch.rand(2, 1, 32, 32, 32))
    assert shape.shape == code.shape == (2, 32, 32, 32)
    assert float(shape.detach().min()) >= 0 and float(code.detach().min()) >= 0


def test_phase_goes_through_its_code():
    phase = torch.linspace(-3.1, 6.0, 50)
    torch.testing.assert_close(decoded(phase / (2 * np.pi) + 0.5), phase)
    assert float(decoded(torch.zeros(()))) == pytest.approx(-np.pi)


def test_diffraction_is_the_far_field_over_its_maximum():
    e = examples(1)
    obj = e.shape[0] * np.exp(1j * e.phase[0])
    expected = np.abs(np.fft.fftshift(np.fft.fftn(obj)))
    np.testing.assert_allclose(e.modulus[0], expected / expected.max(), atol=2e-6)
    shape = torch.zeros(1, 32, 32, 32, requires_grad=True)
    diffraction(shape, torch.zeros(1, 32, 32, 32)).sum().backward()
    assert torch.isfinite(shape.grad).all()


# -- weights -----------------------------------------------------------------------------------------------------------
def test_weights_come_back(tmp_path):
    network = CdiNetwork(TINY, power=0.7)
    path = save_network(network, tmp_path / "w.safetensors", {"note": "hello"}, half=False)
    found, card = load_network(path)
    assert card["note"] == "hello" and found.width == TINY and found.power == 0.7
    modulus = examples(1).modulus[0]
    np.testing.assert_allclose(predict(found, modulus), predict(network, modulus), rtol=1e-6)


def test_safetensors_layout_is_the_published_one(tmp_path):
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    path = write_safetensors(tmp_path / "a.safetensors", {"x": array}, {"k": "v"})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0 and header["__metadata__"] == {"k": "v"}
    assert header["x"] == {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    assert content[8 + length :] == array.tobytes()
    np.testing.assert_array_equal(read_safetensors(path)[0]["x"], array)


@pytest.mark.parametrize("damage", [lambda b: b[:-4], lambda b: b"nonsense", lambda b: b[:8] + b"[" + b[9:]])
def test_damaged_weights_are_refused(tmp_path, damage):
    path = save_network(CdiNetwork(TINY), tmp_path / "w.safetensors", {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="not a safetensors file, or a damaged one|not the weights"):
        load_network(path)


def test_weights_of_another_network_are_refused(tmp_path):
    path = write_safetensors(tmp_path / "w.safetensors", {"x": np.zeros(3, np.float32)}, {})
    with pytest.raises(DataError, match="not the weights of a cdi_nn network.*adorym train cdi_nn"):
        load_network(path)
    with pytest.raises(DataError, match="no such file"):
        load_network(tmp_path / "none")


# -- training ----------------------------------------------------------------------------------------------------------
def test_stages_train_their_branches_only():
    trainer = CdiTrainer(examples(), settings())
    before = {name: p.clone() for name, p in trainer.network.named_parameters()}
    steps = trainer.epochs()
    next(steps)
    moved = {n.partition(".")[0] for n, p in trainer.network.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"encoder", "shape"}
    before = {name: p.clone() for name, p in trainer.network.named_parameters()}
    next(steps)
    moved = {n.partition(".")[0] for n, p in trainer.network.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"phase"}


def test_a_training_that_was_cut_off_ends_as_the_uninterrupted_one(tmp_path):
    through, cut, resumed = (CdiTrainer(examples(), settings(), tmp_path / n) for n in ("a", "b", "b"))
    list(through.epochs())
    steps = cut.epochs()
    next(steps), next(steps)
    resumed.resume()
    list(resumed.epochs())
    for name, p in through.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], p)
    keys = [k for k in through.state.history if k != "time_s"]
    assert all(through.state.history[k] == pytest.approx(resumed.state.history[k]) for k in keys)


def test_loss_falls():
    trainer = CdiTrainer(examples(), settings(stages=(Stage(epochs=6),), learning_rate=5e-3))
    losses = [record["loss"] for record in trainer.epochs()]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("axes, mirrored", [((1, 2, 3), ()), ((2, 3, 1), (1, 3)), ((3, 2, 1), (2,))])
def test_turned_patterns_are_those_of_turned_crystals(axes, mirrored):
    rng = np.random.default_rng(0)
    shape, phase = rng.random((2, 16, 16, 16), np.float32), rng.random((2, 16, 16, 16), np.float32)
    modulus = diffraction(torch.from_numpy(shape), torch.from_numpy(phase)).numpy()
    turned = Turn(axes, mirrored).of(Examples(modulus, shape, phase))
    expected = diffraction(torch.from_numpy(turned[1]), torch.from_numpy(turned[2])).numpy()
    np.testing.assert_allclose(turned[0], expected, atol=1e-5)
    assert (axes == (1, 2, 3)) == np.array_equal(turned[1], shape)


@pytest.mark.parametrize("loss", ["overlap", "mean", "balanced"])
def test_every_shape_loss_is_nothing_for_the_truth_alone(loss):
    shape = torch.from_numpy(examples(2).shape)
    assert float(SHAPE_LOSSES[loss](shape, shape)) < 1e-6
    assert float(SHAPE_LOSSES[loss](0.3 * shape, shape)) > 0.01


@pytest.mark.parametrize("loss", ["cosine", "mean"])
def test_every_phase_loss_is_nothing_for_the_truth_alone(loss):
    assert float(PHASE_LOSSES[loss](torch.zeros(()))) == 0 < float(PHASE_LOSSES[loss](torch.tensor(-0.5)))


def test_phases_begin_at_nothing():
    _, code = CdiNetwork(TINY)(torch.from_numpy(examples(1).modulus)[:, None])
    np.testing.assert_allclose(decoded(code).detach(), 0, atol=1e-6)


def test_bfloat16_convolutions_learn_nearly_the_same():
    records = [next(CdiTrainer(examples(), settings(bfloat16=b)).epochs()) for b in (False, True)]
    assert records[1]["loss"] != records[0]["loss"] and records[1]["loss"] == pytest.approx(
        records[0]["loss"], rel=0.02
    )


def test_wrong_sizes_and_too_few_crystals_are_refused(tmp_path):
    with pytest.raises(DataError, match="the crystals have the wrong size"):
        CdiTrainer(examples(3, 24), settings())
    with pytest.raises(DataError, match="too few crystals"):
        CdiTrainer(examples(1), settings())
    with pytest.raises(DataError, match="no training to resume"):
        CdiTrainer(examples(), settings(), tmp_path).resume()
    CdiTrainer(examples(), settings(), tmp_path).save()
    with pytest.raises(ConfigError, match="the checkpoint is that of another network"):
        CdiTrainer(examples(), settings(width=(2, 2, 2)), tmp_path).resume()


def test_shards_come_back_and_damage_is_named(tmp_path):
    e = examples(3)
    for i in range(2):
        write_shard(tmp_path / f"{i}.h5", e, {"number": i})
    found, origins = read_shards(shard_paths(tmp_path))
    assert len(found) == 6 and origins == [{"number": 0}, {"number": 1}]
    np.testing.assert_allclose(found.modulus[3:], e.modulus, atol=1e-3)
    (tmp_path / "1.h5").write_bytes(b"no")
    with pytest.raises(DataError, match="not a shard of crystals"):
        read_shards(shard_paths(tmp_path))
    with pytest.raises(DataError, match="holds no shards"):
        shard_paths(tmp_path / "none")


def small_training(folder: Path) -> list[str]:
    write_shard(folder / "shards" / "0.h5", examples(), {"by": "test"})
    return [
        f"data={folder / 'shards'}", "training.width=[2, 3, 4]", "training.batch_size=4", "training.device=cpu",
        "training.validation=0.3", "training.stages=[{epochs: 1}]",
        "training.dropout=0",  # its masks are drawn on every process
    ]  # fmt: skip


def test_command_writes_weights_and_a_model_card(tmp_path):
    path = train_network("cdi_nn", tmp_path / "out", None, small_training(tmp_path))
    card = json.loads((tmp_path / "out" / "model_card.json").read_text())
    assert card["parameters"] == CdiNetwork(TINY).n_parameters and card["held_out"] == 2 and card["data_sha256"]
    assert set(card["held_out_scores"]) >= {"median_shape_error", "median_phase_rms_rad"}
    assert load_network(path)[0].width == TINY
    assert (tmp_path / "out" / "training.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="already holds a training.*--resume"):
        train_network("cdi_nn", tmp_path / "out", None, small_training(tmp_path))
    with pytest.raises(ConfigError, match="no trainable network named 'cdi_n'; did you mean 'cdi_nn'"):
        train_network("cdi_n", tmp_path / "out")


@pytest.mark.mpi
def test_two_processes_train_as_one(tmp_path):
    """Gradients are summed over the processes: the same weights, up to rounding."""
    script = (
        "import sys; from adorym.commands.train import train_network;"
        "train_network('cdi_nn', sys.argv[1], None, sys.argv[2:])"
    )
    assignments = small_training(tmp_path)
    root = Path(__file__).resolve().parents[2]
    base = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    train_network("cdi_nn", tmp_path / "one", None, assignments)
    pair = [*torchrun, sys.executable, "-c", script, str(tmp_path / "two"), *assignments]
    assert subprocess.run(pair, env=base, timeout=240, check=False).returncode == 0
    one, two = (read_safetensors(tmp_path / name / "weights.safetensors")[0] for name in ("one", "two"))
    # Adam takes a whole step where a gradient is nothing but rounding: single weights differ, most must not.
    differences = np.concatenate([np.abs(two[name].astype(float) - a).ravel() for name, a in one.items()])
    assert differences.mean() < 1e-4 and np.mean(differences > 5e-4) < 0.03
    curves = [json.loads((tmp_path / n / "model_card.json").read_text())["validation_curves"] for n in ("one", "two")]
    for name, values in curves[0].items():
        np.testing.assert_allclose(curves[1][name], values, rtol=1e-3, err_msg=name)


def test_metrics_take_the_nearer_twin():
    e = examples(1)
    obj = e.shape[0] * np.exp(1j * (e.phase[0] + np.linspace(0, 1, 32)[:, None] ** 2 * e.shape[0]))
    other = np.roll(np.conj(obj[::-1, ::-1, ::-1]), (1, -2, 0), (0, 1, 2)) * 3 * np.exp(0.7j)
    found = match(other, obj)
    assert found.twin and found.overlap > 0.999 and found.shape_error < 0.02 and found.phase_rms_rad < 0.02
