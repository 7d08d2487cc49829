"""Projections: exact adjoints, gradients in everything, engines that agree, and lines that are where they should be."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_adjoint, assert_gradients, noise, relative_error

from adorym.errors import ConfigError
from adorym.optics.poses import Poses, make_poses, row_reach_px
from adorym.optics.projector import Fourier, Joseph, Projector, Rotate
from adorym.wrapper import get_backend
from adorym.wrapper.fused import central_slices, rays
from adorym.wrapper.fused.rays import Frame

SHAPE = (7, 9, 11)
THETA = np.array([0.0, 0.3, 1.2, np.pi / 2, 2.5, 4.0])
BACKENDS = ("torch", "autograd")
TOLERANCE = {"single": 1e-5, "double": 1e-12}


def engines() -> list[Projector]:
    found: list[Projector] = [Joseph(), Rotate()]
    return [*found, Fourier(tolerance=1e-14)] if central_slices.importlib.util.find_spec("finufft") else found


def geometry(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "theta": THETA + 0.01,
        "tilt": 0.1 * rng.normal(size=(6, 3)),
        "shift": rng.normal(size=(6, 2)),
        "center": np.array([0.7]),
    }


def poses_of(xp, names, values) -> Poses:
    return make_poses(xp, **{n: values.get(n) for n in ("theta", "tilt", "shift", "center")})


def frame(level: bool, first: int = 0, rows: int = SHAPE[0]) -> Frame:
    return Frame(SHAPE[0], 0, first, rows, width=10, level=level)


def smooth(shape=SHAPE, sigma=0.18) -> np.ndarray:
    y, x, z = (np.linspace(-1, 1, n) for n in shape)
    blob = np.exp(-((y[:, None, None] ** 2 + (x[:, None] - 0.1) ** 2 + (z + 0.15) ** 2) / (2 * sigma**2)))
    return blob + 0.5 * np.exp(-((y[:, None, None] - 0.1) ** 2 + (x[:, None] + 0.2) ** 2 + z**2) / (2 * sigma**2))


@pytest.mark.parametrize("complex_values", [False, True])
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.kind)
def test_back_projection_is_the_adjoint(engine, level, precision, complex_values):
    xp, rng = get_backend("torch", device="cpu", precision=precision), np.random.default_rng(1)
    values = geometry()
    names = ("theta", "center") if level else tuple(values)
    poses = poses_of(xp, names, {n: xp.asarray(values[n]) for n in names})
    volume, seen = noise(rng, SHAPE, complex_values), noise(rng, (6, 5, 10), complex_values)

    def forward(x: np.ndarray) -> np.ndarray:
        return xp.to_numpy(engine.project(xp, xp.asarray(x), poses, frame(level, 1, 5)))

    def adjoint(y: np.ndarray) -> np.ndarray:
        def product(tree):
            p, q = engine.project(xp, tree["x"], poses, frame(level, 1, 5)), xp.asarray(y)
            return xp.sum(xp.real(xp.conj(q) * p)), None

        return xp.to_numpy(xp.value_and_grad(product)({"x": xp.asarray(0 * volume)})[2]["x"])

    assert_adjoint(forward, adjoint, volume, seen, TOLERANCE[precision])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.kind)
def test_gradients_in_volume_and_geometry(engine, level, backend):
    xp, rng = get_backend(backend, device="cpu", precision="double"), np.random.default_rng(2)
    values = geometry(3)
    names = ("theta", "center") if level else tuple(values)
    weights = xp.asarray(rng.normal(size=(6, 5, 10)))

    def f(tree):
        poses = poses_of(xp, names, tree)
        seen = engine.project(xp, tree["volume"], poses, frame(level, 1, 5))
        return xp.sum(weights * xp.abs2(seen)) + xp.sum(xp.real(seen)), None

    tree = {n: values[n] for n in names} | {"volume": smooth() * (1 + 0.4j)}
    # The interpolation has kinks: steps are kept so small that few of them are met.
    scales = {"theta": 1e-3, "tilt": 1e-3, "shift": 1e-3, "center": 1e-3}
    assert_gradients(xp, f, tree, scales, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", [True, False])
def test_compiled_loops_and_array_functions_do_the_same(level, backend):
    xp, rng = get_backend(backend, device="cpu", precision="double"), np.random.default_rng(4)
    values = {n: xp.asarray(v) for n, v in geometry(5).items() if not level or n in ("theta", "center")}
    volume = xp.asarray(noise(rng, SHAPE, True))

    def both(function):
        def f(tree):
            poses = poses_of(xp, tuple(values), {n: tree[n] for n in values})
            seen = function(xp, tree["volume"], poses, frame(level, 2, 4))
            return xp.sum(xp.abs2(seen)), seen

        return xp.value_and_grad(f)({"volume": volume, **values})

    pairs = [
        (lambda xp, v, p, f: rays.project(xp, v, p.matrices, p.shifts, f),
         lambda xp, v, p, f: rays.plain_project(xp, v, p.matrices, p.shifts, f)),
        (lambda xp, v, p, f: rays.rotate(xp, v, p.matrices[1], p.shifts[1], f),
         lambda xp, v, p, f: rays.plain_rotate(xp, v, p.matrices[1], p.shifts[1], f)),
    ]  # fmt: skip
    for compiled, plain in pairs:
        (value, seen, gradients), (value_2, seen_2, gradients_2) = both(compiled), both(plain)
        assert relative_error(xp.to_numpy(seen), xp.to_numpy(seen_2)) < 1e-11
        assert value == pytest.approx(value_2, rel=1e-12)
        for name in gradients:
            assert relative_error(xp.to_numpy(gradients[name]), xp.to_numpy(gradients_2[name])) < 1e-9, name


@pytest.mark.parametrize("level", [True, False])
def test_engines_agree_on_a_smooth_volume(level):
    xp, shape = get_backend("torch", device="cpu", precision="double"), (24, 30, 30)
    volume = xp.asarray(smooth(shape))
    values = {n: xp.asarray(v) for n, v in geometry(6).items() if not level or n in ("theta", "center")}
    poses = poses_of(xp, tuple(values), values)
    whole = Frame(shape[0], 0, 0, shape[0], level=level)
    found = [xp.to_numpy(engine.project(xp, volume, poses, whole)) for engine in engines()]
    for other in found[1:]:
        assert np.linalg.norm(other - found[0]) < (0.01 if level else 0.03) * np.linalg.norm(found[0])


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.kind)
def test_a_point_is_seen_where_the_convention_says(engine):
    """R_y turns z towards x, R_x y towards z, R_z x towards y; the axis and the shift move it on the detector."""
    xp, shape = get_backend("torch", device="cpu", precision="double"), (21, 21, 21)
    y, x, z = np.indices(shape) - 10.0
    r = np.array([4.0, 3.0, -5.0])
    volume = xp.asarray(np.exp(-((y - r[0]) ** 2 + (x - r[1]) ** 2 + (z - r[2]) ** 2) / 4))
    theta, (b, alpha, gamma), shift, center = 0.7, (0.05, 0.12, -0.2), (1.3, -0.8), 1.1
    r = np.array([r[0], r[1] * np.cos(theta + b) + r[2] * np.sin(theta + b),
                  -r[1] * np.sin(theta + b) + r[2] * np.cos(theta + b)])  # fmt: skip
    r = np.array([r[0] * np.cos(alpha) - r[2] * np.sin(alpha), r[1], r[0] * np.sin(alpha) + r[2] * np.cos(alpha)])
    r = np.array([r[0] * np.cos(gamma) + r[1] * np.sin(gamma), -r[0] * np.sin(gamma) + r[1] * np.cos(gamma), r[2]])
    given = [np.array([theta]), np.array([[b, alpha, gamma]]), np.array([shift]), np.array([center])]
    poses = make_poses(xp, *(xp.asarray(g) for g in given))
    seen = xp.to_numpy(engine.project(xp, volume, poses, Frame(21, 0, 0, 21)))[0]
    y, x = np.indices(seen.shape) - 10.0
    found = [(seen * along).sum() / seen.sum() for along in (y, x)]
    np.testing.assert_allclose(found, [r[0] + shift[0], r[1] + shift[1] + center], atol=0.02)


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.kind)
def test_a_band_of_rows_gives_the_same_as_the_whole(engine):
    xp, rng = get_backend("torch", device="cpu", precision="double"), np.random.default_rng(8)
    shape, values = (30, 12, 12), geometry(9)
    values["tilt"] *= 0.3
    volume = xp.asarray(noise(rng, shape))
    poses = make_poses(xp, *(xp.asarray(values[n]) for n in ("theta", "tilt", "shift")))
    whole = engine.project(xp, volume, poses, Frame(30, 0, 0, 30))[:, 12:16]
    reach = 30 if engine.mixes_rows else row_reach_px(values["tilt"], values["shift"], (30, 12, 12))
    low, high = max(0, 12 - reach), min(30, 16 + reach)
    found = engine.project(xp, volume[low:high], poses, Frame(30, low, 12, 4))
    assert relative_error(xp.to_numpy(found), xp.to_numpy(whole)) < 1e-12


def test_rows_at_the_edge_of_a_high_volume_come_nearer_to_its_middle():
    """A column tilted by half a radian: its upper rows are seen through rows far below them."""
    xp, rng = get_backend("torch", device="cpu", precision="double"), np.random.default_rng(8)
    shape, tilt = (120, 6, 6), np.array([[0.0, 0.5, 0.1]])
    volume, poses = xp.asarray(noise(rng, shape)), make_poses(xp, xp.asarray(np.array([0.4])), xp.asarray(tilt))
    whole = Joseph().project(xp, volume, poses, Frame(120, 0, 0, 120))[:, 4:8]
    high = 8 + row_reach_px(tilt, np.zeros((1, 2)), shape)
    found = Joseph().project(xp, volume[:high], poses, Frame(120, 0, 4, 4))
    assert high < 30 and relative_error(xp.to_numpy(found), xp.to_numpy(whole)) < 1e-12


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.kind)
def test_upright_poses_have_one_derivative_however_the_rows_are_cut(engine):
    """Without a tilt every sample lies on a voxel's row, where linear interpolation has a kink."""
    xp, rng = get_backend("torch", device="cpu", precision="double"), np.random.default_rng(10)
    volume, weights = noise(rng, (11, 8, 8)), noise(rng, (3, 11, 8))
    start = {"theta": np.array([0.0, 0.4, np.pi / 2]), "tilt": np.zeros((3, 3)), "shift": np.zeros((3, 2))}

    def gradients(*cuts: tuple[int, int]) -> dict[str, np.ndarray]:
        def loss(tree):
            poses, total = make_poses(xp, tree["theta"], tree["tilt"], tree["shift"]), 0.0
            for first, last in cuts:
                low, high = (0, 11) if engine.mixes_rows else (max(0, first - 1), min(11, last + 1))
                given, wanted = xp.asarray(volume[low:high]), xp.asarray(weights[:, first:last])
                seen = engine.project(xp, given, poses, Frame(11, low, first, last - first))
                total = total + xp.sum(wanted * seen)
            return total, None

        found = xp.value_and_grad(loss)({n: xp.asarray(v) for n, v in start.items()})[2]
        return {n: xp.to_numpy(g) for n, g in found.items()}

    whole = gradients((0, 11))
    for cuts in (((0, 4), (4, 11)), ((0, 3), (3, 7), (7, 11))):
        for name, found in gradients(*cuts).items():
            assert relative_error(found, whole[name]) < 1e-11, (cuts, name)


def test_fourier_engine_without_its_library(monkeypatch):
    monkeypatch.setattr(central_slices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        (ConfigError, ValueError), match=r"projector: the 'fourier' engine needs the package 'finufft'.*joseph"
    ):
        Fourier()
