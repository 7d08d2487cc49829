"""Constraints are idempotent projections; each does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, OBJECT_SHAPE, PROBE_SHAPE
from laws import assert_idempotent, noise, relative_error

from adorym.constraints.object import MagnitudeLimit, Support
from adorym.constraints.probe import OrthogonalModes, ProbePower
from adorym.errors import ConfigError
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


def example(constraint, rng, dtype=np.complex128):
    shape = {"object": OBJECT_SHAPE, "probe": PROBE_SHAPE}[constraint.parameter]
    a = noise(rng, shape, True)
    a[..., 3, 4] = 0  # no phase to keep there
    return a.astype(dtype)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_projection_is_idempotent_and_does_something(xp, name, tmp_path, rng):
    constraint = CASES["constraint"][name](tmp_path)
    a = example(constraint, rng, xp.complex_dtype)
    assert_idempotent(lambda x: project(xp, constraint, x), a, 2e-6 if xp.precision == "single" else 1e-12)
    assert relative_error(project(xp, constraint, a), a) > 0.01


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_what_satisfies_the_constraint_stays(xp, name, tmp_path, rng):
    constraint = CASES["constraint"][name](tmp_path)
    allowed = {
        "magnitude_limit": 0.7 * np.exp(1j * rng.uniform(-3, 3, OBJECT_SHAPE)),
        "support": np.ones(OBJECT_SHAPE, complex),
        "probe_power": np.full(PROBE_SHAPE, np.sqrt(1e4 / np.prod(PROBE_SHAPE)) * 1j),
        "orthogonal_modes": np.stack([np.eye(12, 14), np.eye(12, 14, 1) * 0.5j, np.eye(12, 14, 2) * 0.1]) + 0j,
    }[name]
    assert relative_error(project(xp, constraint, allowed), allowed) < 1e-6


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
    with pytest.raises(
        ValueError, match=r"mask: no such file '.*none.npy'; expected a .npy array of the object's shape"
    ):
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
