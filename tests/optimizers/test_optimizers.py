"""Every optimizer finds the minimum of a quadratic; each does what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from laws import noise, relative_error

from adorym.errors import ConfigError
from adorym.optimizers.base import Gradient, row_count
from adorym.optimizers.first_order import Adam, GradientDescent, Momentum, RMSProp
from adorym.optimizers.preconditioned import Preconditioned
from adorym.optimizers.schedules import Cosine
from adorym.wrapper import get_backend

OPTIMIZERS = sorted(CASES["optimizer"])


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture(params=["torch", "autograd"])
def xp(request):
    return get_backend(request.param, device="cpu", precision="double")


def run(xp, optimizer, start, gradient, curvature=None, steps=1, rate=None):
    """``steps`` steps from ``start`` with ``gradient(x)``; curvature as the engine hands it on."""
    value = xp.asarray(start.copy())
    state = optimizer.init(xp, value)
    for i in range(steps):
        found = xp.asarray(np.asarray(gradient(xp.to_numpy(value).copy())))
        h = None if curvature is None else xp.asarray(curvature)
        largest = 0.0 if curvature is None else float(np.max(curvature))
        now = optimizer.rate("") if rate is None else rate(i)
        value, state = optimizer.step(xp, value, Gradient(found, h, largest), state, now)
    return xp.to_numpy(value), tuple(xp.to_numpy(s) for s in state)


@pytest.mark.parametrize("complex_values", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_finds_the_minimum_of_a_quadratic(xp, name, complex_values, tmp_path, rng):
    """``L = 1/2 sum h |x - m|^2``; the loss falls, and with a falling rate nothing of the distance remains."""
    optimizer = CASES["optimizer"][name](tmp_path)
    h, minimum = rng.uniform(0.5, 2, (4, 6)), noise(rng, (4, 6), complex_values)
    start = noise(rng, (4, 6), complex_values)

    def gradient(x):
        return h * (x - minimum)

    def loss(x):
        return float(np.sum(h * np.abs(x - minimum) ** 2)) / 2

    curvature = h if optimizer.needs_curvature else None
    first, _ = run(xp, optimizer, start, gradient, curvature)
    assert loss(first) < loss(start)
    falling, rate = Cosine(final=1e-4), optimizer.rate("")
    last, state = run(xp, optimizer, start, gradient, curvature, 400, lambda i: rate * falling.factor(i, 400))
    assert loss(last) < 1e-5 * loss(start)
    assert last.dtype == start.dtype
    assert all(len(s) == len(start) for s in state)  # one row of state for each row of the array


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stays_where_there_is_no_gradient(xp, name, tmp_path, rng):
    optimizer = CASES["optimizer"][name](tmp_path)
    start = noise(rng, (3, 5), True)
    made, _ = run(xp, optimizer, start, np.zeros_like, np.zeros((3, 5)), 3)
    np.testing.assert_array_equal(made, start)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_are_independent(xp, name, tmp_path, rng):
    """Stepping some rows, each as often as it is visited, is stepping arrays of their own."""
    optimizer = CASES["optimizer"][name](tmp_path)
    start, gradients = noise(rng, (4, 2)), noise(rng, (5, 4, 2))
    h = np.array([[[2.0, 0.3], [0.3, 1.0]]] * 4)
    value = xp.asarray(start.copy())
    state, visits = optimizer.init(xp, value), [np.array(v) for v in ([0, 1], [1, 3], [1], [0, 3], [1, 2])]
    for visit, g in zip(visits, gradients, strict=True):
        rows = tuple(xp.take(s, visit) for s in state)
        step = Gradient(xp.asarray(g[visit]), xp.asarray(h[visit]), 2.0)
        new, rows = optimizer.step(xp, xp.take(value, visit), step, rows, 0.1)
        value = xp.put_rows(value, visit, new)
        state = tuple(xp.put_rows(s, visit, r) for s, r in zip(state, rows, strict=True))
    for row in range(4):
        alone = xp.asarray(start[row : row + 1].copy())
        own = optimizer.init(xp, alone)
        for visit, g in zip(visits, gradients, strict=True):
            if row in visit:
                step = Gradient(xp.asarray(g[row : row + 1]), xp.asarray(h[:1]), 2.0)
                alone, own = optimizer.step(xp, alone, step, own, 0.1)
        np.testing.assert_allclose(xp.to_numpy(value)[row], xp.to_numpy(alone)[0], rtol=1e-13)


# -- formulas ----------------------------------------------------------------------------------------------------------
def test_gradient_descent(xp, rng):
    start, g = noise(rng, (2, 3), True), noise(rng, (2, 3), True)
    made, state = run(xp, GradientDescent(learning_rate=0.2), start, lambda x: g)
    np.testing.assert_allclose(made, start - 0.2 * g, rtol=1e-14)
    assert state == ()


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(xp, nesterov, rng):
    start, g = noise(rng, (2, 3), True), noise(rng, (3, 2, 3), True)
    steps = iter(g)
    made, _ = run(xp, Momentum(learning_rate=0.2, decay=0.7, nesterov=nesterov), start, lambda x: next(steps), steps=3)
    v, x = 0, start
    for each in g:
        v = 0.7 * v + each
        x = x - 0.2 * (0.7 * v + each if nesterov else v)
    np.testing.assert_allclose(made, x, rtol=1e-13)


@pytest.mark.parametrize("complex_values", [False, True])
def test_adam_is_algorithm_1(xp, complex_values, rng):
    """Real and imaginary part are unknowns of their own."""
    start, g = noise(rng, (2, 3), complex_values), noise(rng, (4, 2, 3), complex_values)
    steps = iter(g)
    optimizer = Adam(learning_rate=0.03, beta1=0.8, beta2=0.95, epsilon=1e-6)
    made, state = run(xp, optimizer, start, lambda x: next(steps), steps=4)

    def adam(x, gradients):
        m, v = 0.0, 0.0
        for t, each in enumerate(gradients, 1):
            m, v = 0.8 * m + 0.2 * each, 0.95 * v + 0.05 * each**2
            x = x - 0.03 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
        return x

    expected = adam(start.real, g.real) + (1j * adam(start.imag, g.imag) if complex_values else 0)
    np.testing.assert_allclose(made, expected, rtol=1e-13)
    assert (state[2] == 4).all()


def test_amsgrad_divides_by_the_largest(xp, rng):
    """After a large gradient the steps stay small for good; Adam's grow again."""
    gradients = [10.0, *[0.1] * 60]
    moves = {}
    for amsgrad in (False, True):
        steps = iter(gradients)
        optimizer = Adam(learning_rate=0.1, beta1=0.0, beta2=0.9, amsgrad=amsgrad)
        places, value, state = [0.0], xp.asarray(np.zeros((1, 1))), optimizer.init(xp, xp.asarray(np.zeros((1, 1))))
        for g in steps:
            value, state = optimizer.step(xp, value, Gradient(xp.asarray(np.full((1, 1), g))), state, 0.1)
            places.append(float(xp.to_numpy(value)[0, 0]))
        moves[amsgrad] = -np.diff(places)
    assert moves[False][-1] > 0.05 and moves[True][-1] == pytest.approx(0.1 * 0.1 / 10, rel=1e-6)
    assert len(state) == 4


def test_rmsprop_is_the_formula(xp, rng):
    start, g = noise(rng, (2, 3)), noise(rng, (3, 2, 3))
    steps = iter(g)
    made, _ = run(xp, RMSProp(learning_rate=0.1, decay=0.8), start, lambda x: next(steps), steps=3)
    v, x = 0, start
    for each in g:
        v = 0.8 * v + 0.2 * each**2
        x = x - 0.1 * each / np.sqrt(v)
    np.testing.assert_allclose(made, x, rtol=1e-10)


def test_first_step_of_adam_is_the_learning_rate(xp):
    made, _ = run(xp, Adam(learning_rate=0.05), np.zeros((2, 3)), lambda x: np.full((2, 3), -1e-9))
    np.testing.assert_allclose(made, 0.05, rtol=1e-2)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("shape", [(4, 6), (1, 6)])
def test_preconditioned_step_is_the_formula(xp, shape, momentum, rng):
    start, g, h = noise(rng, (4, 6), True), noise(rng, (4, 6), True), rng.uniform(0, 3, shape)
    optimizer = Preconditioned(learning_rate=0.5, regularization=0.2, momentum=momentum)
    made, _ = run(xp, optimizer, start, lambda x: g, h, 2)
    u, v, x = 0.5 * g / (0.8 * h + 0.2 * h.max()), 0, start
    for _ in range(2):
        v = momentum * v + u
        x = x - (momentum * v + u)
    np.testing.assert_allclose(made, x, rtol=1e-9)


def test_velocity_rests_where_a_batch_sees_nothing(xp, rng):
    start, g, h = noise(rng, (4, 6), True), noise(rng, (4, 6), True), rng.uniform(1, 3, (4, 6))
    dark = np.zeros((4, 6), bool)
    dark[1, :3] = True
    optimizer = Preconditioned(learning_rate=0.5, regularization=0.2, momentum=0.6)
    full = Gradient(xp.asarray(g), xp.asarray(h), float(h.max()))
    seen = np.where(dark, 0.0, h)
    part = Gradient(xp.asarray(np.where(dark, 0, g)), xp.asarray(seen), float(seen.max()))
    value, state = xp.copy(xp.asarray(start)), optimizer.init(xp, xp.asarray(start))
    value, state = optimizer.step(xp, value, full, state, 0.5)
    before, kept = xp.to_numpy(value).copy(), xp.to_numpy(state[0]).copy()
    value, state = optimizer.step(xp, value, part, state, 0.5)
    after, now = xp.to_numpy(value), xp.to_numpy(state[0])
    np.testing.assert_array_equal(after[dark], before[dark])
    np.testing.assert_array_equal(now[dark], kept[dark])
    assert np.all(after[~dark] != before[~dark])


@pytest.mark.parametrize(
    ("momentum", "share", "factor"),
    [(0.0, 0.001, 1.0), (0.0, 1.0, 1.0), (0.9, 1.0, 1.0), (0.9, 0.2, 1.0), (0.9, 0.1, 0.5), (0.9, 0.001, 0.1)],
)
def test_steps_with_momentum_are_smaller_in_batches_that_hold_little(momentum, share, factor):
    assert Preconditioned(momentum=momentum).relaxation(share) == pytest.approx(factor)


def test_preconditioned_step_takes_blocks(xp, rng):
    """Newton's step of a quadratic lands in its minimum; damping shortens it."""
    a = rng.normal(size=(5, 2, 2))
    h = a @ a.transpose(0, 2, 1) + 0.1 * np.eye(2)
    start, minimum = noise(rng, (5, 2)), noise(rng, (5, 2))

    def gradient(x):
        return np.einsum("nab,nb->na", h, x - minimum)

    made, _ = run(xp, Preconditioned(regularization=0.0), start, gradient, h)
    np.testing.assert_allclose(made, minimum, atol=1e-10)
    made, _ = run(xp, Preconditioned(learning_rate=0.5, regularization=0.3), start, gradient, h)
    damped = h + 0.3 * (np.trace(h, axis1=1, axis2=2) / 2)[:, None, None] * np.eye(2)
    expected = start - 0.5 * np.linalg.solve(damped, gradient(start)[..., None])[..., 0]
    np.testing.assert_allclose(made, expected, rtol=1e-10)


def test_preconditioned_step_is_limited(xp):
    h, g = np.array([np.eye(2)] * 3), np.array([[5.0, -0.1], [-7.0, 0.2], [0.3, 0.4]])
    made, _ = run(xp, Preconditioned(regularization=0.0, maximum_step=0.5), np.zeros((3, 2)), lambda x: g, h)
    # Too long ones keep their direction where all directions are determined equally well.
    np.testing.assert_allclose(made, [[-0.5, 0.01], [0.5, -0.1 / 7], [-0.3, -0.4]])


def test_a_direction_that_is_not_determined_does_not_hold_back_the_others(xp):
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    h = turned @ np.diag([1.0, 1e-7]) @ turned.T
    g = turned @ np.array([-0.2, 1e-4])  # steps of 0.2, and of a thousand backwards
    steps = Preconditioned(regularization=0.0, maximum_step=0.5)
    made, _ = run(xp, steps, np.zeros((1, 2)), lambda x: g[None], h[None])
    along, across = turned.T @ made[0]
    assert 0.15 < along <= 0.2 and -0.7 < across < -0.3
    assert np.abs(made).max() == pytest.approx(0.5)


def test_a_limited_step_is_as_exact_as_it_is_short(xp, rng):
    """A step forty times too long, with errors of the curvature of 1e-5, as of differences in single precision."""
    slopes = noise(rng, (50, 6, 3))
    h = np.einsum("nia,nib->nab", slopes, slopes)
    error = 1e-5 * noise(rng, h.shape)
    g = np.einsum("nab,nb->na", h, 0.2 * noise(rng, (50, 3)))
    steps = Preconditioned(regularization=0.01, maximum_step=5e-3)
    exact, off = (
        run(xp, steps, np.zeros((50, 3)), lambda x: g, each)[0] for each in (h, h * (1 + error + error.swapaxes(1, 2)))
    )
    assert np.abs(off - exact).max() < 3e-4 * 5e-3  # 1e-3 and more where components are cut off


@pytest.mark.parametrize("h", [0.0, 1e-300])
def test_a_block_without_curvature_moves_as_far_as_allowed_and_leaves_the_others_alone(xp, h):
    blocks = np.array([h * np.eye(2), np.eye(2), np.zeros((2, 2))])
    g = np.array([[1e-12, -1e-12], [7.0, 0.0], [np.inf, 0.0]])
    steps = Preconditioned(regularization=0.0, maximum_step=0.5)
    made, _ = run(xp, steps, np.zeros((3, 2)), lambda x: g, blocks)
    np.testing.assert_allclose(made[:2], [[-0.5, 0.5], [-0.5, 0.0]], rtol=1e-6)
    assert np.isfinite(made).all()


def test_preconditioned_step_without_curvature_does_not_move(xp, rng):
    start = noise(rng, (3, 2))
    blocks = np.array([np.zeros((2, 2)), np.eye(2), np.zeros((2, 2))])
    made, _ = run(xp, Preconditioned(regularization=0.0), start, lambda x: np.array([[0.0, 0], [1, 1], [0, 0]]), blocks)
    np.testing.assert_allclose(made - start, [[0, 0], [-1, -1], [0, 0]], atol=1e-12)
    dark = np.array([[0.0, 1.0, 2.0]])
    made, _ = run(xp, Preconditioned(regularization=0.0), np.ones((1, 3)), lambda x: np.array([[0.0, 1, 1]]), dark)
    np.testing.assert_allclose(made, [[1, 0, 0.5]], atol=1e-9)
    made, _ = run(xp, Preconditioned(), start, lambda x: np.ones((3, 2)))
    np.testing.assert_array_equal(made, start)


def test_preconditioned_step_bears_a_singular_block(xp):
    """A pattern that sees a shift along one diagonal only moves its position along it."""
    h, g = np.array([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 4.0]]]), np.array([[1.0, 1.0], [0.0, 2.0]])
    made, _ = run(xp, Preconditioned(regularization=0.0), np.zeros((2, 2)), lambda x: g, h)
    np.testing.assert_allclose(made, [[-0.5, -0.5], [0, -0.5]], atol=1e-3)


def test_row_count(xp):
    assert xp.to_numpy(row_count(xp, xp.zeros((4, 2, 3)))).shape == (4, 1, 1)
    assert xp.to_numpy(row_count(xp, xp.zeros(()))).shape == ()


# -- learning rates ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [Adam, GradientDescent, Momentum, RMSProp, Preconditioned])
@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), "0", "-3"])
def test_learning_rate_must_be_positive(cls, rate):
    match = (
        r"learning_rate: a learning rate must be positive; found .*; to hold a parameter fixed, write 'refine: false'"
    )
    with pytest.raises(ValueError, match=match):  # when it is made, or with the unit at hand
        cls(learning_rate=rate).rate("")


@pytest.mark.parametrize(
    ("rate", "unit", "scale", "value"),
    [(0.02, "px", 1.0, 0.02), ("0.02 px", "px", 5.0, 0.02), ("1 um", "m", 3.0, 1e-6), ("2 mm", "m", 1.0, 2e-3),
     (0.1, "sqrt(photon)", 50.0, 5.0), ("1e-2", "m", 10.0, 0.1), ("1E-2", "", 1.0, 0.01)],
)  # fmt: skip
def test_learning_rate_with_and_without_unit(rate, unit, scale, value):
    """With a unit it is what it says; without one it is a part of the parameter's scale."""
    assert Adam(learning_rate=rate).rate(unit, scale) == pytest.approx(value)


@pytest.mark.parametrize(
    ("rate", "unit", "match"),
    [("1 um", "px", "learning_rate: wrong unit: expected a quantity in px, found '1 um'"),
     ("0.1 px", "m", "expected a quantity in m, found '0.1 px'"),
     ("3 furlongz", "m", "cannot read '3 furlongz' as a quantity in m")],
)  # fmt: skip
def test_learning_rate_in_the_wrong_unit(rate, unit, match):
    with pytest.raises(ConfigError, match=match):
        Adam(learning_rate=rate).rate(unit)


def test_preconditioned_rate_is_a_pure_number():
    assert Preconditioned(learning_rate=0.4).rate("px", 100.0) == 0.4
    with pytest.raises(ConfigError, match="wrong unit: expected a quantity in plain numbers, found '0.5 px'"):
        Preconditioned(learning_rate="0.5 px").rate("px")


def test_both_backends_step_alike(rng):
    start, g, h = noise(rng, (4, 6), True), noise(rng, (4, 6), True), rng.uniform(0.1, 3, (4, 6))
    for name in OPTIMIZERS:
        optimizer = CASES["optimizer"][name](None)
        made = [
            run(get_backend(b, device="cpu", precision="double"), optimizer, start, lambda x: g, h, 5)[0]
            for b in ("torch", "autograd")
        ]
        assert relative_error(*made) < 1e-14, name


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("optimizer", [Adam(), Preconditioned(momentum=0.5)], ids=["adam", "preconditioned"])
def test_arrays_of_any_layout_step_alike(optimizer, precision, rng):
    """Transposed, conjugated and read-only ones cannot be changed in place; they are not left behind either."""
    xp, given = get_backend("torch", device="cpu", precision=precision), noise(rng, (3, 4), True)
    gradient, curvature = xp.asarray(noise(rng, (3, 4), True)), xp.asarray(rng.uniform(1, 2, (3, 4)))
    found = []
    for layout in (
        xp.asarray(given.copy()),
        xp.asarray(given.T.copy()).T,
        xp.asarray(given.conj()).conj(),
        xp.asarray(np.broadcast_to(given, given.shape)),
    ):
        state = optimizer.init(xp, xp.asarray(given.copy()))
        for _ in range(3):
            layout, state = optimizer.step(xp, layout, Gradient(gradient, curvature, 2.0), state, 0.1)
        found.append(xp.to_numpy(layout))
    for other in found[1:]:
        assert relative_error(other, found[0]) < (1e-6 if precision == "single" else 1e-14)
    assert relative_error(found[0], given) > 0.01
