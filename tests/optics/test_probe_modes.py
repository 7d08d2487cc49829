import numpy as np
import pytest

from adorym.errors import ConfigError, DataError
from adorym.optics.modes import (
    beam_center_px,
    beam_diameter_px,
    beam_sigma_px,
    orthogonalize,
    power_fractions,
    powers,
    scale_power,
    seed_modes,
)

WINDOW = (24, 30)


@pytest.fixture
def probe():
    y, x = np.arange(24)[:, None] - 11.5, np.arange(30)[None, :] - 14.5
    return (np.exp(-(y**2) / 30 - x**2 / 50 + 0.02j * (y**2 + x**2) + 0.7j) * 5)[None]


def mutual_intensity(modes):
    flat = modes.reshape(len(modes), -1)
    return flat.T @ flat.conj()


def gram(modes):
    flat = modes.reshape(len(modes), -1)
    return flat.conj() @ flat.T


# -- orthogonalize ------------------------------------------------------------------------------------------------
def test_mutual_intensity_is_kept(waves):
    modes = waves(4, 6, 9) * np.array([3, 0.1, 1, 2])[:, None, None]
    new = orthogonalize(modes)
    np.testing.assert_allclose(mutual_intensity(new), mutual_intensity(modes), atol=1e-12)
    off_diagonal = gram(new) - np.diag(np.diag(gram(new)))
    assert abs(off_diagonal).max() < 1e-12 * powers(modes).sum()
    assert (np.diff(powers(new)) <= 0).all()
    assert abs(gram(modes) - np.diag(np.diag(gram(modes)))).max() > 1  # there was something to do


def test_orthogonal_modes_come_back_as_they_are(waves):
    once = orthogonalize(waves(3, 6, 9))
    np.testing.assert_allclose(orthogonalize(once), once, atol=1e-12)
    np.testing.assert_allclose(orthogonalize(once[[2, 0, 1]]), once, atol=1e-12)


def test_fewer_independent_modes_than_modes(waves):
    one = waves(1, 6, 9)
    new = orthogonalize(np.concatenate([one, 2j * one]))
    np.testing.assert_allclose(power_fractions(new), [1, 0], atol=1e-12)
    np.testing.assert_allclose(mutual_intensity(new), 5 * mutual_intensity(one), atol=1e-12)


def test_precision_is_kept(waves):
    assert orthogonalize(waves(2, 6, 9).astype("c8")).dtype == np.complex64


# -- seed_modes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["hermite", "random", "shifted"])
@pytest.mark.parametrize("n", [2, 5, 8])
def test_seeded_modes_share_the_power_and_are_orthogonal(probe, rng, kind, n):
    modes = seed_modes(probe, n, kind, rng)
    assert modes.shape == (n, *WINDOW)
    assert modes.dtype == np.complex128
    assert powers(modes).sum() == pytest.approx(powers(probe).sum())
    np.testing.assert_allclose(power_fractions(modes), [0.6] + [0.4 / (n - 1)] * (n - 1))
    np.testing.assert_allclose(modes[0], probe[0] * np.sqrt(0.6))
    assert abs(gram(modes) - np.diag(np.diag(gram(modes)))).max() < 1e-9 * powers(probe).sum()


@pytest.mark.parametrize("kind", ["hermite", "random", "shifted"])
def test_seeded_modes_stay_in_the_beam(probe, rng, kind):
    modes = seed_modes(probe, 4, kind, rng)
    far = np.hypot(*np.meshgrid(np.arange(24) - 11.5, np.arange(30) - 14.5, indexing="ij")) > 2.2 * beam_diameter_px(
        probe
    )
    for mode in modes:
        assert (abs(mode) ** 2)[far].sum() < 0.01 * (abs(mode) ** 2).sum()


def test_hermite_modes_are_the_probe_times_polynomials(probe):
    """Every polynomial up to second degree times the probe lies in the span of the first six modes."""
    modes = seed_modes(probe, 6).reshape(6, -1)
    modes = modes / np.linalg.norm(modes, axis=1)[:, None]
    y, x = np.indices(WINDOW) / 10.0
    for polynomial in (y, x, x * y, x * x - y * y, 3 * x * x + y):
        wanted = (polynomial * probe[0]).ravel()
        np.testing.assert_allclose(modes.T @ (modes.conj() @ wanted), wanted, atol=1e-10 * abs(wanted).max())


def test_random_modes_follow_the_generator(probe):
    first, same, other = (seed_modes(probe, 3, "random", np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert abs(first - other).max() > 0.1 * abs(first).max()


def test_modes_that_are_there_stay(waves, probe):
    pair = np.concatenate([probe, 0.5 * probe[:, ::-1] * waves(1, *WINDOW)])
    modes = seed_modes(pair, 4, first_fraction=0.8)
    np.testing.assert_allclose(modes[:2], pair * np.sqrt(0.8))
    assert power_fractions(modes)[2:] == pytest.approx([0.1, 0.1])
    np.testing.assert_array_equal(seed_modes(pair, 2), pair)


def test_seeding_errors(probe):
    with pytest.raises(
        ConfigError, match=r"parameters\.probe\.modes: the initial probe has more modes; expected at least 1"
    ):
        seed_modes(probe, 0)
    with pytest.raises(ConfigError, match="no way of seeding modes named 'hermit'; did you mean 'hermite'"):
        seed_modes(probe, 2, "hermit")
    with pytest.raises(ConfigError, match=r"first_fraction: not a fraction; expected 0 < f <= 1; found 1\.5"):
        seed_modes(probe, 2, first_fraction=1.5)
    with pytest.raises(DataError, match="probe: has no power"):
        seed_modes(0 * probe, 2)


# -- measures of the beam -------------------------------------------------------------------------------------------
def test_power_and_scaling(waves):
    modes = scale_power(waves(3, 6, 9), 1e6)
    assert powers(modes).sum() == pytest.approx(1e6)
    assert power_fractions(modes).sum() == pytest.approx(1)


def test_center_width_and_diameter():
    y, x = np.indices((60, 80))
    disc = (np.hypot(y - 25, x - 42) < 13).astype(complex)[None]
    assert beam_center_px(disc) == pytest.approx((25, 42))
    assert beam_diameter_px(disc) == pytest.approx(26, rel=0.02)
    assert beam_sigma_px(disc) == pytest.approx((6.5, 6.5), rel=0.02)  # a quarter of the diameter
    ellipse = np.exp(-(((y - 25) / 4) ** 2) - ((x - 42) / 8) ** 2).astype(complex)[None]
    assert beam_sigma_px(ellipse) == pytest.approx((2, 4), rel=1e-3)
    with pytest.raises(DataError, match="has no power, or is not finite"):
        beam_center_px(0 * disc)


def test_shifted_modes_lie_around_the_beam(probe):
    """The beam with its shifted copies is wider by as much in both directions."""
    modes = np.concatenate([probe, seed_modes(probe, 5, "shifted")[1:]])
    assert beam_center_px(modes) == pytest.approx(beam_center_px(probe), abs=0.3)
    wider = np.array(beam_sigma_px(modes)) ** 2 - np.array(beam_sigma_px(probe)) ** 2
    assert wider[0] == pytest.approx(wider[1], rel=0.35) and wider.min() > 0
