"""The weights for ptychography that the package brings: what they know, and that they are used without being named."""

import json

import numpy as np
import pytest

import adorym
from adorym.commands.predict import predict
from adorym.data.native_write import write_native
from adorym.metrics import object_error, scanned_region
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.trained import TrainedNetwork
from adorym.networks.weights import weights_path
from adorym.simulate.experiments import Ptychography
from adorym.simulate.illumination import FocusedBeam
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings
from adorym.simulate.phantoms import Cells


def held_out(photons, seed=8_000_000, side=4):
    """A scan with a probe and an object that no training saw."""
    made = SyntheticSettings(photons=(photons, photons), overlap=(0.5, 0.5))
    return SyntheticPatterns(made, (), ProbeFamily(), 64, 1, seed).scan(1, side)


def error_of(obj, data):
    shape = data.truth["object"].shape
    return object_error(obj, data.truth["object"], scanned_region(data.truth["probe_positions_px"], (64, 64), shape))


def test_card_and_size():
    path = weights_path("ptycho_nn", None)
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 5e6 and card["network"] == "ptycho_nn" and card["probe_family"]
    assert set(card["held_out_scores"]) == {"dead_leaves", "blurred_noise", "layered_shapes", "multi_octave_noise"}
    assert TrainedNetwork.load().network.size == 64


@pytest.mark.parametrize("beam", [FocusedBeam(aperture=8), FocusedBeam(aperture=10)])
def test_focused_beams_are_known_and_a_plane_wave_is_not(beam):
    data = Ptychography(object_px=(150, 150), illumination=beam, phantom=Cells()).run(1)
    assert TrainedNetwork.load().unknown_probe(data.truth["probe"]) is None
    assert "not one that the network was trained for" in TrainedNetwork.load().unknown_probe(np.ones((1, 64, 64)))


def test_one_pass_shows_the_object():
    data, trained = held_out(1e6), TrainedNetwork.load()
    shape = data.truth["object"].shape
    found = trained.predict(trained.scan(data, data.start_probe), shape, (0, 0))
    assert error_of(found.object, data) < 0.5 * error_of(np.ones(shape), data)
    assert trained.foreign(trained.scan(data, data.start_probe), found) is None


def test_where_photons_are_few_it_does_better_than_its_corrections_alone():
    trained, errors = TrainedNetwork.load(), []
    plain = TrainedNetwork(PtychoNetwork(*trained.network.built), trained.card, "")
    for seed in range(8_000_000, 8_000_004):
        data = held_out(1e3, seed)
        shape = data.truth["object"].shape
        pictures = [each.predict(each.scan(data, data.start_probe), shape, (0, 0)).object for each in (trained, plain)]
        errors.append([error_of(picture, data) for picture in pictures])
    with_weights, without = np.mean(errors, axis=0)
    assert with_weights < without


def test_they_are_used_where_none_are_named(tmp_path):
    data = held_out(1e5)
    write_native(data, tmp_path / "scan.h5")
    done = predict(tmp_path / "scan.h5", None, tmp_path / "out")
    assert done.foreign is None and done.quality < 0.3
    result = adorym.reconstruct({
        "data": str(tmp_path / "scan.h5"),
        "forward_model": {"kind": "ptychography"},
        "parameters": {"object": {"initial": {"kind": "ptycho_nn", "device": "cpu"}}},
        "run": {"epochs": 0, "device": "cpu"},
        "output": {"progress": "quiet"},
    })  # fmt: skip
    assert result.fit["network_used"] and np.std(np.angle(result.object)) > 0.02
