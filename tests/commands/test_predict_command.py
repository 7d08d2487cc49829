"""The picture of a scan from a network alone."""

import json

import numpy as np
import pytest
from command_line import Adorym

from adorym.commands.predict import predict
from adorym.data.native_write import write_native
from adorym.data.result import read_result
from adorym.errors import DataError
from adorym.networks.probe_fingerprint import Fingerprint
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.weights import save_network
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    probe = ProbeFamily(gaussian=0.0).draw(64, np.random.default_rng(1))
    data = SyntheticPatterns(SyntheticSettings(), (probe,), None, 64, 1, 3).scan(0, 3)
    write_native(data, folder / "scan.h5")
    np.save(folder / "probe.npy", probe)
    write_native(data.with_(start_probe=None), folder / "bare.h5")
    card = {"fingerprints": [Fingerprint.of(probe).as_dict()], "probe_family": False, "group": 1, "quality": [0.2]}
    texts = {name: json.dumps(value) for name, value in card.items()}
    return folder, save_network(PtychoNetwork(64, 2, 1, 0), folder / "w.safetensors", texts)


def test_result_and_picture_are_written(files, tmp_path):
    folder, weights = files
    done = predict(folder / "scan.h5", weights, tmp_path, keep_patches=True)
    result = read_result(tmp_path)
    assert done.patterns == 9 and done.picture.read_bytes().startswith(b"\x89PNG")
    assert (
        result.fit["patches"].shape == (9, 64, 64) and result.fit["network_coverage"].shape == result.object.shape[:2]
    )
    assert "does not explain the patterns" in done.foreign  # the network is not trained
    again = predict(folder / "bare.h5", weights, tmp_path / "other", folder / "probe.npy")
    assert again.quality == pytest.approx(done.quality, rel=1e-3)
    assert "patches" not in read_result(tmp_path / "other").fit


def test_data_without_a_probe_are_refused(files, tmp_path):
    folder, weights = files
    with pytest.raises(DataError, match="the data bring no probe.*--probe FILE"):
        predict(folder / "bare.h5", weights, tmp_path)


def test_command_says_how_far_to_believe(files, tmp_path, capsys):
    folder, weights = files
    done = Adorym(capsys)("predict", folder / "scan.h5", "--weights", weights, "-o", tmp_path)
    assert done.status == 0, done.err
    assert "Do not believe this picture" in done.out and "9 patterns" in done.out
