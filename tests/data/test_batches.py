"""Batch schedules and the measured patterns as the loss wants them."""

from __future__ import annotations

import numpy as np
import pytest
from backends import BACKEND_PARAMS, DOUBLE, make_backend
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_scan import Scan

from adorym.data import batches
from adorym.data.batches import Measurements, epoch_order
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.narrow import bytes_needed
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.errors import DataError
from adorym.losses.counting import LeastSquares, Poisson
from adorym.wrapper import get_backend

ORDERS = ["random", "compact", "angle"]
XP = get_backend("autograd", precision="double")


def scan_of(n, angles=1, seed=0):
    rng = np.random.default_rng(seed)
    index = np.arange(n) % angles
    return Dataset(
        patterns=ArrayPatterns(np.ones((n, 2, 3), np.float32)),
        probe_positions_px=rng.uniform(-50, 50, (n, 2)),
        angle_index=index,
        theta_rad=np.zeros(angles),
    )


@given(
    n=st.integers(1, 90),
    size=st.integers(1, 40),
    order=st.sampled_from(ORDERS),
    angles=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_every_pattern_occurs_once_and_the_seed_decides(n, size, order, angles, seed):
    dataset = scan_of(n, min(angles, n), seed)
    order_of = [epoch_order(dataset, size, order, np.random.default_rng(seed)) for _ in range(2)]
    assert sorted(np.concatenate(order_of[0])) == list(range(n))
    assert all(len(part) for part in order_of[0])
    for a, b in zip(*order_of, strict=True):
        np.testing.assert_array_equal(a, b)
    if order == "random":
        lengths = [len(part) for part in order_of[0]]
        assert max(lengths) - min(lengths) <= 1 and len(lengths) == max(1, round(n / size))
    if order == "compact":
        assert max(len(part) for part in order_of[0]) <= size
    if order == "angle":
        assert all(len(np.unique(dataset.angle_index[part])) == 1 for part in order_of[0])


@pytest.mark.parametrize("order", ORDERS)
def test_epochs_differ(order):
    rng, dataset = np.random.default_rng(1), scan_of(60, 2)
    first, second = (epoch_order(dataset, 10, order, rng) for _ in range(2))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, second, strict=False))


@given(n=st.integers(2, 90), size=st.integers(4, 40), angles=st.integers(2, 5), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_a_random_batch_has_its_share_of_each_scan(n, size, angles, seed):
    dataset = scan_of(n, min(angles, n), seed)
    assume(dataset.n_angles <= size // 2)
    for part in epoch_order(dataset, size, "random", np.random.default_rng(seed)):
        found = np.bincount(dataset.angle_index[part], minlength=dataset.n_angles)
        share = np.bincount(dataset.angle_index) * len(part) / n
        assert np.abs(found - share).max() <= 2


def test_compact_batches_are_compact():
    dataset = scan_of(400)
    rng = np.random.default_rng(3)

    def spread(order):
        parts = epoch_order(dataset, 25, order, rng)
        return np.mean([dataset.probe_positions_px[part].std(0).mean() for part in parts])

    assert spread("compact") < 0.5 * spread("random")


def test_compact_without_positions_is_any_split():
    parts = epoch_order(scan_of(30).with_(probe_positions_px=None), 8, "compact", np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(30))


# -- measurements ------------------------------------------------------------------------------------------------------
SCAN = Scan()
COUNTS = SCAN.noisy().patterns.array


def to_model_frame(a):
    return np.fft.ifftshift(a, axes=(-2, -1))


def measured(dataset, loss=None, floor=0.0):
    return Measurements(XP, dataset, to_model_frame, (loss or Poisson()).target, lambda mean: floor * mean)


def batch(measurements, patterns):
    """Targets and pixel weights of ``patterns``, one of each a pattern."""
    targets, rows, mask = measurements.batch(np.asarray(patterns))
    assert len(rows) == len(patterns)
    return targets[rows], mask


@pytest.mark.parametrize("kept", [True, False])
def test_targets_are_the_transformed_counts_in_the_models_frame(kept, monkeypatch):
    monkeypatch.setattr(batches, "KEEP_IN_MEMORY_BYTES", 1 << 30 if kept else 0)
    index = np.array([0, 7, 3])
    made = measured(SCAN.noisy(), LeastSquares(), 0.01)
    target, mask = batch(made, index)
    assert made.floor == pytest.approx(0.01 * COUNTS.mean())
    np.testing.assert_allclose(target, np.sqrt(to_model_frame(COUNTS[index]) + made.floor), rtol=1e-6)
    assert mask is None
    assert made.valid_counts == pytest.approx(COUNTS.sum()) and made.mean_counts == pytest.approx(COUNTS.sum() / SCAN.n)


def test_amplitudes_are_squared():
    amplitudes = SCAN.noisy().with_(patterns=ArrayPatterns(np.sqrt(COUNTS)), measured="amplitude")
    made = measured(amplitudes)
    assert made.valid_counts == pytest.approx(COUNTS.sum(), rel=1e-6)
    np.testing.assert_allclose(batch(made, np.arange(3))[0], to_model_frame(COUNTS[:3]), rtol=1e-5)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("kept", [True, False])
def test_masked_pixels_may_hold_anything(each, kept, monkeypatch):
    monkeypatch.setattr(batches, "KEEP_IN_MEMORY_BYTES", 1 << 30 if kept else 0)
    mask = np.ones((SCAN.n, *SCAN.window) if each else SCAN.window, bool)
    mask[..., 2:4, 5] = False
    bad = COUNTS.copy()
    bad[:, 2, 5], bad[:, 3, 5] = np.nan, np.inf
    made = measured(SCAN.noisy(patterns=ArrayPatterns(bad), mask=mask), floor=0.01)
    target, weights = batch(made, [1, 4])
    assert np.isfinite(target).all()
    assert weights.shape == ((2, *SCAN.window) if each else (1, *SCAN.window))
    expected = to_model_frame(mask[:2] if each else mask[None])
    np.testing.assert_array_equal(weights, np.broadcast_to(expected, weights.shape))
    seen = np.broadcast_to(mask, COUNTS.shape)
    assert made.valid_counts == pytest.approx(COUNTS[seen].sum())
    assert made.floor == pytest.approx(0.01 * COUNTS[seen].mean())
    # Each pixel's mean over the patterns that show it.
    of_pixel = [COUNTS[:, y, x][seen[:, y, x]] for y, x in np.ndindex(SCAN.window)]
    assert made.mean_counts == pytest.approx(sum(each.mean() for each in of_pixel if each.size))


def test_masks_of_each_pattern_go_with_their_pattern():
    mask = np.random.default_rng(0).random((SCAN.n, *SCAN.window)) > 0.3
    made = measured(SCAN.noisy(mask=mask))
    np.testing.assert_array_equal(batch(made, [6, 2])[1], to_model_frame(mask[[6, 2]]))


def test_negative_counts_are_none():
    cold = COUNTS - 3
    made = measured(SCAN.noisy(patterns=ArrayPatterns(cold)))
    np.testing.assert_array_equal(batch(made, np.arange(SCAN.n))[0], to_model_frame(np.maximum(cold, 0)))


def test_many_patterns_are_read_block_by_block():
    dataset = scan_of(700)
    made = measured(dataset)
    assert made.valid_counts == 700 * 6 and batch(made, [699])[0].shape == (1, 2, 3)


@pytest.mark.parametrize("kind", ["pixels", "patterns", "both"])
def test_weights_of_pixels_and_patterns(kind):
    """The mask of a batch is mask times weights, in the model's frame; counts are weighted alike."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(5.0, (6, 4, 6)).astype(np.float32)
    mask = rng.random((4, 6)) > 0.2
    weights = {"pixels": rng.random((4, 6)), "patterns": rng.random((6, 1, 1)), "both": rng.random((6, 4, 6))}[kind]
    dataset = Dataset(ArrayPatterns(counts), weights=weights, mask=mask)
    made = Measurements(XP, dataset, lambda a: a[..., ::-1].copy(), Poisson().target, lambda mean: 1e-3 * mean)
    index = np.array([1, 4])
    found = XP.to_numpy(made.batch(index)[2])
    expected = np.broadcast_to(mask * weights, counts.shape)
    np.testing.assert_allclose(np.broadcast_to(found, (2, 4, 6)), expected[index][..., ::-1], rtol=1e-6)
    assert made.valid_counts == pytest.approx(float((counts * expected).sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "match"),
    [(np.ones(6), "weights do not fit the patterns; expected .* found \\(6,\\)"),
     (-np.ones((4, 6)), "weights must be finite and not negative"), (np.zeros((4, 6)), "not all of them zero")],
)  # fmt: skip
def test_weights_that_mean_nothing(weights, match):
    with pytest.raises(DataError, match=match):
        Dataset(ArrayPatterns(np.ones((6, 4, 6), np.float32)), weights=weights)


def test_weights_from_a_file(tmp_path):
    write_native(Dataset(ArrayPatterns(np.ones((6, 4, 6), np.float32))), tmp_path / "data.h5")
    np.save(tmp_path / "weights.npy", np.arange(6.0))
    made = open_dataset(tmp_path / "data.h5", {"weights": str(tmp_path / "weights.npy")})
    np.testing.assert_array_equal(made.weights.ravel(), np.arange(6.0))
    assert "weights: " in " ".join(made.notes)


# -- whole numbers -----------------------------------------------------------------------------------------------------
WIDTHS = [(200, 1), (255, 1), (256, 2), (40_000, 2), (65_535, 2), (65_536, 8)]


@pytest.mark.parametrize(("most", "n_bytes"), WIDTHS)
def test_bytes_that_whole_numbers_need(most, n_bytes):
    counts = np.array([[[0.0, most]]])
    assert bytes_needed(counts) == n_bytes and bytes_needed(counts + 0.5) == 8


def scan_up_to(most):
    counts = np.random.default_rng(1).integers(0, most, (12, 6, 8), endpoint=True).astype(np.float32)
    counts[3, 2, 5] = most
    return Dataset(ArrayPatterns(counts))


@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()], ids=lambda each: each.kind)
@pytest.mark.parametrize(("most", "n_bytes"), WIDTHS[:-1])
@pytest.mark.parametrize("backend", BACKEND_PARAMS)
def test_whole_numbers_are_kept_narrow_where_nothing_else_fits(backend, most, n_bytes, loss):
    """Targets are the same to the last bit as those of numbers that are read when they are needed."""
    xp, dataset = make_backend(backend, "single"), scan_up_to(most)
    limits = {"narrow": n_bytes * dataset.patterns.array.size, "read": n_bytes * dataset.patterns.array.size - 1}
    made = {
        name: Measurements(xp, dataset, to_model_frame, loss.target, lambda mean: 0.01 * mean, None, limit.__ge__)
        for name, limit in limits.items()
    }
    assert made["narrow"].in_memory and not made["read"].in_memory
    chosen = np.array([1, 3, 7])
    found = {}
    for name, each in made.items():
        targets, rows, _ = each.batch(chosen)
        found[name] = xp.to_numpy(targets)[rows]
    np.testing.assert_array_equal(found["narrow"], found["read"])
    made["narrow"].release()
    assert not made["narrow"].in_memory


def test_a_device_keeps_whole_numbers_narrow_and_others_as_they_are():
    xp = make_backend(DOUBLE, "single")
    for dataset, narrow in ((scan_up_to(300), True), (SCAN.noisy(patterns=ArrayPatterns(COUNTS + 0.25)), False)):
        made = Measurements(xp, dataset, to_model_frame, LeastSquares().target, lambda mean: 0.01 * mean)
        assert made.in_memory and (made._narrow is not None) is narrow
        targets, rows, _ = made.batch(np.array([2, 4]))
        expected = np.sqrt(to_model_frame(dataset.patterns.array[[2, 4]]) + made.floor)
        np.testing.assert_allclose(xp.to_numpy(targets)[rows], expected, rtol=1e-6)


def test_a_loss_that_treats_pixels_differently_is_not_looked_up():
    def target(counts, floor):
        return counts * np.arange(counts.shape[-1]) + floor

    xp, dataset = make_backend(DOUBLE, "single"), scan_up_to(100)
    made = Measurements(xp, dataset, to_model_frame, target, lambda mean: 1.0)
    targets, rows, _ = made.batch(np.array([5]))
    expected = target(to_model_frame(dataset.patterns.array[[5]]), 1.0)
    np.testing.assert_allclose(xp.to_numpy(targets)[rows], expected, rtol=1e-6)
