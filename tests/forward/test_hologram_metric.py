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


def test_it_undoes_the_contrast_of_weak_objects():
    """(h + floor) P g = g, h from the holograms' first-order contrast."""
    g, floor, rate = noise(), 0.03, fresnel_rate_rad_per_m(GRID)
    made, back = applied(g, floor=floor), np.zeros(GRID.window_px, complex)
    for distance in DISTANCES:
        cosine, sine = np.cos(distance * rate), np.sin(distance * rate)
        contrast = cosine * np.fft.fft2(made.real) + sine * np.fft.fft2(made.imag)
        back += np.fft.ifft2(cosine * contrast).real / 2 + 1j * np.fft.ifft2(sine * contrast).real / 2
    assert relative_error(back + floor * made, g) < 1e-10


def test_one_material_has_one_number_a_frequency():
    g, rate = RNG.normal(size=GRID.window_px), fresnel_rate_rad_per_m(GRID)
    made = applied(g + 0j, floor=0.01, kappa=20.0).real
    h = np.mean([(np.sin(z * rate) + np.cos(z * rate) / 20) ** 2 for z in DISTANCES], axis=0) + 0.01
    assert relative_error(np.fft.ifft2(h * np.fft.fft2(made)).real, g) < 1e-10
