"""From patches to one picture: phases, scale, coverage, misfit, and data that are foreign to a network."""

import json

import numpy as np
import pytest

from adorym.data.dataset import ArrayPatterns
from adorym.errors import DataError
from adorym.metrics import object_error, scanned_region
from adorym.networks import prediction
from adorym.networks.onnx_runtime import is_installed, onnx_core
from adorym.networks.prediction import Frame, corrected, misfits, predict_scan, stitched
from adorym.networks.probe_fingerprint import FEATURES, Fingerprint
from adorym.networks.ptycho_nn import PtychoNetwork
from adorym.networks.scan import Scan
from adorym.networks.trained import TrainedNetwork
from adorym.networks.weights import save_network
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings


def dataset(seed=3, side=4, **changes):
    made = SyntheticSettings(**({"photons": (1e6, 1e6), "overlap": (0.6, 0.6)} | changes))
    probe = ProbeFamily(gaussian=0.0).draw(64, np.random.default_rng(1))
    return SyntheticPatterns(made, (probe,), None, 64, 1, seed).scan(0, side)


DATA = dataset()
SHAPE = DATA.truth["object"].shape


def scan(data=DATA, group=1):
    return Scan(data, data.start_probe, group)


def true_patches(data=DATA, factor=1.0):
    corners = np.rint(data.probe_positions_px).astype(int)
    turns = np.exp(1j * np.random.default_rng(0).uniform(0, 2 * np.pi, len(corners)))
    obj = factor * data.truth["object"]
    return np.stack([obj[y : y + 64, x : x + 64] * turn for (y, x), turn in zip(corners, turns, strict=True)])


def error(obj):
    return object_error(obj, DATA.truth["object"], scanned_region(DATA.truth["probe_positions_px"], (64, 64), SHAPE))


def test_patches_of_any_phase_are_stitched_to_one_picture():
    light = np.abs(scan().shifted(np.zeros((16, 2))))[:, 0] ** 2
    obj, coverage, patches = stitched(true_patches(), light, Frame.of(scan(), SHAPE, (0, 0)))
    assert error(obj) < 1e-5
    np.testing.assert_array_equal(obj[coverage == 0], 1)
    assert 0 < np.mean(coverage > 0) < 1 < coverage.max()
    turns = [np.angle(np.sum(p * q.conj())) for p, q in zip(patches, true_patches(), strict=True)]
    assert np.std(turns) > 0.1  # each patch was turned by its own angle


def test_scale_is_found_in_closed_form(monkeypatch):
    monkeypatch.setattr(prediction, "predict_patches", lambda *given: true_patches(factor=0.8))
    found = predict_scan(PtychoNetwork(64, 2, 1, 0), scan(), SHAPE, (0, 0))
    # The mean pattern has as many photons as the beam, so that the object's mean square under it is 1.
    expected = np.sqrt(1e6 / scan().photons)
    assert found.scale * 0.8 == pytest.approx(expected, rel=0.01)
    assert found.quality < 0.02 and np.all(found.misfit < found.vacuum_misfit)
    assert set(found.diagnostics) >= {"network_coverage", "network_misfit"}


def test_misfit_of_the_truth_is_nothing_and_masked_pixels_do_not_count():
    frame, obj = Frame.of(scan(), SHAPE, (0, 0)), DATA.truth["object"] * 1e3
    clean = misfits(scan(), obj, frame)
    assert np.median(clean) < 1e-4  # photon noise alone is 1e-3
    good = np.ones((64, 64), bool)
    good[30:33, 30:40] = False
    wild = DATA.patterns.read(np.arange(16)) + 1e5 * ~good
    masked = DATA.with_(patterns=ArrayPatterns(wild), mask=good)
    assert np.median(misfits(Scan(masked, DATA.start_probe), obj, frame)) < 1e-4
    assert Scan(masked, DATA.start_probe).photons == pytest.approx(scan().photons, rel=0.05)


def test_corrections_lead_from_vacuum_towards_the_object():
    start = np.ones(SHAPE, complex)
    assert error(corrected(scan(), start, Frame.of(scan(), SHAPE, (0, 0)), 30)) < 0.6 * error(start)


def test_groups_have_different_neighbors_that_are_near():
    found = scan(group=4).neighbors(np.arange(16))
    assert found.shape == (16, 4) and all(len(set(row)) == 4 for row in found.tolist())
    np.testing.assert_array_equal(found[:, 0], np.arange(16))
    groups = scan(group=4).groups(found[:3])
    assert groups.counts.shape == (3, 4, 64, 64) and groups.corners_px.min() == 0
    with pytest.raises(DataError, match="a scan of at least 20 positions"):
        scan(group=20)


def test_blocks_cover_a_scan_once_and_see_what_is_next_to_them():
    each = scan(group=4)
    parts = each.blocks(np.arange(16), 4)
    assert sorted(np.concatenate(parts).tolist()) == list(range(16)) and max(map(len, parts)) <= 4
    for part in parts:
        assert np.ptp(each.positions_px[part], axis=0).max() < np.ptp(each.positions_px, axis=0).max()
        assert set(part) <= set(each.around(part))
    apart = np.linalg.norm(each.positions_px - each.positions_px[0], axis=1)
    assert each.around(np.array([0])).tolist() == sorted(np.argsort(apart)[:9].tolist())
    assert scan().around(np.array([3])).tolist() == [3]


def test_a_scan_in_blocks_has_nearly_the_patches_of_the_whole(monkeypatch):
    """Corrections that share what overlaps lead towards the object, and more so than those of single patterns."""
    network, alone = PtychoNetwork(64, 2, 1, 15), PtychoNetwork(64, 2, 1, 15)
    whole = prediction.predict_patches(network, scan(group=4))
    some = prediction.predict_patches(network, scan(group=4), None, np.array([2, 5, 6]))
    monkeypatch.setattr(prediction, "BLOCK", 6)
    parts = prediction.predict_patches(network, scan(group=4))
    single = prediction.predict_patches(alone, scan())
    light = np.abs(scan().shifted(np.zeros((16, 2))))[:, 0] ** 2
    frame = Frame.of(scan(), SHAPE, (0, 0))
    errors = [error(stitched(each, light, frame)[0]) for each in (whole, parts, single)]
    assert errors[0] < 0.2 * errors[2] and errors[1] < 0.4 * errors[2] and some.shape == (3, 64, 64)


# -- what a network knows ----------------------------------------------------------------------------------------------
def test_fingerprint_tells_defocus_width_and_hollowness():
    frequency = np.fft.fftfreq(64, 1 / 64)
    f2 = frequency[:, None] ** 2 + frequency**2
    middle = np.exp(-2j * np.pi * frequency * 31.5 / 64)

    def probe(pupil, lens=0.0):
        return np.fft.ifft2(pupil * np.exp(1j * lens * f2) * middle[:, None] * middle)[None]

    gauss = np.exp(-f2 / 6.0**2)
    focus, near, far = (Fingerprint.of(probe(gauss, lens)) for lens in (0, 0.03, -0.03))
    assert focus.hollowness == pytest.approx(2, rel=0.01) and focus.divergence_px == pytest.approx(6 / 2**0.5, rel=0.01)
    # A Gaussian of that far field has the width N / (2 pi) / sigma_k in its focus.
    assert focus.width_px == pytest.approx(64 / (2 * np.pi) * 2**0.5 / 6, rel=0.01)
    assert abs(focus.curvature) < 1e-6 and near.curvature == pytest.approx(-far.curvature)
    assert abs(near.curvature) > 0.3 and near.width_px > 1.2 * focus.width_px
    ring = Fingerprint.of(probe(((f2 > 9**2) & (f2 < 11**2)).astype(float)))
    assert ring.hollowness < 1.1
    assert Fingerprint.of(np.concatenate([probe(gauss), 0.5 * probe(gauss, 0.1)])).first_mode < 0.99


def test_known_probes_are_one_of_several_or_within_a_family():
    rng = np.random.default_rng(0)
    family = ProbeFamily()
    known = np.array([Fingerprint.of(family.draw(64, rng)).values for _ in range(100)])
    own, new = (Fingerprint.of(family.draw(64, rng)) for _ in range(2))
    assert own.is_known(known, family=True) and new.is_known(known, family=True)
    other = Fingerprint.of(ProbeFamily(radius=(25, 26), gaussian=0, stop=0).draw(64, rng))
    assert not other.is_known(known, family=True)
    assert own.is_known(own.values[None], family=False) and not own.is_known(other.values[None], family=False)


def trained(folder, probe, quality=0.2, **changes):
    card = {"fingerprints": [Fingerprint.of(probe).as_dict()], "probe_family": False, "group": 1, "quality": [quality]}
    texts = {name: json.dumps(value) for name, value in (card | changes).items()}
    return save_network(PtychoNetwork(64, 2, 1, 0), folder / "w.safetensors", texts)


def test_patterns_off_the_middle_are_noticed():
    moved = DATA.with_(patterns=ArrayPatterns(np.roll(DATA.patterns.array, 3, axis=1)))
    assert scan().off_center_px() < 1
    assert scan(moved).off_center_px() == pytest.approx(3, abs=0.5)


def test_foreign_data_are_flagged(tmp_path, monkeypatch):
    network = TrainedNetwork.load(trained(tmp_path, DATA.start_probe))
    monkeypatch.setattr(prediction, "predict_patches", lambda *given: true_patches())
    good = network.predict(scan(), SHAPE, (0, 0))
    assert network.foreign(scan(), good) is None
    # The network would see the transposed patterns of the transposed object: its patches do not fit together.
    turned = DATA.with_(patterns=ArrayPatterns(DATA.patterns.array.transpose(0, 2, 1)))
    monkeypatch.setattr(prediction, "predict_patches", lambda *given: true_patches().transpose(0, 2, 1))
    bad = network.predict(scan(turned), SHAPE, (0, 0))
    assert "does not explain the patterns" in network.foreign(scan(turned), bad)
    wide = np.fft.fftshift(np.fft.fft2(DATA.start_probe), axes=(-2, -1))
    moved = DATA.with_(patterns=ArrayPatterns(np.roll(DATA.patterns.array, 4, axis=2)))
    assert "the middle of the patterns is" in network.foreign(scan(moved), good)
    assert "not one that the network was trained for" in network.foreign(Scan(DATA, wide), good)


def test_weights_without_a_card_and_other_sizes_are_refused(tmp_path):
    with pytest.raises(DataError, match="the model card is not complete.*adorym train ptycho_nn"):
        TrainedNetwork.load(save_network(PtychoNetwork(64, 2, 1, 0), tmp_path / "w.safetensors", {}))
    network = TrainedNetwork.load(trained(tmp_path, DATA.start_probe))
    small = DATA.with_(patterns=ArrayPatterns(DATA.patterns.array[:, :48, :48]), start_probe=None)
    with pytest.raises(DataError, match="another size than the network"):
        network.scan(small, DATA.start_probe)
    assert set(FEATURES) == set(network.card["fingerprints"][0])


@pytest.mark.skipif(not is_installed(), reason="onnx and onnxruntime are optional")
def test_onnx_runtime_gives_the_same_patches():
    network = PtychoNetwork(64, 4, 2)
    for p in network.parameters():
        p.data += 0.05
    one, other = (prediction.predict_patches(network, scan(), core) for core in (None, onnx_core(network)))
    assert np.abs(one - 1).max() > 1e-3
    np.testing.assert_allclose(other, one, atol=1e-4)
