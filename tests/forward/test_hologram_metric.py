"""Steps of holography that are equally long for slow and fast changes."""

from __future__ import annotations

import numpy as np
import pytest
from laws import relative_error

from adorym.optics.geometry import Grid
from adorym.optics.propagation import fresnel_rate_rad_per_m
from adorym.preconditioners import ContrastTransfer, Probed
from adorym.wrapper import get_backend

GRID, DISTANCES = Grid((20, 26), (2e-6, 2e-6), 7e-11), (0.05, 0.1)
RNG = np.random.default_rng(0)
XP = get_backend("torch", device="cpu", precision="double")


def noise():
    return RNG.normal(size=GRID.window_px) + 1j * RNG.normal(size=GRID.window_px)


def applied(g, obj=None, floor=0.1, kappa=None):
    made = ContrastTransfer(Probed(), lambda size: GRID, DISTANCES, floor, kappa)
    obj = np.ones(GRID.window_px, complex) if obj is None else obj
    return XP.to_numpy(made.apply(XP, XP.asarray(obj), XP.asarray(g)))


def product(a, b):
    return float(np.real(np.vdot(a, b)))


@pytest.mark.parametrize("turned", [False, True])
def test_the_operator_is_symmetric_and_positive(turned):
    obj = np.exp(1j * RNG.normal(size=GRID.window_px)) if turned else None
    a, b = noise(), noise()
    assert product(a, applied(b, obj)) == pytest.approx(product(applied(a, obj), b))
    assert product(a, applied(a, obj)) > 0


def slow(rate):
    return rate * max(DISTANCES) < np.pi / 2


def test_it_undoes_the_contrast_of_slow_waves():
    """(h + floor) P g = g / 2, h from the holograms' first-order contrast; beyond its first maximum h = 1."""
    g, floor, rate = noise(), 0.03, fresnel_rate_rad_per_m(GRID)
    assert 0.02 < slow(rate).mean() < 0.9
    made, back = applied(g, floor=floor), np.zeros(GRID.window_px, complex)
    a, phi = np.fft.fft2(made.real), np.fft.fft2(made.imag)
    for distance in DISTANCES:
        cosine, sine = np.cos(distance * rate), np.sin(distance * rate)
        contrast = cosine * a + sine * phi
        back += np.fft.ifft2(np.where(slow(rate), cosine * contrast, a)).real / 2
        back += 1j * np.fft.ifft2(np.where(slow(rate), sine * contrast, phi)).real / 2
    assert relative_error(back + floor * made, g / 2) < 1e-10


def test_one_material_has_one_number_a_frequency():
    g, rate = RNG.normal(size=GRID.window_px), fresnel_rate_rad_per_m(GRID)
    made = applied(g + 0j, floor=0.01, kappa=20.0).real
    h = np.mean([(np.sin(z * rate) + np.cos(z * rate) / 20) ** 2 for z in DISTANCES], axis=0)
    h = np.where(slow(rate), h, 1) + 0.01
    assert relative_error(np.fft.ifft2(h * np.fft.fft2(made)).real, g / 2) < 1e-10


@pytest.mark.parametrize("off_m", [0.0, 0.02])
def test_steps_are_never_too_long(off_m):
    """The largest eigenvalue of P H for four holograms in vacuum is below 1, with true distances and with others.

    Gradient steps with momentum are stable below 2. It was above 20 where distances were off, and at vacuum's edge.
    """
    grid, stated = Grid((160, 160), (1e-6, 1e-6), 7.1e-11), (0.38, 0.58, 0.78, 0.98)
    rate, rng = fresnel_rate_rad_per_m(grid), np.random.default_rng(2)
    field = np.zeros(grid.window_px)
    field[24:-24, 24:-24] = 1
    made = ContrastTransfer(Probed(), lambda size: grid, stated, 0.01, None, lambda size: field)
    waves = [np.exp(-1j * (z + off_m) * rate) for z in stated]
    one = XP.asarray(np.ones(grid.window_px, complex))
    v = rng.normal(size=(160, 160)) + 1j * rng.normal(size=(160, 160))
    for _ in range(60):
        v = field * v / np.linalg.norm(v)
        amplitudes = [field * np.fft.ifft2(w * np.fft.fft2(v)).real for w in waves]
        back = sum(np.fft.ifft2(w.conj() * np.fft.fft2(a)) for w, a in zip(waves, amplitudes, strict=True))
        moved = field * XP.to_numpy(made.apply(XP, one, XP.asarray(field * back / len(waves))))
        largest, v = product(v, moved) / product(v, v), moved
    assert 0.3 < largest < 1
