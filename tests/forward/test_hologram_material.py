"""One material: object and delta over beta found together; lags without the turns they are taken modulo."""

import numpy as np
import pytest

from adorym.errors import ConfigError
from adorym.forward.hologram_geometry import hologram_geometry
from adorym.forward.hologram_material import Fit, Material, _Local, find_material, unwrapped_lag
from adorym.forward.hologram_series import series_of
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
    fit = Fit(series_of(data, shape), True)
    point = fit.start(80.0)
    local, rng = _Local(fit, point), np.random.default_rng(0)
    lag = rng.normal(size=shape).astype(np.float32)
    images = rng.normal(size=fit.measured.shape).astype(np.float32)
    assert np.vdot(images, local.forward(lag)) == pytest.approx(np.vdot(local.adjoint(images), lag), rel=1e-3)
    step = 1e-4
    ends = [fit.at(point.lag + s * local.drawn, point.log_kappa + s).residual for s in (step, -step)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert np.linalg.norm(slope - local.by_kappa) < 0.02 * np.linalg.norm(local.by_kappa)


def test_a_lag_of_several_turns_is_told_by_absorption():
    lag = np.linspace(0, 12, 200).reshape(10, 20)
    assert unwrapped_lag(Material(lag, 50.0).transmission) == pytest.approx(lag)
    other = np.exp(-1j * np.minimum(lag, 3) - 0.1 * np.sin(lag) ** 2)
    assert unwrapped_lag(other) == pytest.approx(np.minimum(lag, 3))
    assert unwrapped_lag(np.ones((3, 4), complex)) == pytest.approx(np.zeros((3, 4)))


def test_a_volume_is_refused():
    data, shape = electrode(size=40)
    with pytest.raises(ConfigError, match="phase retrieval is of one angle and a thin object"):
        find_material(data, (*shape, 4), 100.0, True)
