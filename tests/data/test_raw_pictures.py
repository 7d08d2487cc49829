"""Raw pictures: one file or a series, flat and dark fields, hot pixels, wavelengths."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from adorym.api import prepare
from adorym.commands.run import run
from adorym.data.open import open_dataset
from adorym.data.pictures import hot_pixels
from adorym.errors import ConfigError, DataError
from adorym.simulate.holograms import Holography
from adorym.simulate.phantoms import Cells
from adorym.units import wavelength_m

WINDOW = (40, 52)


@pytest.fixture
def folder(tmp_path):
    """Holograms at three distances on an uneven beam, with its picture and a dark one, in the files of a camera."""
    data = Holography(window_px=WINDOW, distances=(0.1, 0.2, 0.3), photons=2000, phantom=Cells(count=6)).run(0)
    y, x = np.indices(WINDOW)
    beam = 1 - 0.3 * ((y - 10) ** 2 + (x - 20) ** 2) / 40**2
    for i, picture in enumerate(data.patterns.read(np.arange(3))):
        tifffile.imwrite(tmp_path / f"hologram_{i}.tif", np.rint(picture * beam + 100).astype(np.uint16))
        tifffile.imwrite(tmp_path / f"flat_{i}.tif", np.rint(2000 * beam + 100).astype(np.uint16))
    tifffile.imwrite(tmp_path / "dark.tif", np.full((5, *WINDOW), 100, np.uint16), photometric="minisblack")
    Image.fromarray(np.rint((data.patterns.read(np.array([0]))[0] * beam) / 16).astype(np.uint8)).save(
        tmp_path / "hologram.jpg", quality=98
    )
    Image.fromarray(np.rint(2000 * beam / 16).astype(np.uint8)).convert("RGB").save(tmp_path / "flat.png")
    tmp_path.joinpath("data").mkdir()
    return tmp_path, data


def test_a_series_with_white_and_dark_fields(folder):
    path, data = folder
    found = open_dataset(
        path / "hologram_?.tif",
        {"white": str(path / "flat_*.tif"), "dark": str(path / "dark.tif"), "energy": 17500.0},
    )
    wanted = data.patterns.read(np.arange(3))
    assert found.patterns.shape == (3, *WINDOW) and found.format == "pictures"
    scale = found.open_beam_counts / 2000
    np.testing.assert_allclose(found.patterns.read(np.arange(3)), scale * wanted, atol=3)


def test_a_pair_of_ordinary_pictures_and_ten_lines(folder):
    path, _ = folder
    (path / "config.yaml").write_text(
        "data:\n"
        "  path: hologram.jpg\n"
        "  white: flat.png\n"
        "  wavelength: 70.85 pm\n"
        "  pixel_size: 1 um\n"
        "  propagation_distance: 10 cm\n"
        "forward_model: holography\n"
        "run: {epochs: 8}\n"
        "output: {progress: quiet}\n"
    )
    done = run(path / "config.yaml", output=path / "out")
    loss = done.result.history["loss"]
    assert loss[-1] < 0.2 * loss[0] and done.report.is_file()


def test_wavelength_stands_for_energy(folder):
    path, _ = folder
    found = open_dataset(path / "hologram.jpg", {"wavelength": 660e-9})
    assert wavelength_m(found.energy_ev) == pytest.approx(660e-9)
    with pytest.raises(ConfigError, match="data.wavelength: has no effect beside 'data.energy'"):
        open_dataset(path / "hologram.jpg", {"wavelength": 1e-10, "energy": 1e4})


def test_hot_pixels_are_masked(folder):
    path, _ = folder
    stack = np.full((5, 20, 22), 50.0) + np.random.default_rng(0).normal(size=(5, 20, 22))
    stack[:, 3, 4], stack[:, 9, 9], stack[0, 0, 0] = 5000, 0, 60
    np.save(path / "stack.npy", stack)
    found = open_dataset(path / "stack.npy", {"hot_pixels": 12.0})
    np.testing.assert_array_equal(np.argwhere(~found.mask), [[3, 4], [9, 9]])
    assert not hot_pixels(np.ones((9, 9)), 5.0).any()


def test_cone_beam_series(folder):
    path, _ = folder
    settings = {"detector_pixel_size": 2e-6, "source_distance": (0.1, 0.2, 0.3), "distance": (0.9, 0.8, 0.7)}
    found = open_dataset(path / "hologram_*.tif", settings)
    np.testing.assert_allclose(found.magnification, [10, 5, 10 / 3])
    np.testing.assert_allclose(found.propagation_distance_m, [0.09, 0.16, 0.21])
    assert found.pixel_size_m == pytest.approx((2e-7, 2e-7))
    with pytest.raises(ConfigError, match="data.distance: absent: a series of distances in a cone beam needs it"):
        open_dataset(path / "hologram_*.tif", {"source_distance": (0.1, 0.2)})
    with pytest.raises(ConfigError, match="data.propagation_distance: has no effect beside the distances of a series"):
        open_dataset(path / "hologram_*.tif", settings | {"propagation_distance": 0.1})


def test_what_is_no_series(folder):
    path, _ = folder
    with pytest.raises(DataError, match="no file fits this pattern"):
        open_dataset(path / "nothing_*.tif")
    np.save(path / "hologram_3.npy", np.zeros((5, 6)))
    with pytest.raises(DataError, match="the pictures differ in size"):
        open_dataset(path / "hologram_*")
    with pytest.raises(DataError, match="the flat field is no picture"):
        open_dataset(path / "hologram.jpg", {"white": np.ones(3)})


def test_a_tif_of_one_picture_is_one_hologram(folder):
    path, _ = folder
    config = {
        "data": {"path": str(path / "hologram_1.tif"), "energy": "17.5 keV", "pixel_size": "1 um",
                 "propagation_distance": "20 cm"},
        "forward_model": "holography",
        "run": {"device": "cpu"},
    }  # fmt: skip
    problem = prepare(config).problem
    assert problem.dataset.n_patterns == 1
    assert problem.store.shape > WINDOW


def test_a_series_comes_in_the_order_in_which_people_count(tmp_path):
    names = ["h_0.5cm_2", "h_0.5cm_10", "h_2.25cm", "h_2.5cm", "h_5cm", "h_10cm", "run1.9", "run1.10"]
    wanted = [f"{name}.tif" for name in names]
    for i in np.random.default_rng(0).permutation(len(wanted)):
        tifffile.imwrite(tmp_path / wanted[i], np.full(WINDOW, i + 1, np.uint16))
    found = open_dataset(tmp_path / "*.tif")
    np.testing.assert_array_equal(found.patterns.read(np.arange(len(wanted)))[:, 0, 0], 1 + np.arange(len(wanted)))
    assert f"files in this order: {', '.join(wanted)}" in found.notes


def test_the_order_of_a_long_series_shows_its_ends(tmp_path):
    for i in range(20):
        tifffile.imwrite(tmp_path / f"{i}.tif", np.full((2, 2), i + 1, np.uint16))
    found = open_dataset(tmp_path / "*.tif")
    assert "files in this order: 0.tif, 1.tif, 2.tif, 3.tif, ..., 16.tif, 17.tif, 18.tif, 19.tif" in found.notes
