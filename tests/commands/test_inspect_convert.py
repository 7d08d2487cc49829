"""``inspect`` and ``convert``: what they find, and what they refuse."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from cases import CASES
from data_files import WINDOW, counts, cxi, native, positions, write
from rich.console import Console

from adorym.commands.convert import convert
from adorym.commands.inspect import inspect
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.survey import linear_overlap, nearest_step_px, orientation_test
from adorym.errors import ConfigError, DataError
from adorym.optics.modes import beam_diameter_px


def shown(inspection):
    console = Console(width=400, no_color=True)
    with console.capture() as capture:
        console.print(inspection.render())
    return capture.get()


def scan(n=12, window=(16, 20), step=3.0):
    """A data set of a smooth phase object under a round probe, photons without noise."""
    rng = np.random.default_rng(0)
    size = tuple(int(w + step * n) + 2 for w in window)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(s) for s in size), indexing="ij"))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=size)) * np.exp(-((frequency / 0.05) ** 2))).real
    wave = np.exp(1j * noise / noise.std())
    y, x = (np.arange(w) - (w - 1) / 2 for w in window)
    probe = 100 * np.exp(-(y[:, None] ** 2 + x**2) / (2 * 3.0**2))
    corners = np.stack(np.meshgrid(*(step * np.arange(n),) * 2, indexing="ij"), -1).reshape(-1, 2).astype(int)
    exits = np.stack([probe * wave[i : i + window[0], j : j + window[1]] for i, j in corners])
    patterns = np.abs(np.fft.fftshift(np.fft.fft2(exits, norm="ortho"), axes=(-2, -1))) ** 2
    return Dataset(
        patterns=ArrayPatterns(patterns.astype(np.float32)),
        probe_positions_px=corners.astype(float),
        energy_ev=8800.0,
        pixel_size_m=(1e-8, 1.2e-8),
        start_probe=probe[None].astype(np.complex64),
    )


def test_inspection_of_a_scan(tmp_path):
    dataset = scan()
    found = inspect(write_native(dataset, tmp_path / "a.h5"))
    assert found.format == "adorym" and found.n_patterns == 144 and found.window_px == (16, 20)
    assert {a.key: (a.shape, a.unit) for a in found.arrays}["exchange/data"] == ((1, 144, 16, 20), "photons")
    assert found.scan.step_px == pytest.approx(3) and found.scan.maximum_px == (33, 33)
    # |P|^2 is a Gaussian of variance 9/2: effective area 2 pi 9
    assert found.scan.probe_diameter_px == pytest.approx(2 * np.sqrt(2 * 9), rel=0.02)
    assert found.scan.overlap == pytest.approx(1 - 3 / (2 * np.sqrt(18)), rel=0.02)
    assert found.counts.pattern_sum.mean() == pytest.approx(dataset.patterns.array.sum() / 144, rel=1e-5)
    assert found.orientation.best == 0 and found.orientation.decided
    assert found.problems == found.hints == ()
    text = shown(found)
    for words in ("format 'adorym'", "8.8 keV", "140.9 pm", "10 nm x 12 nm (y, x)", "144 of 16 x 20 px",
                  "3 px to the nearest", "exchange/data", "the file's fits best"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("turn", "best"),
    [({"flip_x": True}, 2), ({"flip_y": True}, 2), ({"transpose": True}, 3), ({"transpose": True, "flip_y": True}, 1),
     ({"flip_x": True, "flip_y": True}, 0)],
)  # fmt: skip
def test_wrong_orientation_is_suspected(tmp_path, turn, best):
    found = inspect(write_native(scan(), tmp_path / "a.h5"), turn)
    assert found.orientation.best == best
    assert any("orientation" in hint for hint in found.hints) == (best != 0)
    assert ("Looks wrong" in shown(found)) == (best != 0)


def test_orientation_is_not_guessed_where_it_means_nothing():
    dataset = scan(4)
    assert orientation_test(dataset) is None  # too few
    assert orientation_test(scan().with_(propagation_distance_m=np.array([1.0]))) is None
    assert orientation_test(scan().with_(probe_positions_px=None)) is None
    noise = np.random.default_rng(0).poisson(20, (144, 16, 20))
    assert not orientation_test(scan().with_(patterns=ArrayPatterns(noise))).suspicious


def test_zero_frequency_at_the_corner_and_low_overlap_are_suspected(tmp_path):
    dataset = scan()
    corner = ArrayPatterns(np.fft.ifftshift(dataset.patterns.array, axes=(-2, -1)))
    wide = dataset.with_(patterns=corner, probe_positions_px=10 * dataset.probe_positions_px)
    hints = "\n".join(inspect(write_native(wide, tmp_path / "a.h5")).hints)
    assert "the counts are concentrated at the corners" in hints
    assert "neighbors share 0 % of the probe's diameter" in hints
    close = dataset.with_(probe_positions_px=dataset.probe_positions_px * 1e-8, pixel_size_m=None, distance_m=None)
    hints = inspect(write_native(close, tmp_path / "b.h5")).hints
    assert any("are they in pixels?" in hint and "data.positions_unit" in hint for hint in hints)


def test_pixels_beside_a_gap_are_not_hot(tmp_path):
    """The middle of the beam lies there; what is masked has no counts to compare with."""
    data, mask = scan(6), np.ones((16, 20), bool)
    mask[:, 11:13] = False
    patterns = 10 * data.patterns.read(np.arange(36)) * mask
    write_native(data.with_(patterns=ArrayPatterns(patterns), mask=mask), tmp_path / "a.h5")
    assert len(inspect(tmp_path / "a.h5").pixels.hot) == 0


def test_a_raster_asks_for_its_step(tmp_path):
    np.save(tmp_path / "a.npy", scan(4).patterns.array.reshape(4, 4, 16, 20))
    found = inspect(tmp_path / "a.npy")
    assert "scan" in found.missing["ptychography"] and "positions" not in found.missing["ptychography"]
    assert "scan: {step: 0.5 angstrom}" in found.configuration and "'voltage: 300 kV'" in found.configuration
    np.savez(tmp_path / "b.npz", cbed=scan(4).patterns.array.reshape(4, 4, 16, 20))
    assert "scan: {step: 0.5 angstrom}" in inspect(tmp_path / "b.npz").configuration


def test_bad_hot_and_dead_pixels(tmp_path):
    patterns = np.random.default_rng(0).poisson(50.0, (60, 20, 24)).astype(np.float32)
    patterns[:, 3, 4], patterns[:, 15, 20], patterns[:, 9:12, 2] = 5000, 0, 4
    patterns[::20, 15, 20] = 1  # or it would be a gap
    mask = np.ones((20, 24))
    mask[9:12, 2] = 0
    found = inspect(native(tmp_path / "a.h5", 60, exchange__data=patterns[None], metadata__mask=mask))
    assert found.pixels.bad == 3
    np.testing.assert_array_equal(found.pixels.hot, [[3, 4]])
    np.testing.assert_array_equal(found.pixels.dead, [[15, 20]])
    assert "3 masked, 1 hot [(3, 4)], 1 dead [(15, 20)]" in shown(found)


def test_bad_counts_are_problems_not_the_end(tmp_path):
    patterns = counts(5)
    patterns[1, 2, 3], patterns[2] = np.nan, 0
    patterns[3, 0, 0] = -1
    found = inspect(native(tmp_path / "a.h5", exchange__data=patterns[None]))
    text = "\n".join(found.problems)
    assert "1 counts are not finite (NaN or infinite), in 1 of 5 patterns, first in pattern 1" in text
    assert "1 counts are negative, in 1 of 5 patterns, first in pattern 3" in text
    assert "1 of 5 patterns hold no counts at all, only zeros, first in pattern 2" in text and "Problems" in shown(
        found
    )


def test_refused_file_shows_its_arrays_and_the_reason(tmp_path):
    found = inspect(cxi(tmp_path / "a.cxi", instrument_1__detector_1__distance=None))
    assert found.format == "refused" and "missing of the geometry: data.distance" in found.problems[0]
    assert "entry_1/data_1/data" in shown(found) and found.suggested_map == ()
    assert inspect(tmp_path / "a.cxi", {"distance": "2 m"}).geometry["sample to detector"] == "2 m"


def test_unknown_file_gets_a_map(tmp_path):
    np.savez(tmp_path / "a.npz", frames=counts(5), scan=positions(5))
    found = inspect(tmp_path / "a.npz")
    assert found.format == "unknown" and found.suggested_map == ("patterns=frames", "positions=scan")
    assert "adorym convert" in shown(found) and "--map patterns=frames --map positions=scan" in shown(found)
    known = inspect(tmp_path / "a.npz", {"map": found.suggested_map})
    assert known.format == "map of npz" and known.n_patterns == 5
    unknown = inspect(write(tmp_path / "b.h5", {"stack": counts(3)}))
    assert unknown.suggested_map == ("patterns=stack",) and "no reader recognizes" in unknown.problems[0]
    with pytest.raises(DataError, match="no such file"):
        inspect(tmp_path / "none.h5")


def test_rotation_series_and_near_field_are_described(tmp_path):
    path = native(tmp_path / "a.h5", metadata__free_prop_cm=[10.0], exchange__data=counts(6).reshape(3, 2, *WINDOW),
                  metadata__probe_pos_px=positions(2), metadata__theta=[0.0, 1.0, np.pi])  # fmt: skip
    geometry = inspect(path).geometry
    assert geometry["rotation"] == "3 angles, 0 to 180 deg" and "effective distance 0.1 m" in geometry["propagation"]


def test_conversion(tmp_path):
    np.savez(tmp_path / "a.npz", frames=counts(5), scan=positions(5))
    target = tmp_path / "new" / "b.h5"
    dataset = convert(
        tmp_path / "a.npz", target, ["patterns=frames", "positions=scan"], {"energy": 8800.0, "frames": "1:"}
    )
    read = open_dataset(target)
    np.testing.assert_array_equal(read.patterns.read(np.arange(4)), counts(5)[1:])
    np.testing.assert_array_equal(read.probe_positions_px, positions(5)[1:])
    assert read.energy_ev == dataset.energy_ev == 8800
    again = convert(cxi(tmp_path / "c.cxi"), target)
    np.testing.assert_allclose(open_dataset(target).probe_positions_px, again.probe_positions_px)


def test_conversion_refuses(tmp_path):
    path = native(tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(DataError, match="source and target are the same file; name another target"):
        convert(path, tmp_path / "." / "a.h5")
    with pytest.raises(DataError, match="no such file"):
        convert(tmp_path / "none.h5", tmp_path / "b.h5")
    with pytest.raises(ConfigError, match="map.patern: unknown name"):
        convert(path, tmp_path / "b.h5", ["patern=data"])
    assert path.read_bytes() == before and not (tmp_path / "b.h5").exists()


def test_step_and_overlap():
    corners = np.array([[0.0, 0], [0, 3], [4, 3]])
    assert nearest_step_px(corners) == pytest.approx((3 + 3 + 4) / 3)
    assert linear_overlap(3, 10) == pytest.approx(0.7) and linear_overlap(30, 10) == 0
    disc = (np.hypot(*np.mgrid[-20:21, -25:26]) <= 12).astype(complex)
    assert beam_diameter_px(disc[None]) == pytest.approx(24, abs=1)


def opened_elsewhere(path):
    """What a program that knows nothing but CXI finds, each where such programs look; a missing one is a KeyError."""
    with h5py.File(path) as file:
        instrument = file["entry_1/instrument_1"]
        detector = instrument["detector_1"]
        wavelength = np.float32(instrument["source_1/wavelength"])
        assert wavelength == pytest.approx(1.9864459e-25 / np.float32(instrument["source_1/energy"]), rel=1e-4)
        basis = np.array(detector["basis_vectors"]).T
        patterns = np.maximum(file["entry_1/data_1/data"][:], 0)
        on = np.array(detector["mask"]).astype(np.uint32) == 0
        shift = -np.array(file["entry_1/data_1/translation"]).astype(np.float32)  # of the optics
        pitch = np.linalg.norm(basis, axis=0)
        pixel = wavelength * np.float32(detector["distance"]) / (np.array(patterns.shape[1:]) * pitch)
        return patterns, on, (shift @ (basis / pitch)) / pixel, pixel


@pytest.mark.parametrize("known", [{}, {"distance_m": 2.0, "detector_pixel_size_m": (55e-6, 75e-6)}])
def test_convert_writes_cxi_for_other_programs(tmp_path, known):
    mask = np.ones((16, 20), bool)
    mask[3, 5] = False
    data = scan(4).with_(energy_ev=8e3, pixel_size_m=(2e-8, 3e-8), mask=mask, **known)
    write_native(data, tmp_path / "a.h5")
    convert(tmp_path / "a.h5", tmp_path / "a.cxi")
    patterns, on, positions, pixel = opened_elsewhere(tmp_path / "a.cxi")
    np.testing.assert_array_equal(patterns, data.patterns.read(np.arange(16)))
    np.testing.assert_array_equal(on, mask)
    if not known:
        np.testing.assert_allclose(pixel, data.pixel_size_m, rtol=1e-5)
        wanted = data.probe_positions_px - data.probe_positions_px[0]
        np.testing.assert_allclose(positions - positions[0], wanted, atol=1e-4)
    again = open_dataset(tmp_path / "a.cxi")
    assert again.format == "cxi" and again.energy_ev == pytest.approx(8e3)
    np.testing.assert_array_equal(again.mask, mask)
    moved = again.probe_positions_px * np.array(again.pixel_size_m)
    np.testing.assert_allclose(moved - moved[0], (data.probe_positions_px - data.probe_positions_px[0]) * (2e-8, 3e-8))


def test_convert_to_cxi_says_what_it_lacks(tmp_path):
    write_native(scan(3).with_(energy_ev=None, pixel_size_m=None), tmp_path / "a.h5")
    with pytest.raises(DataError, match="lengths in meters; found no data.energy, data.pixel_size; give data.energy"):
        convert(tmp_path / "a.h5", tmp_path / "a.cxi")
    convert(tmp_path / "a.h5", tmp_path / "a.cxi", overrides={"energy": "8 keV", "pixel_size": "20 nm"})
    write_native(scan(3).with_(probe_positions_px=None), tmp_path / "b.h5")
    with pytest.raises(DataError, match="CXI holds the scan of a probe at one angle; write the native layout"):
        convert(tmp_path / "b.h5", tmp_path / "b.cxi")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("fourier_ptychography", "{kind: fourier_ptychography, numerical_aperture: 0.1, led_distance: 80 mm}"),
        ("speckle_tracking", "speckle_tracking"),
    ],
)
def test_arrays_of_a_model_tell_the_technique(tmp_path, name, model):
    write_native(CASES["simulation"][name](tmp_path).run(0), tmp_path / "a.h5")
    found = inspect(tmp_path / "a.h5")
    assert f"forward_model: {model}" in found.configuration and "to be filled in: " not in found.configuration
    assert found.missing[name] == ()
