"""One material: object and delta over beta found together; phases without the turns they are taken modulo."""

import numpy as np
import pytest

from adorym.api import reconstruct
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.data.survey import contrast_of
from adorym.errors import ConfigError
from adorym.forward.hologram_geometry import hologram_geometry
from adorym.forward.hologram_material import Fit, Material, find_material
from adorym.forward.hologram_prior import spectrum_of
from adorym.forward.hologram_series import series_of
from adorym.forward.object import ObjectSettings
from adorym.initializers.phase_contrast import Paganin
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


def one_hologram(seed: int, phase: float = 0.6, kappa: float = 30.0) -> tuple[Dataset, np.ndarray]:
    """A hologram of spheres in vacuum with counted photons, computed with NumPy alone on pixels half as wide."""
    n, pixel, distance, wavelength, counts = 96, 1e-6, 0.09, 0.7e-10, 1e4
    rng, (y, x), lag = np.random.default_rng(seed), np.indices((2 * n, 2 * n)) - (n - 0.5), 0.0
    for _ in range(10):
        (cy, cx), radius = rng.uniform(-0.6 * n, 0.6 * n, 2), rng.uniform(8, 20)
        lag = lag + np.sqrt(np.maximum(radius**2 - (y - cy) ** 2 - (x - cx) ** 2, 0))
    lag = lag * phase / lag.max()
    f = np.fft.fftfreq(4 * n, pixel / 2)
    transfer = np.exp(-1j * np.pi * wavelength * distance * (f[:, None] ** 2 + f**2))
    wave = np.fft.ifft2(transfer * np.fft.fft2(np.pad(np.exp(-(1 / kappa + 1j) * lag), n, constant_values=1)))
    fine = abs(wave[n:-n, n:-n]) ** 2
    picture = rng.poisson(counts * fine.reshape(n, 2, n, 2).mean((1, 3)))
    known = {"energy_ev": 1.23984198e-6 / wavelength, "pixel_size_m": (pixel, pixel), "open_beam_counts": counts}
    data = Dataset(ArrayPatterns(picture[None].astype("f4")), propagation_distance_m=np.array([distance]), **known)
    return data, lag.reshape(n, 2, n, 2).mean((1, 3))


def phase_error(phase: np.ndarray, true: np.ndarray) -> float:
    y, x = ((m - n) // 2 for m, n in zip(phase.shape, true.shape, strict=True))
    found = phase[y : y + true.shape[0], x : x + true.shape[1]]
    return float(np.linalg.norm(found - found.mean() - true + true.mean()) / np.linalg.norm(true - true.mean()))


def test_noise_and_the_fall_of_the_phase_are_told_by_the_hologram():
    spectrum = spectrum_of(series_of(one_hologram(0)[0], (144, 144)), 30.0)
    assert spectrum.noise == pytest.approx(0.01, rel=0.15) and 3 < spectrum.exponent < 5.5


@pytest.mark.parametrize("seed", range(3))
def test_one_hologram_gives_more_than_paganins_formula_and_keeps_kappa(seed):
    data, lag = one_hologram(seed)
    classical = Paganin(kappa=30.0).make(data, (144, 144), np.random.default_rng(0))
    found = find_material(data, (144, 144), 30.0, True)
    assert found.kappa == pytest.approx(30)
    assert phase_error(found.phase, lag) < 0.95 * phase_error(-np.angle(classical), lag)


def test_epochs_do_not_fit_the_noise_of_one_hologram(tmp_path):
    data, lag = one_hologram(1)
    write_native(data, tmp_path / "data.h5")

    def error(epochs: int, **model) -> float:
        result = reconstruct({
            "data": str(tmp_path / "data.h5"),
            "forward_model": {"kind": "holography", "homogeneous": True, "kappa": 30.0, **model},
            "parameters": {"object": {"initial": {"kind": "paganin", "kappa": 30.0}}},
            "run": {"epochs": epochs},
        })  # fmt: skip
        return phase_error(-np.angle(np.squeeze(result.object)), lag)

    start = error(0)
    assert error(30) < 1.02 * start
    assert error(30, limit_noise=False) > 1.2 * start


def test_a_weak_phase_is_noticed():
    """Beyond the noise; a mask with anything below it does not count."""
    weak, strong = (one_hologram(2, phase, 1e3)[0] for phase in (0.1, 1.0))
    assert contrast_of(weak) < 0.01 and contrast_of(strong) > 0.025
    mask = np.ones((96, 96), bool)
    mask[40:44, 40:44] = False
    marked = weak.patterns.array.copy()
    marked[:, ~mask] = 1e9
    assert contrast_of(weak.with_(patterns=ArrayPatterns(marked), mask=mask)) < 0.02
    noticed = [list(ObjectSettings().notices("parameters.object", data)) for data in (weak, strong)]
    assert "parameters.object.initial: the holograms vary by only" in noticed[0][0] and not noticed[1]
    assert not list(ObjectSettings(initial=Paganin(kappa=1e3)).notices("parameters.object", weak))
