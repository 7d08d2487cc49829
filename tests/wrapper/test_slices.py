"""The fused loss of objects in slices against the same loss written out and differentiated automatically."""

from __future__ import annotations

import numpy as np
import pytest
from laws import noise, relative_error

from adorym.losses.counting import LeastSquares, Poisson
from adorym.optics.shift import fourier_shift
from adorym.wrapper import get_backend
from adorym.wrapper.fused import exit_wave_loss as fused
from adorym.wrapper.fused.exit_wave_loss import INPUTS, KERNELS, Detector, exit_wave_loss

N, WEIGHT, FLOOR = 4, 1e-3, 0.02
NAMES = (*INPUTS, KERNELS)
ALL = frozenset(NAMES)
CURVED = ALL - {"object"}
# Full vectors along both axes, along one, along none; a prime without a butterfly.
WINDOWS = [(12, 14), (16, 32), (32, 20), (11, 13)]


@pytest.fixture
def exact():
    return get_backend("autograd", precision="double")


def unit(rng, *shape):
    """Numbers of modulus one."""
    return np.exp(1j * rng.uniform(-1, 1, shape))


def case(window=(12, 14), depth=5, modes=2, shifted=True, even=False, extras=True):
    """Inputs by name, and counts."""
    rng = np.random.default_rng(7)
    tree = {
        "object": unit(rng, N, *window, depth) * rng.uniform(0.8, 1.1, (N, *window, depth)),
        "probe": 3 * noise(rng, (modes, *window), True),
        "probe_positions": rng.uniform(-0.5, 0.5, (N, 2)) if shifted else np.zeros((N, 2)),
        "intensity_scale": rng.uniform(0.6, 1.4, N) if extras else np.zeros(0),
        "background": rng.uniform(0.2, 2.0, (1, *window)) if extras else np.zeros(0),
        KERNELS: unit(rng, 1 if even else depth - 1, *window),
    }
    return tree, rng.poisson(20.0, (N, *window)).astype(float), unit(rng, *window)


def detector(loss, counts, transfer=None, mask=None):
    target = loss.target(counts, FLOOR)
    return Detector(target, mask, loss.fused_noise(FLOOR), FLOOR, WEIGHT, transfer)


def intensity(xp, tree, transfer=None):
    """Predicted patterns, written out."""
    wave, kernels = fourier_shift(xp, tree["probe"], tree["probe_positions"]), tree[KERNELS]
    slices = xp.unstack(tree["object"], -1)
    for z, each in enumerate(slices[:-1]):
        wave = xp.ifft2(kernels[z % kernels.shape[0]] * xp.fft2(wave * each[:, None]))
    wave = wave * slices[-1][:, None]
    if transfer is None:
        wave = xp.fft2(wave)
    else:
        there = xp.ifft2(xp.asarray(transfer) * xp.fft2(wave))
        back = [fourier_shift(xp, there[i : i + 1], -tree["probe_positions"][i]) for i in range(N)]
        wave = xp.concat(back, axis=0)
    made = xp.sum(xp.abs2(wave), axis=1)
    if tree["intensity_scale"].shape[0]:
        made = made * xp.reshape(tree["intensity_scale"], (N, 1, 1))
    return made + tree["background"] if tree["background"].shape[0] else made


def assert_equal_to_automatic_differentiation(xp, exact, made, regime, segment=None, masked=False):
    tree, counts, transfer = made
    transfer, loss = transfer if regime == "near_field" else None, Poisson()
    mask = np.random.default_rng(2).integers(0, 3, counts.shape) / 2.0 if masked else None
    target = exact.asarray(loss.target(counts, FLOOR))

    def plain(t):
        weights = None if mask is None else exact.asarray(mask)
        return WEIGHT * loss.value(exact, intensity(exact, t, transfer), target, weights, FLOOR), None

    wanted = frozenset(name for name in NAMES if tree[name].size)
    core = exit_wave_loss(xp, detector(loss, counts, transfer, mask), wanted, frozenset(), segment)
    arrays = {name: xp.asarray(a) for name, a in tree.items()}
    found = xp.value_and_grad(lambda t: xp.fused(core, *(t[name] for name in NAMES)))(arrays)
    expected = exact.value_and_grad(plain)(tree)
    tolerance = 1e-4 if xp.precision == "single" else 1e-10
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    for name in wanted:
        a = xp.to_numpy(found[2][name])
        assert a.dtype == (xp.complex_dtype if tree[name].dtype.kind == "c" else xp.float_dtype)
        assert relative_error(a, expected[2][name]) < tolerance, name
        assert np.abs(a).max() > 0, name


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("shifted", [False, True], ids=["whole", "shifted"])
@pytest.mark.parametrize("even", [False, True], ids=["uneven", "even"])
@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("backend", ["torch", "autograd"])
def test_equals_automatic_differentiation(backend, exact, modes, even, shifted, regime):
    for precision in ("single", "double"):
        xp = get_backend(backend, device="cpu", precision=precision)
        made = case(modes=modes, shifted=shifted, even=even, extras=modes > 1)
        assert_equal_to_automatic_differentiation(xp, exact, made, regime, masked=even)


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("segment", range(7))
@pytest.mark.parametrize("depth", [2, 3, 5, 6])
def test_waves_may_be_worked_out_once_more(exact, depth, segment, regime):
    made = case(depth=depth, shifted=depth % 2 > 0)
    assert_equal_to_automatic_differentiation(exact, exact, made, regime, segment)


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_windows_of_every_kind(exact, window, regime):
    for shifted in (False, True):
        assert_equal_to_automatic_differentiation(exact, exact, case(window, shifted=shifted), regime, 2, masked=True)


def test_what_one_pattern_stores_is_bounded(monkeypatch, exact):
    """Beyond the bound segments are the root of the depth; the answer is the same to the last digit."""
    tree, counts, _ = case(depth=10)
    core = exit_wave_loss(exact, detector(LeastSquares(), counts), ALL, frozenset())
    stored = core(*(tree[name] for name in NAMES))
    monkeypatch.setattr(fused, "STORED_BYTES", 0)
    again = core(*(tree[name] for name in NAMES))
    assert stored[0] == again[0]
    assert all(np.array_equal(a, b) for a, b in zip(stored[1], again[1], strict=True))


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
def test_curvatures(exact, regime):
    """Of positions the Jacobian squared, from finite differences; of the probe what all slices transmit."""
    tree, counts, transfer = case()
    tree["background"] = np.zeros_like(tree["background"])
    transfer = transfer if regime == "near_field" else None
    made = Detector(**(vars(detector(LeastSquares(), counts, transfer)) | {"floor": 1e-9}))
    _, _, found = exit_wave_loss(exact, made, frozenset(), CURVED)(*(tree[name] for name in NAMES))
    power = np.prod(np.abs(tree["object"]) ** 2, axis=-1) * tree["intensity_scale"][:, None, None]
    np.testing.assert_allclose(found["probe"], 2 * WEIGHT * power.sum(0)[None], rtol=1e-12)

    def amplitude(moved):
        return np.sqrt(intensity(exact, tree | {"probe_positions": tree["probe_positions"] + moved}, transfer))

    step = 1e-5
    j = [(amplitude(step * way) - amplitude(-step * way)) / (2 * step) for way in np.eye(2)]
    expected = 2 * WEIGHT * np.array([[np.sum(a * b, axis=(1, 2)) for b in j] for a in j]).transpose(2, 0, 1)
    np.testing.assert_allclose(found["probe_positions"], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert set(found) == {"probe", "probe_positions", "intensity_scale"}


def test_threads_share_the_patterns(monkeypatch, exact):
    monkeypatch.setattr("adorym.wrapper.fused.shares.LEAST_PIXELS", 1)
    tree, counts, _ = case()
    arrays, made = [tree[name] for name in NAMES], detector(Poisson(), counts)
    found = [
        exit_wave_loss(get_backend("autograd", precision="double", threads=n), made, ALL, CURVED)(*arrays)
        for n in (3, 1)
    ]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert relative_error(a, b) < 1e-12
    for name, expected in found[1][2].items():
        assert relative_error(found[0][2][name], expected) < 1e-12, name


@pytest.mark.parametrize("wrong", [np.s_[:, :, 1:], np.s_[1:]])
def test_transfer_functions_of_another_shape_are_refused(exact, wrong):
    tree, counts, _ = case()
    tree[KERNELS] = tree[KERNELS][wrong]
    with pytest.raises(ValueError, match="kernels: not of the shape"):
        exit_wave_loss(exact, detector(LeastSquares(), counts), ALL, CURVED)(*(tree[name] for name in NAMES))


def test_inputs_are_left_alone(exact):
    tree, counts, transfer = case()
    before = {name: a.copy() for name, a in tree.items()}
    exit_wave_loss(exact, detector(Poisson(), counts, transfer), ALL, CURVED, 2)(*(tree[name] for name in NAMES))
    for name, a in tree.items():
        np.testing.assert_array_equal(a, before[name])
