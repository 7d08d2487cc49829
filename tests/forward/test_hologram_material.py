"""One material: object and delta over beta found together; phases without the turns they are taken modulo."""

import numpy as np
import pytest

from adorym.errors import ConfigError
from adorym.forward.hologram_geometry import hologram_geometry
from adorym.forward.hologram_material import Fit, Material, find_material
from adorym.forward.hologram_series import series_of
from adorym.optics.unwrap import unwrapped_phase
from adorym.simulate.holograms import HolographyOfElectrode


def electrode(kappa=10.0, size=64, seed=1):
    data = HolographyOfElectrode(size_px=size, kappa=kappa, photons=0).run(seed)
    return data, hologram_geometry(data, None).object_grid.window_px


@pytest.mark.parametrize("factor", [10.0])
def test_kappa_of_a_battery_is_found_from_ten_times_off(factor):
    data, shape = electrode()
    found = find_material(data, shape, factor * 10.0, True)
    assert found.kappa == pytest.approx(10, rel=0.2)
    edges = [(n - k) // 2 for n, k in zip(shape, data.truth["object"].shape, strict=True)]
    inside = tuple(slice(e, -e) for e in edges)
    true = data.truth["object"]
    assert np.abs(found.transmission[inside] - true).mean() < 0.3 * np.abs(1 - true).mean()
    assert find_material(data, shape, factor * 10.0, True) is found


def test_linear_maps_of_the_steps_are_adjoint_and_tangent():
    data, shape = electrode(size=40)
    fit, rng = Fit(series_of(data, shape), True, 80.0), np.random.default_rng(0)
    point, v = fit.point, rng.normal(size=fit.point.u.size)
    images = rng.normal(size=fit.measured.shape).astype(np.float32)
    back = np.vdot(fit.adjoint(point, images), v)
    assert np.vdot(images, fit.forward(point, v)) == pytest.approx(back, rel=1e-3)
    by_kappa = np.append(np.zeros(v.size - 1), 1.0)
    for way, step in ((by_kappa, 1e-3 / fit.unit), (v, 1e-3)):
        ends = [fit.at(point.u + s * way).residual for s in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert np.linalg.norm(slope - fit.forward(point, way)) < 0.02 * np.linalg.norm(slope)


def test_a_phase_of_several_turns_is_told_by_absorption():
    phase = np.linspace(0, 12, 200).reshape(10, 20)
    assert unwrapped_phase(Material(phase, 50.0).transmission) == pytest.approx(phase)
    other = np.exp(-1j * np.minimum(phase, 3) - 0.1 * np.sin(phase) ** 2)
    assert unwrapped_phase(other) == pytest.approx(np.minimum(phase, 3))
    assert unwrapped_phase(np.ones((3, 4), complex)) == pytest.approx(np.zeros((3, 4)))


def test_a_volume_is_refused():
    data, shape = electrode(size=40)
    with pytest.raises(ConfigError, match="needs one angle and a thin object"):
        find_material(data, (*shape, 4), 100.0, True)
