"""The network for ptychography: its passes, its groups, its training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from adorym.commands.train import train_network
from adorym.data.dataset import ArrayPatterns
from adorym.data.native_write import write_native
from adorym.errors import ConfigError, DataError
from adorym.networks.cdi_nn import CdiNetwork
from adorym.networks.ptycho_nn import AMPLITUDE, Overlap, PatternGroups, PtychoNetwork, _missing
from adorym.networks.ptycho_training import PtychoSettings, PtychoTrainer, groups_of, patch_errors
from adorym.networks.scan import Scan
from adorym.networks.weights import load_network, load_ptycho_network, save_network
from adorym.simulate.pattern_groups import ProbeFamily, SyntheticPatterns, SyntheticSettings

torch.set_num_threads(1)


def source(group=1, seed=1, patterns=24):
    made = SyntheticSettings(pool=2, patterns=patterns, object_px=128, photons=(1e5, 1e5), patterns_per_object=4)
    return SyntheticPatterns(made, (), ProbeFamily(), 64, group, seed)


def trainer(folder=None, group=1, **changes):
    fields = {"width": 4, "group": group, "batch_size": 8, "epochs": 2, "validation": 4, "device": "cpu"} | changes
    return PtychoTrainer(source(group), {"held_out": source(group, 2)}, PtychoSettings(**fields), folder)


def awake(network):
    """A network whose heads say something."""
    torch.manual_seed(3)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.05)
    return network


@pytest.mark.parametrize("size", [64, 128])
def test_untrained_network_sees_vacuum(size):
    ones = torch.ones(2, 1, size, size)
    probe, corners = torch.ones(2, 1, 1, size, size, dtype=torch.complex64), torch.zeros(2, 1, 2).long()
    groups = PatternGroups(ones, probe, corners, torch.full((2, 1, 1, 1), 1e5))
    obj = PtychoNetwork(size, 4, 2, 0)(groups)
    assert obj.shape == (2, 1, size, size)
    np.testing.assert_allclose(obj.detach().numpy(), 1, atol=1e-5)


def test_amplitude_never_saturates_and_phases_have_no_cut():
    groups = groups_of(source().batch((0,), 4), "cpu")
    obj = awake(PtychoNetwork(64, 4, 2))(groups).detach()
    assert float(obj.abs().min()) > 0 and float(obj.abs().max()) < AMPLITUDE
    assert float(obj.angle().std()) > 0


def test_correction_is_what_the_moduli_ask_for():
    """From vacuum, one step of error reduction; from the true object, nothing."""
    wide = ProbeFamily(radius=(14, 14), gaussian=1)  # light everywhere: where there is none, phases are rounding
    batch = SyntheticPatterns(source().settings, (), wide, 64, 1, 1).batch((0,), 2)
    probe = batch.probe[:, 0, 0]
    exact = np.abs(np.fft.fft2(probe * batch.truth[:, 0], norm="ortho")) ** 2
    arrays = exact[:, None].astype(np.float32), batch.probe, batch.corners_px, batch.photons
    groups = PatternGroups(*(torch.from_numpy(a) for a in arrays))
    wave = np.fft.fft2(probe, norm="ortho")
    moved = np.fft.ifft2(np.sqrt(exact) * np.exp(1j * np.angle(wave)), norm="ortho")
    found = _missing(groups, torch.ones(2, 1, 64, 64, dtype=torch.complex64))[:, 0].numpy()
    assert np.linalg.norm(found - probe.conj() * (moved - probe)) < 0.05 * np.linalg.norm(found)
    left = _missing(groups, torch.from_numpy(batch.truth)).numpy()
    assert np.linalg.norm(left) < 1e-3 * np.linalg.norm(found)


def test_corrections_alone_lead_towards_the_object():
    """An untrained network of a group does what plain corrections do, and more of them do more."""
    batch = source(group=4).batch((0,), 4)
    errors = [
        patch_errors(batch, PtychoNetwork(64, 2, 1, n)(groups_of(batch, "cpu")).detach().numpy())["phase_mae_rad"]
        for n in (0, 2, 10)
    ]
    assert errors[2] < errors[1] < errors[0]


def test_patches_of_a_group_agree_where_they_overlap():
    batch = source(group=3).batch((0,), 2)
    obj = awake(PtychoNetwork(64, 4, 2))(groups_of(batch, "cpu")).detach().numpy()
    y, x = batch.corners_px[0, 1] - batch.corners_px[0, 0]
    inside = (slice(max(0, y), 64 + min(0, y)), slice(max(0, x), 64 + min(0, x)))
    moved = (slice(max(0, -y), 64 + min(0, -y)), slice(max(0, -x), 64 + min(0, -x)))
    np.testing.assert_allclose(obj[0, 0][inside], obj[0, 1][moved], atol=1e-5)


def test_overlap_sums_what_shares_a_pixel():
    corners = torch.tensor([[[0, 0], [1, 2]], [[3, 0], [0, 0]]])
    values = torch.rand(2, 2, 4, 5, dtype=torch.float64)
    found = Overlap(corners, (4, 5)).sums(values)
    for b in range(2):
        canvas = torch.zeros(7, 7, dtype=torch.float64)
        for c in range(2):
            y, x = corners[b, c].tolist()
            canvas[y : y + 4, x : x + 5] += values[b, c]
        for c in range(2):
            y, x = corners[b, c].tolist()
            torch.testing.assert_close(found[b, c], canvas[y : y + 4, x : x + 5])


def test_masked_pixels_change_nothing():
    """Neither what the network sees nor what it is told."""
    batch = source().batch((0,), 4)
    good = np.ones((64, 64), bool)
    good[5:9, 60:] = False
    wild = [np.where(good, counts, 1e6).astype(np.float32) for counts in (batch.counts, batch.unseen)]
    made, found = trainer(), []
    awake(made.network)
    for counts, unseen in ((batch.counts, batch.unseen), wild):
        each = replace(batch, counts=counts, unseen=unseen, good=good)
        obj = made.network(groups_of(each, "cpu"))
        found.append((obj.detach().numpy(), float(made.deviance(each, obj).detach())))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_deviance_is_that_of_counts_of_the_true_patches():
    batch = source().batch((0,), 8)
    made = trainer()
    truth = float(made.deviance(batch, torch.from_numpy(batch.truth)))
    vacuum = float(made.deviance(batch, torch.ones(batch.truth.shape, dtype=torch.complex64)))
    wave = np.fft.fft2(batch.probe * batch.truth[:, :, None], norm="ortho")
    model = batch.photons * (np.abs(wave) ** 2).sum(2)
    floor = 1e-3 * batch.unseen.mean((2, 3), keepdims=True)
    n, i = batch.unseen + floor, model + floor
    expected = ((i - n + n * np.log(n / i)).sum((2, 3)) / batch.unseen.sum((2, 3))).mean()
    assert truth == pytest.approx(expected, rel=1e-3) and vacuum > 3 * truth


def test_counts_that_are_learnt_from_have_noise_of_their_own():
    """Simulated: two counts of one exposure; measured: photons divided at random, which leaves them independent."""
    batch = source().batch((0,), 8)
    wave = np.fft.fft2(batch.probe * batch.truth[:, :, None], norm="ortho")
    expected = batch.photons * (np.abs(wave) ** 2).sum(2)
    bright = expected > 5
    noise = [((counts - expected) / np.sqrt(expected))[bright] for counts in (batch.counts, batch.unseen)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05 and all(abs(each.std() - 1) < 0.05 for each in noise)

    data = source().scan(0, 4)
    measured = Scan(data, data.start_probe, 4, seed=5)
    chosen = np.random.default_rng((5, 1)).choice(16, 6, replace=False)
    half, whole = measured.batch((1,), 6), measured.groups(measured.neighbors(chosen))
    np.testing.assert_array_equal(half.counts + half.unseen, whole.counts)
    np.testing.assert_allclose(half.photons, whole.photons / 2)
    other = (half.counts - whole.counts / 2)[whole.counts > 0]
    assert abs(other.mean()) < 5 * other.std() / np.sqrt(other.size) and other.std() > 0.4
    patterns = data.patterns.read(np.arange(16))
    for kind, changed, apart in (("amplitude", np.sqrt(patterns), True), ("intensity", patterns + 0.3, False)):
        other = Scan(data.with_(patterns=ArrayPatterns(changed), measured=kind), data.start_probe)
        assert (other.batch((1,), 6).unseen is not None) == apart


def test_groups_of_a_square_number_are_small_scans():
    made = SyntheticSettings(object_px=192, photons=(1e6, 1e6), overlap=(0.1, 0.8))
    batch = SyntheticPatterns(made, (), ProbeFamily(), 64, 9, 1).batch((0,), 4)
    corners = batch.corners_px.reshape(4, 3, 3, 2)
    steps = np.diff(corners[..., 0], axis=1).mean((1, 2)), np.diff(corners[..., 1], axis=2).mean((1, 2))
    assert all(np.all(each > 0) for each in steps) and np.ptp(steps[0]) > 1  # each has a step of its own
    np.testing.assert_allclose(steps[0], steps[1], rtol=0.3, atol=1.5)
    assert corners.max() <= 192 - 64


def test_the_network_is_told_the_photons_of_every_pixel():
    groups, seen = groups_of(source(group=4).batch((0,), 2), "cpu"), []

    def core(number, given):
        seen.append(given[:, -1].numpy())
        return torch.zeros(len(given), 3, 64, 64)

    PtychoNetwork(64, 2, 1, 0)(groups, core)
    light = Overlap(groups.corners_px, (64, 64)).sums(groups.illumination).flatten(0, 1).numpy()
    np.testing.assert_allclose(10 ** (4 * seen[0]), 1 + 1e5 * light, rtol=1e-3)


def test_errors_of_patches_do_not_depend_on_a_phase_offset():
    batch = source().batch((0,), 4)
    turned = batch.truth * np.exp(1j * np.arange(4)).reshape(-1, 1, 1, 1)
    assert patch_errors(batch, turned)["phase_mae_rad"] < 1e-5
    flat = patch_errors(batch, np.ones_like(batch.truth))
    assert flat["phase_mae_rad"] > 0.02 and flat["amplitude_mae"] > 0.01


# -- training ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("group", [1, 4])
def test_likelihood_alone_teaches(group):
    made = trainer(group=group, epochs=5, learning_rate=5e-3, corrections=0)
    before, vacuum = made.validate()["validation_held_out"], made.scores()["held_out"]
    records = list(made.epochs())
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["validation_held_out"] < 0.9 * before
    assert made.scores()["held_out"] != vacuum


def test_training_resumes_as_if_it_had_not_stopped(tmp_path):
    through, cut, resumed = (trainer(tmp_path / name) for name in ("a", "b", "b"))
    list(through.epochs())
    next(cut.epochs())
    resumed.resume()
    list(resumed.epochs())
    for name, p in through.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], p)
    with pytest.raises(ConfigError, match="the checkpoint is that of another network"):
        trainer(tmp_path / "b", group=4).resume()


def test_weights_come_back_and_are_not_those_of_another_kind(tmp_path):
    network = awake(PtychoNetwork(64, 4, 2))
    path = save_network(network, tmp_path / "w.safetensors", {}, half=False)
    found, _ = load_ptycho_network(path)
    groups = groups_of(source().batch((0,), 2), "cpu")
    torch.testing.assert_close(found(groups), network(groups))
    with pytest.raises(DataError, match="not the weights of a cdi_nn network"):
        load_network(path)
    with pytest.raises(DataError, match="not the weights of a ptycho_nn network.*adorym train ptycho_nn"):
        load_ptycho_network(crystal_weights(tmp_path))


def crystal_weights(folder):
    return save_network(CdiNetwork((2, 3, 4)), folder / "c.safetensors", {})


SMALL = [
    "patterns.patterns=8", "patterns.pool=2", "training.width=2", "training.epochs=1", "training.batch_size=4",
    "training.validation=2", "patterns.patterns_per_object=2", "training.threads=1",
]  # fmt: skip


def test_command_trains_on_a_measured_scan(tmp_path):
    data = source().scan(0, 3)
    write_native(data, tmp_path / "scan.h5")
    np.save(tmp_path / "probe.npy", data.start_probe)
    measured = [*SMALL, f"data={tmp_path / 'scan.h5'}"]
    train_network("ptycho_nn", tmp_path / "out", None, measured, probes=[tmp_path / "probe.npy"])
    card = json.loads((tmp_path / "out" / "model_card.json").read_text())
    assert card["patterns"] == "measured" and card["curves"]["loss"][0] > 0
    with pytest.raises(ConfigError, match="measured patterns need the probe that made them"):
        train_network("ptycho_nn", tmp_path / "a", None, [*measured, "family={}"])
    np.save(tmp_path / "large.npy", ProbeFamily().draw(128, np.random.default_rng(0)))
    large = [*measured, "training.size=128", "patterns.object_px=200"]
    with pytest.raises(DataError, match="another size than the network"):
        train_network("ptycho_nn", tmp_path / "b", None, large, probes=[tmp_path / "large.npy"])


def test_command_trains_on_the_probes_it_is_given(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", ProbeFamily().draw(64, rng))
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    path = train_network("ptycho_nn", tmp_path / "out", None, SMALL, probes=files)
    card = json.loads((tmp_path / "out" / "model_card.json").read_text())
    assert card["probes"] == ["a.npy", "b.npy"] and len(card["fingerprints"]) == 2 and not card["probe_family"]
    assert set(card["held_out_scores"]) == {
        "dead_leaves", "blurred_noise", "layered_shapes", "multi_octave_noise",
    }  # fmt: skip
    assert card["quality"] and load_ptycho_network(path)[0].width == 2
    assert (tmp_path / "out" / "training.png").is_file()
    with pytest.raises(ConfigError, match="either probes or a 'family' of them"):
        train_network("ptycho_nn", tmp_path / "other", None, SMALL)
    with pytest.raises(ConfigError, match="has no effect: 'cdi_nn' has no probe"):
        train_network("cdi_nn", tmp_path / "other", probes=files)
