"""Full-field projections as they are measured: angles, flats, air, holes, zingers, clipped counts, NXtomo."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile

from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.judgements import judge
from adorym.data.line_integrals import filled, line_integrals
from adorym.data.open import open_dataset
from adorym.errors import ConfigError, DataError, GeometryError
from adorym.forward.tomography import TomogramSettings, Tomography

N, ROWS, WIDTH, BEAM = 24, 3, 40, 2e4
THETA = np.linspace(0, 180, N)
SETTINGS = {"object": TomogramSettings()}


def counts(beam=1.0):
    """Two rods that turn, in air."""
    x, angle = np.arange(WIDTH) - (WIDTH - 1) / 2, np.deg2rad(THETA)[:, None]
    rods = sum(d * np.sqrt(np.maximum(r**2 - (x - a * np.cos(angle) - b * np.sin(angle)) ** 2, 0))
               for d, a, b, r in ((0.08, 2.0, -3.0, 8.0), (0.1, -5.0, 4.0, 3.0)))  # fmt: skip
    exact = np.repeat((np.ravel(beam)[:, None] * BEAM * np.exp(-rods))[:, None], ROWS, axis=1)
    return np.random.default_rng(0).poisson(exact).astype(float)


def flats(k=9):
    return np.random.default_rng(1).poisson(BEAM, (k, ROWS, WIDTH)).astype(float)


def write(path, data=None, theta=THETA, white=None, units="degrees"):
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts() if data is None else data
        file["exchange/data_white"] = flats() if white is None else white
        if theta is not None:
            file["exchange/theta"] = theta
            if units:
                file["exchange/theta"].attrs["units"] = units
    return path


def transmission(dataset):
    return dataset.patterns.read(np.arange(dataset.n_patterns)) / dataset.open_beam_counts


# -- angles ------------------------------------------------------------------------------------------------------------
def test_radians_without_a_unit_are_noticed(tmp_path):
    dataset = open_dataset(write(tmp_path / "a.h5", theta=np.deg2rad(THETA), units=None))
    np.testing.assert_allclose(dataset.theta_rad, np.deg2rad(THETA))
    assert "taken as radians" in dataset.doubts[0] and dataset.doubts[0] in judge(dataset).hints
    kept = open_dataset(tmp_path / "a.h5", {"theta_unit": "deg"})
    np.testing.assert_allclose(kept.theta_rad, np.deg2rad(np.deg2rad(THETA)))
    assert not kept.doubts and not open_dataset(write(tmp_path / "b.h5", units=None)).doubts


def test_an_angle_that_is_no_number_is_named_and_can_be_left_out(tmp_path):
    theta = np.where(np.arange(N) == 5, np.nan, THETA)
    with pytest.raises(DataError, match=r"rotation angle 5 is not a finite number.*data.angles: 0:5,6:24"):
        open_dataset(write(tmp_path / "a.h5", theta=theta))
    for choice in ({"angles": "0:5,6:24"}, {"frames": "0:5,6:24"}):
        assert open_dataset(tmp_path / "a.h5", choice).n_patterns == N - 1


def test_missing_angles_are_asked_for(tmp_path):
    dataset = open_dataset(write(tmp_path / "a.h5", theta=None))
    with pytest.raises(DataError, match=r"several rotation angles.*data.theta_range"):
        Tomography().bind(dataset, SETTINGS)
    given = open_dataset(tmp_path / "a.h5", {"theta_range": (0.0, np.pi)})
    np.testing.assert_allclose(given.theta_rad, np.deg2rad(THETA))
    with pytest.raises(DataError, match="cover 28.65 turns.*data.theta_unit"):
        open_dataset(tmp_path / "a.h5", {"theta_range": (0.0, 180.0)})
    with pytest.raises(DataError, match="the number of rotation angles does not fit; expected 24; found 3"):
        open_dataset(tmp_path / "a.h5", {"theta": (0.0, 1.0, 2.0)})


def test_a_whole_turn_taken_for_half_of_one_is_noticed(tmp_path):
    turn = np.concatenate([counts()[::2], counts()[::2, :, ::-1]])
    turn[-1] = counts()[0]
    dataset = open_dataset(write(tmp_path / "a.h5", data=turn, theta=np.linspace(0, 180, N)))
    assert any("is it a whole turn?" in hint for hint in judge(dataset).hints)
    assert not any("is it a whole turn?" in hint for hint in judge(open_dataset(write(tmp_path / "b.h5"))).hints)


# -- flat fields and the beam ------------------------------------------------------------------------------------------
def test_flats_without_beam_and_zingers_are_left_out(tmp_path):
    white = flats()
    white[3], white[7], white[4, :, 30] = 0, 0.02 * white[7], 2e6
    dataset = open_dataset(write(tmp_path / "a.h5", white=white))
    good = open_dataset(write(tmp_path / "b.h5", white=flats()))
    np.testing.assert_allclose(transmission(dataset), transmission(good), rtol=0.02, atol=0.02)
    assert any("2 of 9 left out, unlike the others: number 3, 7" in note for note in dataset.notes)
    assert any("values that fall out replaced, in number 4" in note for note in dataset.notes)


def test_air_and_monitor_steady_the_beam(tmp_path):
    beam = np.linspace(1, 0.6, N)
    path, steady = write(tmp_path / "a.h5", data=counts(beam)), counts() / BEAM
    assert any("data.air" in hint and "intensity_scale" in hint for hint in judge(open_dataset(path)).hints)
    np.save(tmp_path / "monitor.npy", beam)
    for choice in ({"air": "auto"}, {"air": (0, 3, 0, 4)}):
        np.testing.assert_allclose(transmission(open_dataset(path, choice)), steady, atol=0.05)
        assert not any(hint.startswith("beam") for hint in judge(open_dataset(path, choice)).hints)
    monitored = transmission(open_dataset(path, {"monitor": tmp_path / "monitor.npy"}))
    np.testing.assert_allclose(monitored / 0.8, steady, atol=0.05)
    with pytest.raises(ConfigError, match="data.monitor: has no effect beside 'data.air'"):
        open_dataset(path, {"air": "auto", "monitor": beam})
    with pytest.raises(DataError, match="not the readings of a monitor"):
        open_dataset(path, {"monitor": beam[:5]})
    with pytest.raises(ConfigError, match="data.air: no region of the detector"):
        open_dataset(path, {"air": (0, 3, 0, 99)})


# -- pixels ------------------------------------------------------------------------------------------------------------
def test_holes_are_interpolated_and_not_vacuum():
    values = np.add.outer(np.zeros((2, 3)), np.arange(8.0))
    good = np.ones(values.shape, bool)
    good[0, 0, 3], good[0, 1], good[:, 2, 0], good[1] = False, False, False, False
    broken = np.where(good, values, np.nan)
    np.testing.assert_allclose(filled(broken, good)[0, :2, 1:], values[0, :2, 1:])
    np.testing.assert_allclose(filled(broken, good)[1], filled(broken, good)[0])
    assert filled(broken, good)[0, 2, 0] == values[0, 2, 1]
    dataset = Dataset(
        ArrayPatterns(counts()), open_beam_counts=BEAM, mask=np.arange(WIDTH)[None] != np.full((ROWS, 1), 20)
    )
    whole = Dataset(ArrayPatterns(counts()), open_beam_counts=BEAM)
    np.testing.assert_allclose(line_integrals(dataset), line_integrals(whole), atol=0.08)


def test_zingers_are_said_and_removed(tmp_path):
    hit, rng = counts(), np.random.default_rng(2)
    hit.ravel()[rng.integers(0, hit.size, 12)] = 6e4
    dataset = open_dataset(write(tmp_path / "a.h5", data=hit))
    assert any("zingers" in hint and "huber" in hint for hint in judge(dataset).hints)
    cleaned = open_dataset(tmp_path / "a.h5", {"zingers": 0.2})
    np.testing.assert_allclose(transmission(cleaned), counts() / BEAM, atol=0.1)
    assert not any("zingers" in hint for hint in judge(cleaned).hints)
    assert not any("zingers" in hint for hint in judge(open_dataset(write(tmp_path / "b.h5"))).hints)


def test_clipped_counts_are_said(tmp_path):
    data, white = (np.minimum(3.5 * each, 65535).astype(np.uint16) for each in (counts(), flats()))
    dataset = open_dataset(write(tmp_path / "a.h5", data=data, white=white))
    assert any("65535" in doubt and "saturated" in doubt for doubt in dataset.doubts)
    assert not open_dataset(write(tmp_path / "b.h5")).doubts


# -- files -------------------------------------------------------------------------------------------------------------
def test_rows_and_sinograms(tmp_path):
    whole = transmission(open_dataset(write(tmp_path / "a.h5")))
    some = open_dataset(tmp_path / "a.h5", {"rows": "1:3"})
    assert some.window_px == (2, WIDTH)
    np.testing.assert_allclose(transmission(some), whole[:, 1:3], rtol=2e-3)
    with pytest.raises(ConfigError, match="data.rows: the rows must lie side by side"):
        open_dataset(tmp_path / "a.h5", {"rows": "::2"})
    turned = write(tmp_path / "b.h5", data=np.swapaxes(counts(), 0, 1))
    np.testing.assert_allclose(transmission(open_dataset(turned, {"sinograms": True})), whole, rtol=1e-6)
    tifffile.imwrite(tmp_path / "one.tif", counts()[:, 1].astype(np.float32))
    wanted = {"sinograms": True, "theta_range": (0.0, np.pi), "white": flats()[:, 1]}
    single = open_dataset(tmp_path / "one.tif", wanted)
    assert single.n_angles == N and single.window_px == (1, WIDTH)
    np.testing.assert_allclose(transmission(single)[:, 0], whole[:, 1], rtol=2e-3)


def test_series_stack_and_nxtomo_are_the_same_data(tmp_path):
    wanted = transmission(open_dataset(write(tmp_path / "a.h5")))
    for i, picture in enumerate(counts()):
        tifffile.imwrite(tmp_path / f"proj_{i}.tif", picture.astype(np.uint16))
    tifffile.imwrite(tmp_path / "flats.tif", flats().astype(np.uint16), photometric="minisblack")
    np.savetxt(tmp_path / "angles.txt", THETA)
    np.save(tmp_path / "stack.npy", counts())
    fields = {"white": str(tmp_path / "flats.tif"), "theta": tmp_path / "angles.txt"}
    for path in ("proj_*.tif", "stack.npy"):
        dataset = open_dataset(tmp_path / path, fields)
        np.testing.assert_allclose(dataset.theta_rad, np.deg2rad(THETA))
        np.testing.assert_allclose(transmission(dataset), wanted, rtol=1e-6)
    dataset = open_dataset(nxtomo(tmp_path / "a.nxs", flats()), {"white_fields": "mean"})
    np.testing.assert_allclose(transmission(dataset), wanted, rtol=1e-6)


def nxtomo(path, white):
    """Flats before and after, a dark field of 0, an invalid picture, links in NXdata; angles in degrees."""
    stack = np.concatenate([np.zeros((2, ROWS, WIDTH)), white[:5], counts(), np.ones((1, ROWS, WIDTH)), white[5:]])
    with h5py.File(path, "w") as file:
        entry = file.create_group("scan")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        entry["instrument/detector/data"] = stack
        entry["instrument/detector/image_key"] = np.repeat([2, 1, 0, 3, 1], [2, 5, N, 1, len(white) - 5])
        entry["instrument/detector/x_pixel_size"] = 2.0
        entry["instrument/detector/x_pixel_size"].attrs["units"] = "um"
        entry["instrument/detector/distance"] = 0.1
        entry["instrument/beam/incident_energy"] = 20.0
        entry["instrument/beam/incident_energy"].attrs["units"] = "keV"
        entry["angles"] = np.concatenate([np.zeros(7), THETA, np.full(len(white) - 4, 180.0)])
        entry["sample/rotation_angle"] = h5py.SoftLink("/scan/angles")
    return path


def test_nxtomo_says_what_it_is(tmp_path):
    white = flats() * np.where(np.arange(9) < 5, 1.0, 0.8)[:, None, None]
    dataset = open_dataset(nxtomo(tmp_path / "a.nxs", white))
    assert dataset.format == "nxtomo" and dataset.n_patterns == N and dataset.energy_ev == 20e3
    assert dataset.detector_pixel_size_m == (2e-6, 2e-6) and dataset.pixel_size_m is None
    assert any("flat fields of 2 moments" in note for note in dataset.notes)
    bound = Tomography(center="middle").bind(dataset, SETTINGS)
    assert bound.dataset.pixel_size_m == (2e-6, 2e-6)
    with h5py.File(tmp_path / "a.nxs", "a") as file:
        file["scan/instrument/detector/image_key"][...] = 1
    with pytest.raises(DataError, match="no projections; expected image_key 0; found 1"):
        open_dataset(tmp_path / "a.nxs")


# -- geometry ----------------------------------------------------------------------------------------------------------
def test_cone_beam_is_refused_or_said(tmp_path, caplog):
    lengths = {"detector_pixel_size": 50e-6, "distance": 0.3}
    near = open_dataset(write(tmp_path / "a.h5"), lengths | {"source_distance": 0.1, "energy": 3e4})
    bound = Tomography(center="middle").bind(near, SETTINGS)
    assert bound.dataset.pixel_size_m == pytest.approx((12.5e-6, 12.5e-6))
    assert "a cone beam with a magnification of 4 is taken as parallel" in caplog.text
    wide = open_dataset(
        tmp_path / "a.h5", lengths | {"source_distance": 0.01, "energy": 3e4, "detector_pixel_size": 1e-3}
    )
    with pytest.raises(GeometryError, match=r"a cone beam of magnification 31"):
        Tomography(center="middle").bind(wide, SETTINGS)


def test_width_of_the_volume():
    dataset = Dataset(
        ArrayPatterns(counts()), theta_rad=np.deg2rad(THETA), angle_index=np.arange(N), open_beam_counts=BEAM
    )
    bound = Tomography(center="middle").bind(dataset, {"object": TomogramSettings(width=WIDTH + 6)})
    assert bound.shape == (ROWS, WIDTH + 6, WIDTH + 6) and bound.origin_px == (0, 3)
    with pytest.raises(ConfigError, match="parameters.object.width: .* an even number"):
        Tomography(center="middle").bind(dataset, {"object": TomogramSettings(width=WIDTH + 5)})
