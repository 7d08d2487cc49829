"""Constraints are idempotent projections; each does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, OBJECT_SHAPE, PROBE_SHAPE
from laws import assert_idempotent, noise, relative_error

from adorym.constraints.limits import Limit, PositionLimit
from adorym.constraints.object import Homogeneous, MagnitudeLimit, NonNegativity, PhaseLimit
from adorym.constraints.probe import OrthogonalModes, ProbeFourierSupport, ProbePower, ProbeSupport
from adorym.constraints.support import ShrinkWrap, Support
from adorym.errors import ConfigError, ConfigErrors
from adorym.initializers.tomographic import PhaseFilter
from adorym.schema import build
from adorym.wrapper import get_backend

CONSTRAINTS = sorted(CASES["constraint"])


@pytest.fixture(params=[(b, p) for b in ("torch", "autograd") for p in ("single", "double")], ids="-".join)
def xp(request):
    return get_backend(request.param[0], device="cpu", precision=request.param[1])


@pytest.fixture
def rng():
    return np.random.default_rng(6)


def project(xp, constraint, a):
    return xp.to_numpy(constraint.project(xp, xp.asarray(np.array(a, xp.complex_dtype))))


SHAPES = {"object": OBJECT_SHAPE, "probe": PROBE_SHAPE, "probe_positions": (9, 2), "background": (1, 12, 14)}


def example(constraint, rng, dtype=np.complex128):
    """Values as the constraint takes them: ``b + i d`` where it is logarithmic, a deviation where it is relative."""
    shape = SHAPES[constraint.parameter]
    if constraint.parameter not in ("object", "probe"):
        return noise(rng, shape)
    a = noise(rng, shape, True)
    a[..., 3, 4] = 0  # no phase to keep there
    if constraint.kind == "shrink_wrap":  # white noise is strong everywhere
        y, x = np.indices(shape)
        a = 1 + a * np.exp(-((y - 13) ** 2 + (x - 18) ** 2) / 50)
    return a.astype(dtype)


def on_its_terms(xp, constraint, a):
    """Parameters other than object and probe are real and in double precision."""
    if np.iscomplexobj(a):
        return project(xp, constraint, a)
    return xp.to_numpy(constraint.project(xp, xp.asarray(np.array(a), exact=True)))


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_projection_is_idempotent_and_does_something(xp, name, tmp_path, rng):
    constraint = CASES["constraint"][name](tmp_path)
    a = example(constraint, rng, xp.complex_dtype)
    assert_idempotent(lambda x: on_its_terms(xp, constraint, x), a, 2e-6 if xp.precision == "single" else 1e-12)
    assert relative_error(on_its_terms(xp, constraint, a), a) > 0.01


def _blob():
    y, x = np.indices(OBJECT_SHAPE)
    return np.where((y - 12) ** 2 + (x - 18) ** 2 < 64, 0.5 + 0.2j, 1)


def _band_limited():
    wave = np.zeros(PROBE_SHAPE, complex)
    wave[:, 1:4, -3:] = 1 + 2j
    return np.fft.ifft2(wave)


def _disk():
    y, x = (np.arange(n) - (n - 1) / 2 for n in PROBE_SHAPE[1:])
    return (np.hypot(y[:, None], x) < 3.5) * np.full(PROBE_SHAPE, 1 - 2j)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_what_satisfies_the_constraint_stays(xp, name, tmp_path, rng):
    constraint = CASES["constraint"][name](tmp_path)
    absorption, lag = rng.uniform(0, 1, OBJECT_SHAPE), rng.uniform(0, 3, OBJECT_SHAPE)
    allowed = {
        "magnitude_limit": lambda: 0.7 * np.exp(1j * rng.uniform(-3, 3, OBJECT_SHAPE)),
        "phase_limit": lambda: absorption + 1j * rng.uniform(-0.05, 0.2, OBJECT_SHAPE),
        "non_negativity": lambda: absorption + 1j * lag,
        "phase_only": lambda: 1j * lag,
        "absorption_only": lambda: absorption + 0j,
        "homogeneous": lambda: (0.3 + 2j) * absorption,
        "support": lambda: np.ones(OBJECT_SHAPE, complex),
        "shrink_wrap": _blob,
        "probe_power": lambda: np.full(PROBE_SHAPE, np.sqrt(1e4 / np.prod(PROBE_SHAPE)) * 1j),
        "orthogonal_modes": lambda: np.stack([np.eye(12, 14), np.eye(12, 14, 1) * 0.5j, np.eye(12, 14, 2) * 0.1]) + 0j,
        "probe_support": _disk,
        "probe_fourier_support": _band_limited,
        "position_limit": lambda: rng.uniform(-0.3, 0.3, (9, 2)),
        "limit": lambda: rng.uniform(0.3, 0.8, (1, 12, 14)),
    }[name]()
    assert relative_error(on_its_terms(xp, constraint, allowed), allowed) < 1e-6


def test_magnitude_is_limited_and_the_phase_kept(xp, rng):
    a = noise(rng, OBJECT_SHAPE, True)
    a[0, 0] = 0
    made = project(xp, MagnitudeLimit(maximum=1.2, minimum=0.4), a)
    np.testing.assert_allclose(np.abs(made), np.clip(np.abs(a), 0.4, 1.2), rtol=1e-5)
    lit = np.abs(a) > 0
    np.testing.assert_allclose(np.exp(1j * np.angle(made[lit])), np.exp(1j * np.angle(a[lit])), atol=1e-5)
    assert made[0, 0] == pytest.approx(0.4)
    assert np.isfinite(project(xp, MagnitudeLimit(), np.zeros((3, 4)))).all()


def test_magnitude_limits_must_be_in_order():
    with pytest.raises(ValueError, match=r"minimum: exceeds the maximum; expected <= 0\.5; found 0\.6"):
        MagnitudeLimit(maximum=0.5, minimum=0.6)


def test_support_is_vacuum_outside(xp, tmp_path, rng):
    mask = np.zeros(OBJECT_SHAPE)
    mask[4:20, 5:30] = 2
    np.save(tmp_path / "mask.npy", mask)
    a = noise(rng, OBJECT_SHAPE, True)
    made = project(xp, Support(mask=str(tmp_path / "mask.npy")), a)
    np.testing.assert_allclose(made, np.where(mask > 0, a, 1), rtol=1e-6)


def test_support_must_be_there_and_fit(xp, tmp_path):
    with pytest.raises(ValueError, match=r"mask: no such file '.*none.npy'; expected an array of the object's shape"):
        Support(mask=str(tmp_path / "none.npy"))
    np.save(tmp_path / "small.npy", np.ones((3, 4)))
    with pytest.raises(ConfigError, match=r"mask: does not fit the object; expected \(30, 34\); found \(3, 4\)"):
        project(xp, Support(mask=str(tmp_path / "small.npy")), np.ones(OBJECT_SHAPE))


def test_power_of_all_modes(xp, rng):
    a = noise(rng, PROBE_SHAPE, True)
    made = project(xp, ProbePower(photons=321.0), a)
    assert np.sum(np.abs(made) ** 2) == pytest.approx(321, rel=1e-5)
    assert relative_error(made / np.linalg.norm(made), a / np.linalg.norm(a)) < 1e-5


def test_modes_become_orthogonal_and_predict_the_same(xp, rng):
    a = noise(rng, PROBE_SHAPE, True)
    made = project(xp, OrthogonalModes(), a)
    gram = np.einsum("lyx,myx->lm", made.conj(), made)
    powers = np.diag(gram).real
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-4 * powers.max())
    assert (np.diff(powers) <= 0).all()
    obj = noise(rng, PROBE_SHAPE[1:], True)
    patterns = [np.sum(np.abs(np.fft.fft2(p * obj)) ** 2, axis=0) for p in (a, made)]
    assert relative_error(*patterns) < 1e-5


def test_support_of_every_slice_of_a_tile_and_from_an_array(xp, rng):
    mask = rng.random((*OBJECT_SHAPE, 2)) > 0.5
    a = noise(rng, mask.shape, True)
    np.testing.assert_allclose(project(xp, Support(mask=mask), a), np.where(mask, a, 1), rtol=1e-6)
    flat = Support(mask=mask[..., 0].astype(float))
    np.testing.assert_allclose(project(xp, flat, a), np.where(mask[..., :1], a, 1), rtol=1e-6)
    rows = flat.of_rows(5, 12, mask.shape)
    np.testing.assert_allclose(project(xp, rows, a[5:12]), np.where(mask[5:12, :, :1], a[5:12], 1), rtol=1e-6)


def test_shrink_wrap_finds_the_object(xp, rng):
    """A disk in noise: the support is the disk and a rim of the blur's width."""
    obj = _blob() + 0.02 * noise(rng, OBJECT_SHAPE, True)
    made = ShrinkWrap(threshold=0.2, blur=1.5)
    mask, true = made.support(xp, xp.asarray(obj)), _blob() != 1
    assert mask[true].all() and mask.sum() < 1.7 * true.sum()
    np.testing.assert_allclose(project(xp, made, obj)[~mask], 1, atol=1e-6)
    assert [epoch for epoch in range(30) if ShrinkWrap(start=12, every=6).active(epoch)] == [12, 18, 24]


def test_both_optical_constants_are_clipped_or_one(xp, rng):
    a = noise(rng, OBJECT_SHAPE, True)
    both, delta, beta = (project(xp, NonNegativity(parts=parts), a) for parts in ("both", "delta", "beta"))
    np.testing.assert_allclose(both, np.maximum(a.real, 0) + 1j * np.maximum(a.imag, 0), rtol=1e-6)
    np.testing.assert_allclose(delta, a.real + 1j * np.maximum(a.imag, 0), rtol=1e-6)
    np.testing.assert_allclose(beta, np.maximum(a.real, 0) + 1j * a.imag, rtol=1e-6)


def test_phase_is_minus_the_lag(xp, rng):
    a = noise(rng, OBJECT_SHAPE, True)
    made = project(xp, PhaseLimit(maximum=0.3, minimum=-0.5), a)
    np.testing.assert_allclose(-made.imag, np.clip(-a.imag, -0.5, 0.3), rtol=1e-5)
    with pytest.raises(ValueError, match=r"minimum: exceeds the maximum; expected <= 0\.1; found 0\.2"):
        PhaseLimit(minimum=0.2, maximum=0.1)


@pytest.mark.parametrize("kappa", [None, 12.0])
def test_homogeneous_object_has_one_kappa(xp, kappa, rng):
    """Given or refined: the values of one material in noise are brought onto its line."""
    beta = rng.uniform(0, 0.1, OBJECT_SHAPE)
    a = beta * (1 + 12j) + 0.005 * noise(rng, OBJECT_SHAPE, True)
    made = project(xp, Homogeneous(kappa=kappa), a)
    found = made.imag / made.real
    np.testing.assert_allclose(found, np.median(found), rtol=1e-3)
    assert np.median(found) == pytest.approx(12, rel=0.02)
    if kappa is not None:
        np.testing.assert_allclose(made.real, (a.real + kappa * a.imag) / (1 + kappa**2), rtol=1e-4, atol=1e-7)


def test_probe_is_dark_outside_its_supports(xp, rng):
    a = noise(rng, PROBE_SHAPE, True)
    outside = np.hypot(*np.meshgrid(np.arange(12) - 5.5, np.arange(14) - 6.5, indexing="ij")) > 4
    made = project(xp, ProbeSupport(radius=4.0), a)
    assert not made[:, outside].any()
    np.testing.assert_allclose(made[:, ~outside], a[:, ~outside], rtol=1e-6)
    spectrum = np.fft.fft2(project(xp, ProbeFourierSupport(radius=3.0, stop=1.5), a))
    there = np.abs(spectrum[0]) > 1e-4 * np.abs(spectrum).max()
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(12, 1 / 12), np.fft.fftfreq(14, 1 / 14), indexing="ij"))
    np.testing.assert_array_equal(there, (f <= 3) & (f >= 1.5))


def test_positions_stay_near(xp):
    moved = np.array([[0.3, 0.4], [3.0, -4.0], [0.0, 0.0]])
    made = on_its_terms(xp, PositionLimit(maximum=1.0), moved)
    np.testing.assert_allclose(made, [[0.3, 0.4], [0.6, -0.8], [0, 0]], rtol=1e-12)


def test_limits_of_any_parameter(xp):
    made = on_its_terms(xp, Limit(parameter="background", minimum=0.0), np.array([-1.0, 0.5, 3.0]))
    np.testing.assert_allclose(made, [0, 0.5, 3])
    with pytest.raises(ValueError, match=r"minimum: exceeds the maximum"):
        Limit(parameter="background", minimum=1.0, maximum=0.0)


@pytest.mark.parametrize(
    ("cls", "former"), [(Homogeneous, "ratio"), (PhaseFilter, "delta_beta")], ids=["constraint", "phase filter"]
)
def test_kappa_is_found_by_its_former_names(cls, former):
    with pytest.raises(ConfigErrors, match=rf"{former}: unknown key; did you mean 'kappa'\?"):
        build(cls, {former: 33.0})
    assert build(cls, {"kappa": 33.0}).kappa == 33.0
