"""The fused exit-wave loss against the same loss written out and differentiated automatically, and its curvatures."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from laws import noise, relative_error
from tiny_scan import PIXEL_M, WAVELENGTH_M, Scan, object_at

from adorym.losses.counting import Huber, Intensity, LeastSquares, Poisson, Student
from adorym.optics.geometry import Grid
from adorym.optics.propagation import propagate, transfer_function_fresnel
from adorym.optics.shift import fourier_shift
from adorym.wrapper import get_backend
from adorym.wrapper.fused.exit_wave_loss import INPUTS, Detector, exit_wave_loss
from adorym.wrapper.fused.steps import StepSizes, preconditioned_step

N, WINDOW = 4, (12, 14)
ALL = frozenset(INPUTS)
WEIGHT, FLOOR = 1e-3, 0.02
LOSSES = {
    "least_squares": LeastSquares(),
    "poisson": Poisson(saturation=20.0),
    "intensity": Intensity(),
    "huber": Huber(threshold=0.7, saturation=15.0),
    "student": Student(degrees=3.0),
}
MASKS = ("none", "one", "each")


def case(regime: str, modes: int, shifted: bool, mask: str, extras: bool) -> tuple[dict[str, np.ndarray], Any, Any]:
    """``(inputs by name, mask, counts)`` in double precision."""
    rng = np.random.default_rng(5)
    scan = Scan(regime="far_field" if regime == "far_field" else "fresnel", modes=modes, window=WINDOW)
    y, x = np.arange(WINDOW[0])[:, None], np.arange(WINDOW[1])[None, :]
    tree = {
        "object": np.stack([object_at(py + y, px + x) for py, px in scan.positions[:N]]),
        "probe": scan.probe(),
        "probe_positions": rng.uniform(-0.5, 0.5, (N, 2)) if shifted else np.zeros((N, 2)),
        "intensity_scale": rng.uniform(0.6, 1.4, N) if extras else np.zeros(0),
        "background": rng.uniform(0.2, 2.0, (1, *WINDOW)) if extras else np.zeros(0),
    }
    shapes = {"none": None, "one": (1, *WINDOW), "each": (N, *WINDOW)}
    weights = None if mask == "none" else rng.integers(0, 3, shapes[mask]) / 2.0
    counts = scan.patterns()[1 : N + 1]  # of other positions
    counts = np.fft.ifftshift(counts, axes=(1, 2)) if regime == "far_field" else counts
    return tree, weights, rng.poisson(counts + tree["background"].sum() / counts[0].size).astype(float)


def transfer(xp, regime):
    return transfer_function_fresnel(xp, Grid(WINDOW, PIXEL_M, WAVELENGTH_M), 4e-4) if regime == "near_field" else None


def detector(xp, regime, loss, weights, counts):
    return Detector(
        target=loss.target(counts, FLOOR).astype(xp.float_dtype),
        mask=None if weights is None else weights.astype(xp.float_dtype),
        noise=loss.fused_noise(FLOOR),
        floor=FLOOR,
        weight=WEIGHT,
        transfer=None if regime == "far_field" else xp.to_numpy(transfer(xp, regime)),
    )


def intensity(xp, tree, regime):
    """Predicted patterns, written out."""
    wave = tree["object"][:, None] * fourier_shift(xp, tree["probe"], tree["probe_positions"])
    if regime == "far_field":
        wave = xp.fft2(wave)
    else:
        there = propagate(xp, wave, transfer(xp, regime))
        # Every wave is shifted back by what its probe was shifted.
        wave = xp.concat([fourier_shift(xp, there[i : i + 1], -tree["probe_positions"][i]) for i in range(N)], axis=0)
    made = xp.sum(xp.abs2(wave), axis=1)
    if tree["intensity_scale"].shape[0]:
        made = made * xp.reshape(tree["intensity_scale"], (N, 1, 1))
    return made + tree["background"] if tree["background"].shape[0] else made


def on(xp, tree):
    return {name: xp.asarray(a) for name, a in tree.items()}


@pytest.fixture(params=[(b, p) for b in ("torch", "autograd") for p in ("single", "double")], ids="-".join)
def xp(request):
    return get_backend(request.param[0], device="cpu", precision=request.param[1])


@pytest.fixture
def exact():
    return get_backend("autograd", precision="double")


@pytest.mark.parametrize("extras", [False, True], ids=["bare", "scale and background"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shifted", [False, True], ids=["whole", "shifted"])
@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("regime", ["far_field", "near_field"])
def test_equals_automatic_differentiation(xp, regime, loss, modes, shifted, mask, extras):
    tree, weights, counts = case(regime, modes, shifted, mask, extras)
    kind, exact = LOSSES[loss], get_backend("autograd", precision="double")
    limits = on(exact, {"target": kind.target(counts, FLOOR)} | ({} if weights is None else {"mask": weights}))
    core = exit_wave_loss(
        xp, detector(xp, regime, kind, weights, counts), ALL if extras else ALL - {*INPUTS[3:]}, frozenset()
    )

    def plain(t):
        made = intensity(exact, t, regime)
        return WEIGHT * kind.value(exact, made, limits["target"], limits.get("mask"), FLOOR), None

    fused = xp.value_and_grad(lambda t: xp.fused(core, *(t[name] for name in INPUTS)))(on(xp, tree))
    expected = exact.value_and_grad(plain)(on(exact, tree))
    tolerance = 1e-4 if xp.precision == "single" else 1e-10
    assert fused[0] == pytest.approx(expected[0], rel=tolerance)
    for name in INPUTS:
        found, wanted = xp.to_numpy(fused[2][name]), expected[2][name]
        assert found.dtype == (xp.complex_dtype if wanted.dtype.kind == "c" else xp.float_dtype)
        assert relative_error(found, wanted) < tolerance, name
        assert not found.size or np.abs(found).max() > 0, name


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    "wanted", [{"object"}, {"probe"}, {"probe_positions"}, {"intensity_scale"}, {"background"}, {"object", "probe"}]
)
def test_what_is_wanted_does_not_depend_on_what_else_is(exact, regime, shifted, wanted):
    tree, weights, counts = case(regime, 2, shifted, "one", True)
    made = detector(exact, regime, LOSSES["least_squares"], weights, counts)
    arrays = [tree[name] for name in INPUTS]
    some, every = (exit_wave_loss(exact, made, frozenset(w), frozenset())(*arrays) for w in (wanted, ALL))
    assert some[0] == pytest.approx(every[0], rel=1e-13)
    for name in wanted:
        i = INPUTS.index(name)
        assert relative_error(some[1][i], every[1][i]) < 1e-12, name
    again = exit_wave_loss(exact, made, ALL, ALL)(*arrays)  # asking for curvatures changes nothing
    assert all(np.array_equal(a, b) for a, b in zip(again[1], every[1], strict=True))


# Full vectors along both axes, along one, along none; a single row; a prime without a butterfly.
WINDOWS = [(16, 32), (16, 14), (14, 16), (32, 20), (1, 16), (11, 13)]


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_windows_of_every_kind(monkeypatch, window, regime, mask, precision):
    monkeypatch.setattr(sys.modules[__name__], "WINDOW", window)
    xp = get_backend("autograd", precision=precision)
    for shifted in (False, True):
        test_equals_automatic_differentiation(xp, regime, "least_squares", 1, shifted, mask, True)
        test_equals_automatic_differentiation(xp, regime, "poisson", 2, shifted, mask, False)


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("window", WINDOWS[:4], ids=str)
def test_curvatures_of_windows_of_every_kind(monkeypatch, exact, window, regime):
    monkeypatch.setattr(sys.modules[__name__], "WINDOW", window)
    test_curvature_of_the_scales(exact, regime, "poisson")
    test_curvature_of_positions_is_jacobian_squared(exact, regime, 2, True, "one")


@pytest.mark.parametrize(
    "name", ["probe", "probe_positions", "intensity_scale", "background", "target", "mask", "rows"]
)
def test_arrays_of_another_shape_are_refused(exact, name):
    tree, weights, counts = case("far_field", 1, True, "each", True)
    made = vars(detector(exact, "far_field", LOSSES["poisson"], weights, counts)) | {"rows": np.arange(N)}
    (tree if name in tree else made)[name] = ((tree | made)[name])[..., 1:]
    with pytest.raises(ValueError, match="not of the shape"):
        exit_wave_loss(exact, Detector(**made), ALL, ALL)(*(tree[name] for name in INPUTS))


def test_types_and_orders_of_arrays_do_not_matter(exact):
    tree, weights, counts = case("far_field", 2, True, "one", True)
    made = detector(exact, "far_field", LOSSES["least_squares"], weights, counts)
    expected = exit_wave_loss(exact, made, ALL, ALL)(*(tree[name] for name in INPUTS))
    wide = np.zeros((*made.target.shape[:2], 2 * made.target.shape[2]))
    wide[:, :, ::2] = made.target
    other = Detector(**(vars(made) | {"target": wide[:, :, ::2], "mask": np.asfortranarray(2 * made.mask).astype(int)}))
    other = Detector(**(vars(other) | {"rows": np.arange(N, dtype=np.int32), "weight": made.weight / 2}))
    found = exit_wave_loss(exact, other, ALL, ALL)(*(np.asfortranarray(tree[name]) for name in INPUTS))
    assert found[0] == pytest.approx(expected[0], rel=1e-13)
    for a, b in zip(found[1], expected[1], strict=True):
        assert relative_error(a, b) < 1e-12


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shifted", [False, True], ids=["whole", "shifted"])
@pytest.mark.parametrize("regime", ["far_field", "near_field"])
def test_threads_share_the_patterns(monkeypatch, exact, regime, shifted, mask):
    monkeypatch.setattr("adorym.wrapper.fused.shares.LEAST_PIXELS", 1)
    tree, weights, counts = case(regime, 2, shifted, mask, True)
    made = detector(exact, regime, LOSSES["poisson"], weights, counts)
    shuffled = Detector(**(vars(made) | {"rows": np.array([2, 0, 3, 1])}))
    several, one = (
        exit_wave_loss(get_backend("autograd", precision="double", threads=n), shuffled, ALL, ALL)(
            *(tree[name] for name in INPUTS)
        )
        for n in (3, 1)
    )
    assert several[0] == pytest.approx(one[0], rel=1e-13)
    for i, name in enumerate(INPUTS):
        assert relative_error(several[1][i], one[1][i]) < 1e-12, name
    assert several[2].keys() == one[2].keys()
    for name, expected in one[2].items():
        assert relative_error(several[2][name], expected) < 1e-12, name


def test_inputs_are_left_alone(exact):
    tree, weights, counts = case("near_field", 2, True, "each", True)
    before = {name: a.copy() for name, a in tree.items()}
    made = detector(exact, "near_field", LOSSES["poisson"], weights, counts)
    for _ in range(2):
        exit_wave_loss(exact, made, ALL, ALL)(*(tree[name] for name in INPUTS))
    for name, a in tree.items():
        np.testing.assert_array_equal(a, before[name])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("where", ["object", "probe", "target"])
def test_not_a_number_is_seen(exact, loss, where):
    tree, _, counts = case("far_field", 1, False, "none", False)
    (counts if where == "target" else tree[where])[0, 3, 4] = np.nan
    made = detector(exact, "far_field", LOSSES[loss], None, counts)
    assert np.isnan(exit_wave_loss(exact, made, ALL - {*INPUTS[3:]}, frozenset())(*(tree[n] for n in INPUTS))[0])


def test_a_masked_pixel_counts_for_nothing(exact):
    tree, _, counts = case("far_field", 1, True, "none", False)
    weights = np.ones((1, *WINDOW))
    weights[0, 2:4, 5] = 0
    found = []
    for value in (0.0, 1e6):
        counts[:, 2:4, 5] = value
        made = detector(exact, "far_field", LOSSES["least_squares"], weights, counts)
        found.append(exit_wave_loss(exact, made, ALL - {*INPUTS[3:]}, frozenset())(*(tree[n] for n in INPUTS)))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1][0], found[1][1][0])


# -- curvatures --------------------------------------------------------------------------------------------------------
def curvatures(xp, regime, loss, tree, weights, counts, floor=1e-9):
    made = Detector(**(vars(detector(xp, regime, LOSSES[loss], weights, counts)) | {"floor": floor}))
    arrays = [
        tree[name].astype(xp.complex_dtype if tree[name].dtype.kind == "c" else xp.float_dtype) for name in INPUTS
    ]
    return exit_wave_loss(xp, made, frozenset(), ALL)(*arrays)[2]


def bright_case(regime, modes, *rest):
    """The same with an object that scatters everywhere: no amplitude is so small that its slope cannot be measured."""
    tree, weights, counts = case(regime, modes, *rest)
    tree["object"] = tree["object"] + 0.4 * noise(np.random.default_rng(6), tree["object"].shape, True)
    return tree, weights, counts


def amplitude_slopes(exact, tree, regime, name, index, part=1.0, step=1e-5):
    """``d sqrt(I) / d x`` of every detector pixel by one real unknown, from finite differences."""

    def amplitude(t):
        moved = tree[name].copy()
        moved[index] += t * part
        return np.sqrt(intensity(exact, tree | {name: moved}, regime))

    return (8 * (amplitude(step) - amplitude(-step)) - amplitude(2 * step) + amplitude(-2 * step)) / (12 * step)


def trace(exact, tree, regime, name, index):
    """Gauss-Newton curvature of real and imaginary part together."""
    return sum(np.sum(amplitude_slopes(exact, tree, regime, name, index, p) ** 2) for p in (1, 1j))


Q = {name: loss.amplitude_curvature for name, loss in LOSSES.items()}


@pytest.mark.parametrize("regime", ["far_field", "near_field"])
@pytest.mark.parametrize("loss", LOSSES)
def test_curvature_of_object_and_probe_is_the_diagonal(exact, regime, loss):
    """One mode: q c |P|^2 and q c sum |O|^2 are the Gauss-Newton diagonal; scales come in as factors."""
    tree, _, counts = bright_case(regime, 1, False, "none", True)
    tree["background"] = np.zeros((1, *WINDOW))
    found = curvatures(exact, regime, loss, tree, None, counts)
    assert found["object"].shape == (N, *WINDOW) and found["probe"].shape == (1, *WINDOW)
    for pixel in ((5, 6), (7, 8), (6, 4)):
        for n in range(2):
            expected = Q[loss] * WEIGHT * trace(exact, tree, regime, "object", (n, *pixel))
            assert found["object"][(n, *pixel)] == pytest.approx(expected, rel=1e-5)
        expected = Q[loss] * WEIGHT * trace(exact, tree, regime, "probe", (0, *pixel))
        assert found["probe"][(0, *pixel)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shifted", [False, True])
def test_curvature_with_several_modes_is_a_bound(exact, shifted):
    """sum_m |P_m|^2 is never below the diagonal, and in the unshifted case the formula itself."""
    tree, _, counts = bright_case("far_field", 3, shifted, "none", True)
    found = curvatures(exact, "far_field", "least_squares", tree, None, counts)
    scale = tree["intensity_scale"][:, None, None]
    np.testing.assert_allclose(
        found["object"], 2 * WEIGHT * scale * np.sum(np.abs(tree["probe"]) ** 2, axis=0), rtol=1e-12
    )
    expected = 2 * WEIGHT * np.sum(scale * np.abs(tree["object"]) ** 2, axis=0)
    np.testing.assert_allclose(found["probe"], expected[None], rtol=1e-12)
    if not shifted:
        for pixel in ((5, 6), (2, 8)):
            assert found["object"][(1, *pixel)] >= 2 * WEIGHT * trace(exact, tree, "far_field", "object", (1, *pixel))


def test_curvature_of_the_object_is_one_window_where_all_are_alike(exact):
    tree, _, counts = bright_case("far_field", 2, False, "none", False)
    found = curvatures(exact, "far_field", "poisson", tree, None, counts)["object"]
    assert found.shape == (1, *WINDOW)
    np.testing.assert_allclose(found[0], 4 * WEIGHT * np.sum(np.abs(tree["probe"]) ** 2, axis=0), rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("regime", ["far_field", "near_field"])
def test_curvature_of_the_scales(exact, regime, loss):
    tree, _, counts = bright_case(regime, 3, True, "none", True)
    tree["background"] = np.zeros((1, *WINDOW))
    found = curvatures(exact, regime, loss, tree, None, counts)["intensity_scale"]
    slopes = [amplitude_slopes(exact, tree, regime, "intensity_scale", n)[n] for n in range(N)]
    np.testing.assert_allclose(found[:, 0], [Q[loss] * WEIGHT * np.sum(s**2) for s in slopes], rtol=1e-5)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("extras", [False, True])
@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("regime", ["far_field", "near_field"])
def test_curvature_of_positions_is_jacobian_squared(exact, regime, modes, extras, mask):
    tree, weights, counts = bright_case(regime, modes, True, mask, extras)
    found = curvatures(exact, regime, "least_squares", tree, weights, counts)["probe_positions"]
    assert found.shape == (N, 2, 2)
    pixel_weights = np.broadcast_to(1.0 if weights is None else weights, (N, *WINDOW))
    for n in range(N):
        j = np.stack([amplitude_slopes(exact, tree, regime, "probe_positions", (n, a))[n] for a in (0, 1)])
        expected = 2 * WEIGHT * np.einsum("ayx,byx,yx->ab", j, j, pixel_weights[n])
        assert relative_error(found[n], expected) < 1e-5


def test_curvature_of_positions_on_whole_pixels(exact):
    """A probe that is not shifted can be."""
    tree, _, counts = bright_case("far_field", 1, False, "none", False)
    found = curvatures(exact, "far_field", "least_squares", tree, None, counts)["probe_positions"]
    j = np.stack([amplitude_slopes(exact, tree, "far_field", "probe_positions", (1, a))[1] for a in (0, 1)])
    assert relative_error(found[1], 2 * WEIGHT * np.einsum("ayx,byx->ab", j, j)) < 1e-5


def test_curvatures_in_single_precision(exact):
    tree, weights, counts = bright_case("near_field", 2, True, "each", True)
    low = get_backend("autograd", precision="single")
    found, expected = (curvatures(b, "near_field", "poisson", tree, weights, counts, FLOOR) for b in (low, exact))
    assert found.keys() == expected.keys() == {"object", "probe", "intensity_scale", "probe_positions"}
    for name in expected:
        assert relative_error(found[name], expected[name]) < 1e-4, name


# -- the step ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("complex_values", [False, True])
@pytest.mark.parametrize("layout", ["compiled", "plain", "one curvature for all"])
def test_step_is_the_formula(xp, momentum, complex_values, layout):
    rng = np.random.default_rng(3)
    value, gradient, velocity = (noise(rng, (5, 7), complex_values) for _ in range(3))
    curvature = rng.uniform(0.1, 2, (1, 7) if layout == "one curvature for all" else (5, 7))
    curvature[0, :4] = 0, 0.01, 0.03, 0.3  # pixels that the batch hardly sees
    sizes = StepSizes(rate=0.3, keep=0.9, floor=0.05, momentum=momentum, unseen=0.04)
    u = 0.3 * gradient / (0.9 * curvature + 0.05)
    seen = np.minimum(curvature / 0.04, 1)
    new_velocity = (1 - seen * (1 - momentum)) * velocity + u
    expected = value - (momentum * seen * new_velocity + u) if momentum else value - u
    arrays = [xp.asarray(a) for a in (value, gradient, curvature, velocity)]  # stepped in place
    if layout == "plain":
        arrays = [xp.permute_dims(xp.asarray(np.ascontiguousarray(xp.to_numpy(a).T)), (1, 0)) for a in arrays]
    state = (arrays[3],) if momentum else ()
    made, new_state = preconditioned_step(xp, *arrays[:3], state, sizes)
    tolerance = 1e-6 if xp.precision == "single" else 1e-14
    assert relative_error(xp.to_numpy(made), expected) < tolerance
    assert len(new_state) == len(state)
    if momentum:
        assert relative_error(xp.to_numpy(new_state[0]), new_velocity) < tolerance


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_steps_in_place_keep_nothing_of_the_past(xp, momentum):
    """A step that gave back a view of its array would hold the array before it, and that one the one before."""
    rng = np.random.default_rng(4)
    arrays = [xp.asarray(noise(rng, (5, 7), complex_values=True)) for _ in range(3)]
    if not all(xp.to_numpy(a).flags.writeable for a in arrays):
        pytest.skip(f"arrays of {xp.name} cannot be stepped in place")
    value, gradient, velocity = arrays
    state = (velocity,) if momentum else ()
    sizes = StepSizes(rate=0.3, keep=0.9, floor=0.05, momentum=momentum, unseen=0.04)
    made, new_state = preconditioned_step(xp, value, gradient, xp.asarray(np.ones((5, 7))), state, sizes)
    assert made is value
    assert all(new is old for new, old in zip(new_state, state, strict=True))
