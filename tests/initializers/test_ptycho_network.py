"""Start objects from a network for ptychography."""

import json
import logging

import numpy as np
import pytest

import adorym
from adorym.data.native_write import write_native
from adorym.errors import ConfigError
from adorym.forward.ptychography import Ptychography
from adorym.initializers.ptycho_network import PtychoNn, _in_slices, _volume
from adorym.metrics import object_error, scanned_region
from adorym.networks import prediction
from adorym.networks.probe_fingerprint import Fingerprint
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.weights import save_network
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings


def data(seed=3):
    made = SyntheticSettings(photons=(1e6, 1e6), overlap=(0.6, 0.6))
    probe = ProbeFamily(gaussian=0.0).draw(64, np.random.default_rng(1))
    return SyntheticPatterns(made, (probe,), None, 64, 1, seed).scan(0, 4)


def true_patches(dataset):
    corners = np.rint(dataset.probe_positions_px).astype(int)
    return np.stack([dataset.truth["object"][y : y + 64, x : x + 64] for y, x in corners])


@pytest.fixture
def files(tmp_path):
    dataset = data()
    write_native(dataset, tmp_path / "scan.h5")
    card = {
        "fingerprints": [Fingerprint.of(dataset.start_probe).as_dict()],
        "probe_family": False, "group": 1, "quality": [0.2],
    }  # fmt: skip
    texts = {name: json.dumps(value) for name, value in card.items()}
    weights = save_network(PtychoNetwork(64, 2, 1, 0), tmp_path / "w.safetensors", texts)
    return dataset, tmp_path / "scan.h5", weights


def reconstruction(path, weights, **changes):
    initial = {"kind": "ptycho_nn", "weights": str(weights), "device": "cpu"} | changes
    return adorym.reconstruct(
        {
            "data": {"path": str(path)},
            "forward_model": {"kind": "ptychography"},
            "parameters": {"object": {"initial": initial}},
            "run": {"epochs": 0, "device": "cpu"},
        }
    )


def error_of(result, dataset):
    true, (y, x) = dataset.truth["object"], result.origin_px
    obj = result.object[..., 0]
    framed = np.ones_like(true)
    part = obj[y : y + true.shape[0], x : x + true.shape[1]]
    framed[: part.shape[0], : part.shape[1]] = part
    return object_error(framed, true, scanned_region(dataset.truth["probe_positions_px"], (64, 64), true.shape))


@pytest.mark.parametrize("compare", [0, 3])
def test_run_starts_from_the_picture_of_the_network(files, monkeypatch, caplog, compare):
    dataset, path, weights = files
    monkeypatch.setattr(prediction, "predict_patches", lambda *given: true_patches(dataset))
    with caplog.at_level(logging.INFO, logger="adorym"):
        result = reconstruction(path, weights, compare=compare)
    assert error_of(result, dataset) < 0.02
    assert result.fit["network_used"] and result.fit["network_quality"] < 0.05
    assert result.fit["network_misfit"].shape == (16,)
    if compare:
        assert "the network's start is taken" in caplog.text
        assert result.fit["network_compared"][0] < result.fit["network_compared"][1]


def test_foreign_data_start_from_vacuum_with_a_warning(files, caplog):
    _, path, weights = files  # an untrained network predicts vacuum, which explains nothing
    result = reconstruction(path, weights)
    np.testing.assert_allclose(result.object, 1, atol=1e-6)
    assert not result.fit["network_used"]
    assert "does not explain the patterns" in caplog.text and "the object starts from vacuum" in caplog.text


def test_worse_start_loses_the_comparison(files, monkeypatch, caplog):
    _, path, weights = files
    noise = np.random.default_rng(0).normal(size=(16, 64, 64, 2)) @ [1, 1j]
    monkeypatch.setattr(prediction, "predict_patches", lambda *given: 0.05 * noise + 1)
    monkeypatch.setattr("adorym.networks.trained.TrainedNetwork.foreign", lambda *given: None)
    with caplog.at_level(logging.INFO, logger="adorym"):
        result = reconstruction(path, weights, compare=5)
    assert "vacuum is taken" in caplog.text and not result.fit["network_used"]
    np.testing.assert_allclose(result.object, 1, atol=1e-6)


def test_other_models_are_refused(files):
    weights = files[2]
    with pytest.raises(ConfigError, match="'ptycho_nn' needs the probe of a ptychographic model"):
        PtychoNn(weights=str(weights)).make(data(), (80, 80), np.random.default_rng(0))
    bound = type("Bound", (), {"model": Ptychography(propagation="fresnel"), "settings": {"probe": None}})
    bound.dataset = data()
    with pytest.raises(ConfigError, match="'ptycho_nn' knows the far field only"):
        PtychoNn(weights=str(weights)).start_of(bound, np.random.default_rng(0))


def test_slices_multiply_to_the_picture():
    y = np.linspace(-4, 4, 40)
    picture = 0.8 * np.exp(1j * (y[:, None] + y))
    product = _in_slices(picture, (40, 40, 3)).prod(axis=2)
    np.testing.assert_allclose(product, picture, atol=1e-6)
    assert np.ptp(np.angle(_in_slices(picture, (40, 40, 3))[..., 0])) > 2


def test_volume_projects_to_the_pictures():
    """A cylinder of constant index about the axis: its chord lengths are its projections, from every side."""
    n, radius, depth = 48, 15.0, 0.02
    x = np.arange(n) - (n - 1) / 2
    chord = 2 * np.sqrt(np.maximum(radius**2 - x**2, 0))
    picture = np.exp(-(0.3 - 1j) * depth * chord)[None] * np.ones((6, 1))
    theta = np.arange(60) * np.pi / 60
    dataset = data().with_(theta_rad=theta, rotation_center_px=0.0)
    volume = _volume(np.repeat(picture[None], 60, 0), dataset, (6, n, n))
    inside = np.hypot(x[:, None], x) < 0.7 * radius
    exponent = -np.log(volume[3][inside])
    assert exponent.real.mean() == pytest.approx(0.3 * depth, rel=0.05)
    assert exponent.imag.mean() == pytest.approx(-depth, rel=0.05)
