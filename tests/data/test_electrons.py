"""Electrons: wavelength from the voltage, angles for lengths, and energies that are taken for photons'."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import counts, native, write

from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.errors import ConfigError, DataError
from adorym.optics.probes import ApertureProbe
from adorym.units import electron_wavelength_m


# Reimer & Kohl, Transmission Electron Microscopy, table of wavelengths.
@pytest.mark.parametrize(("voltage", "picometers"), [(80e3, 4.1757), (200e3, 2.5079), (300e3, 1.9687), (60e3, 4.8661)])
def test_relativistic_wavelength(voltage, picometers):
    assert electron_wavelength_m(voltage) * 1e12 == pytest.approx(picometers, abs=1e-4)


def test_voltage_and_angle_give_the_pixel_and_survive_the_file(tmp_path):
    path = native(tmp_path / "a.h5", metadata__energy_ev=None, metadata__psize_cm=None)
    dataset = open_dataset(path, {"voltage": "80 kV", "detector_pixel_size": "2 mrad"})
    ny, nx = dataset.window_px
    np.testing.assert_allclose(dataset.pixel_size_m, [4.17572e-12 / (2e-3 * ny), 4.17572e-12 / (2e-3 * nx)], rtol=1e-5)
    assert "80 kV" in repr(dataset)
    again = open_dataset(write_native(dataset, tmp_path / "b.h5"))
    assert again.voltage_v == 80e3 and again.energy_ev == pytest.approx(dataset.energy_ev)
    given = open_dataset(path, {"voltage": 80e3, "detector_pixel_size": ("2 mrad", "1 mrad"), "distance": "0.5 m"})
    np.testing.assert_allclose(given.detector_pixel_size_m, [1e-3, 0.5e-3])


def test_lengths_that_contradict(tmp_path):
    path = native(tmp_path / "a.h5")
    with pytest.raises(ConfigError, match="data.voltage: has no effect beside 'data.energy'"):
        open_dataset(path, {"voltage": "80 kV", "energy": "8 keV"})
    with pytest.raises(ConfigError, match="data.detector_pixel_size: .*two lengths or two angles"):
        open_dataset(path, {"detector_pixel_size": ("2 mrad", "75 um")})
    with pytest.raises(ConfigError, match="data.detector_pixel_size: expected a length or an angle"):
        open_dataset(path, {"detector_pixel_size": "2 keV"})


@pytest.mark.parametrize(("energy", "pixel"), [("80 keV", "32 pm"), ("300 keV", "0.2 angstrom"), ("30 keV", "0.1 nm")])
def test_an_energy_that_is_more_probably_of_electrons_is_asked_about(tmp_path, energy, pixel):
    path = native(tmp_path / "a.h5")
    with pytest.raises(DataError, match="electrons or of photons.*data.voltage: .*data.wavelength: ") as caught:
        open_dataset(path, {"energy": energy, "pixel_size": pixel})
    remedies = dict(part.split(": ") for part in str(caught.value).split("'")[1::2])
    electrons = open_dataset(path, {"voltage": remedies["data.voltage"], "pixel_size": pixel})
    photons = open_dataset(path, {"wavelength": remedies["data.wavelength"], "pixel_size": pixel})
    assert electrons.energy_ev > 2 * photons.energy_ev
    assert photons.energy_ev == pytest.approx(1e3 * float(energy.split()[0]), rel=1e-4)


def test_a_file_with_the_energy_of_electrons_is_asked_about_and_x_rays_are_not(tmp_path):
    with pytest.raises(DataError, match="electrons or of photons"):
        open_dataset(native(tmp_path / "a.h5", metadata__energy_ev=80e3, metadata__psize_cm=32e-10))
    open_dataset(native(tmp_path / "b.h5", metadata__energy_ev=80e3))  # pixels of 10 nm
    by_wavelength = open_dataset(native(tmp_path / "c.h5"), {"wavelength": "4.1757 pm", "pixel_size": "32 pm"})
    open_dataset(write_native(by_wavelength, tmp_path / "d.h5"))


def test_an_aperture_in_milliradian(tmp_path):
    dataset = open_dataset(
        write(tmp_path / "a.h5", {"data": counts(3, window=(32, 32))}),
        {"map": ["patterns=data"], "voltage": "80 kV", "detector_pixel_size": "2 mrad"},
    )
    angle = ApertureProbe(outer_radius="20 mrad", central_stop="6 mrad").make(dataset)
    pixels = ApertureProbe(outer_radius="10 px", central_stop="3 px").make(dataset)
    np.testing.assert_allclose(angle, pixels, atol=1e-9)
