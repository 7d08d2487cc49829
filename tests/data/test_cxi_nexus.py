"""CXI and NeXus: one experiment, written in the ways that are met, gives one data set."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from data_files import JOULE_PER_EV, WINDOW, counts, cxi, from_corner, translations, write

from adorym.commands.inspect import inspect
from adorym.data.near_field import in_near_field
from adorym.data.open import open_dataset
from adorym.errors import ConfigError, DataError, GeometryError
from adorym.units import wavelength_m

N = 5
PIXEL = tuple(wavelength_m(1e4) * 2.0 / (n * p) for n, p in zip(WINDOW, (55e-6, 75e-6), strict=True))


def from_meters(rows_columns, pixel=PIXEL):
    return from_corner(rows_columns / np.array(pixel))


# The probe moves against the sample, and rows run down (-y), columns against x: two signs that cancel.
POSITIONS = from_meters(translations(N)[:, 1::-1])


def check(dataset, format_name="cxi"):
    assert dataset.format == format_name
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), counts(N))
    np.testing.assert_allclose(dataset.probe_positions_px, POSITIONS, rtol=1e-5, atol=1e-5)
    assert dataset.energy_ev == pytest.approx(1e4, rel=1e-6)
    assert dataset.pixel_size_m == pytest.approx(PIXEL, rel=1e-6)
    assert dataset.distance_m == pytest.approx(2) and dataset.detector_pixel_size_m == pytest.approx((55e-6, 75e-6))


def test_what_was_used_is_noted(tmp_path):
    dataset = open_dataset(cxi(tmp_path / "a.cxi"))
    check(dataset)
    said = "\n".join(dataset.notes)
    for words in ("/entry_1/data_1/data", "motion of the sample, negated", "rows run down", "positions begin at 2 px",
                  "source_1/energy", "wavelength * distance"):  # fmt: skip
        assert words in said


@pytest.mark.parametrize(
    "entries",
    [
        {"data_1__translation": translations(N).T},
        {"data_1__translation": translations(N)[:, :2]},
        {"data_1__translation": translations(N)[:, :2].T},
        {"data_1__translation": None, "sample_1__geometry_1__translation": translations(N)},
        {"data_1__translation": None, "instrument_1__detector_1__translation": translations(N)},
        {"data_1__translation": (translations(N) * 1e6, "um")},
        {"data_1__data": None, "instrument_1__detector_1__data": counts(N)},
        {"data_1__data": None, "image_1__data": counts(N)},
        {"data_1__data": counts(N)[None]},
        {"instrument_1__source_1__energy": 1e4},
        {"instrument_1__source_1__energy": (10.0, "keV")},
        {"instrument_1__source_1__energy": None, "instrument_1__source_1__wavelength": wavelength_m(1e4)},
        {"instrument_1__source_1__energy": 1e-9, "instrument_1__beam_1__energy": 1e4 * JOULE_PER_EV},
        {"instrument_1__source_1__energy": 6e9, "instrument_1__beam_1__incident_beam_energy": (10.0, "keV")},
        {
            "instrument_1__source_1__energy": None,
            "instrument_1__beam_1__incident_wavelength": (wavelength_m(1e4) * 1e10, "angstrom"),
        },
        {"instrument_1__detector_1__distance": None, "instrument_1__detector_1__corner_position": [1e-3, 2e-3, 2.0]},
        {"instrument_1__detector_1__distance": (2000.0, "mm")},
        {
            "instrument_1__detector_1__x_pixel_size": None,
            "instrument_1__detector_1__y_pixel_size": None,
            "instrument_1__detector_1__basis_vectors": [[0, -55e-6, 0], [-75e-6, 0, 0]],
        },
        {"instrument_1__detector_1__basis_vectors": np.transpose([[0, -55e-6, 0], [-75e-6, 0, 0]])},
    ],
)
def test_the_ways_to_write_it(tmp_path, entries):
    check(open_dataset(cxi(tmp_path / "a.cxi", **entries)))


@pytest.mark.parametrize(
    ("slow", "fast", "turned"),
    [
        ((0, 55e-6, 0), (-75e-6, 0, 0), lambda a: np.roll(a[:, ::-1], 1, 1)),  # rows run up
        ((0, -55e-6, 0), (75e-6, 0, 0), lambda a: np.roll(a[..., ::-1], 1, -1)),
        ((-75e-6, 0, 0), (0, -55e-6, 0), lambda a: a.swapaxes(1, 2)),
        ((75e-6, 0, 0), (0, -55e-6, 0), lambda a: np.roll(a.swapaxes(1, 2)[..., ::-1], 1, -1)),
    ],
)
def test_a_detector_with_turned_axes_gives_an_upright_picture(tmp_path, slow, fast, turned):
    """The probe moves against the sample, whatever the detector does: only the patterns are turned."""
    square = counts(N, window=(8, 8))
    entries = {"data_1__data": square, "instrument_1__detector_1__basis_vectors": [slow, fast]}
    entries |= {f"instrument_1__detector_1__{axis}_pixel_size": None for axis in "xy"}
    dataset = open_dataset(cxi(tmp_path / "a.cxi", **entries))
    step = dataset.pixel_size_m
    motion = translations(N)[:, 1::-1]
    np.testing.assert_allclose(dataset.probe_positions_px, from_meters(motion, step), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), turned(square))
    assert dataset.detector_pixel_size_m == pytest.approx((55e-6, 75e-6))
    assert any("axes are turned" in note for note in dataset.notes)


def test_axes_of_a_detector_have_a_length(tmp_path):
    with pytest.raises(DataError, match="basis_vectors: not the axes of a detector"):
        open_dataset(cxi(tmp_path / "b.cxi", instrument_1__detector_1__basis_vectors=np.zeros((2, 3))))


def test_raster_of_four_axes_is_flattened_in_c_order(tmp_path):
    stack, motion = counts(6).reshape(2, 3, *WINDOW), translations(6)
    dataset = open_dataset(cxi(tmp_path / "a.cxi", data_1__data=stack, data_1__translation=motion.reshape(2, 3, 3)))
    np.testing.assert_array_equal(dataset.patterns.read(np.array([4])), stack[1, 1][None])
    assert dataset.probe_positions_px.shape == (6, 2) and dataset.n_angles == 1
    np.testing.assert_allclose(dataset.probe_positions_px, from_meters(motion[:, 1::-1]), rtol=1e-6)


def test_three_positions_are_rows_unless_only_columns_fit(tmp_path):
    square = translations(3)
    dataset = open_dataset(cxi(tmp_path / "a.cxi", n=3, data_1__data=counts(3), data_1__translation=square))
    np.testing.assert_allclose(dataset.probe_positions_px, from_meters(square[:, 1::-1]), rtol=1e-6)


def test_mask_bits(tmp_path):
    mask = np.zeros(WINDOW, np.uint32)
    mask[0, 1], mask[2, 3] = 1, 0x1000  # bad, and merely "has signal"
    dataset = open_dataset(cxi(tmp_path / "a.cxi", instrument_1__detector_1__mask=mask))
    assert not dataset.mask[0, 1] and dataset.mask.sum() == mask.size - 1
    by_pattern = np.broadcast_to(mask, (N, *WINDOW))
    assert open_dataset(cxi(tmp_path / "b.cxi", instrument_1__detector_1__mask=by_pattern)).mask.shape == (N, *WINDOW)
    ones = np.ones(WINDOW, np.uint32) - (mask == 1)
    path = cxi(tmp_path / "c.cxi", instrument_1__detector_1__mask=ones)
    assert any("wrong way round" in note for note in open_dataset(path).notes)
    np.testing.assert_array_equal(open_dataset(path, {"invert_mask": True}).mask, mask != 1)


def test_dark_white_and_probe(tmp_path):
    dark = np.stack([np.full(WINDOW, 1.0), np.full(WINDOW, np.nan)])
    probe = np.ones((2, *WINDOW)) * 1j
    path = cxi(
        tmp_path / "a.cxi",
        data_1__data=counts(N) + 1,
        instrument_1__detector_1__data_dark=dark,
        instrument_1__detector_1__data_white=np.full(WINDOW, 4.0),
        instrument_1__source_1__illumination=probe,
    )
    dataset = open_dataset(path)
    np.testing.assert_allclose(dataset.patterns.read(np.arange(N)), counts(N))
    np.testing.assert_array_equal(dataset.start_probe, probe)


def test_missing_side_of_a_pixel_is_square(tmp_path):
    dataset = open_dataset(cxi(tmp_path / "a.cxi", instrument_1__detector_1__y_pixel_size=None))
    assert dataset.detector_pixel_size_m == (75e-6, 75e-6) and any("taken as square" in note for note in dataset.notes)


@pytest.mark.parametrize("size", [2e-314, 1e300, 0.0, -75e-6, np.nan, np.inf])
def test_a_size_that_cannot_be_is_unknown(tmp_path, size):
    one_side = cxi(tmp_path / "a.cxi", instrument_1__detector_1__x_pixel_size=size)
    assert open_dataset(one_side).detector_pixel_size_m == (55e-6, 55e-6)
    distance = cxi(tmp_path / "b.cxi", instrument_1__detector_1__distance=-size)  # a distance has no sign
    if size > 0 or np.isnan(size):
        with pytest.raises(DataError, match=r"data\.distance"):
            open_dataset(distance)


def test_an_empty_array_of_positions_holds_none(tmp_path):
    path = cxi(tmp_path / "a.cxi", data_1__translation=np.zeros((0, 3)))
    assert open_dataset(path).probe_positions_px is None
    assert "positions" in inspect(path).missing["ptychography"]


def test_unknown_pixel_size_says_what_would_give_it(tmp_path):
    path = cxi(tmp_path / "a.cxi", instrument_1__source_1__energy=None, instrument_1__detector_1__distance=None)
    lacking = "the pixel size of the object is unknown; give data.pixel_size.*: data.energy, data.distance$"
    with pytest.raises(DataError, match=f"positions are in meters and {lacking}"):
        open_dataset(path)
    check(open_dataset(path, {"energy": "10 keV", "distance": "2 m"}))
    given = open_dataset(path, {"pixel_size": (PIXEL[0], PIXEL[1])})
    np.testing.assert_allclose(given.probe_positions_px, POSITIONS, rtol=1e-6, atol=1e-9)


def test_cone_beam_near_field(tmp_path):
    path = cxi(tmp_path / "a.cxi")
    dataset = open_dataset(path, {"source_distance": 0.02, "propagation_distance": "near_field"})
    magnification = 2.02 / 0.02
    assert dataset.pixel_size_m == pytest.approx((55e-6 / magnification, 75e-6 / magnification))
    np.testing.assert_allclose(dataset.propagation_distance_m, [2 / magnification])
    far = open_dataset(path, {"source_distance": 0.02})
    assert far.pixel_size_m == pytest.approx(PIXEL, rel=1e-6)
    again = in_near_field(far)
    assert again.pixel_size_m == pytest.approx(dataset.pixel_size_m)
    np.testing.assert_allclose(again.propagation_distance_m, dataset.propagation_distance_m)
    np.testing.assert_allclose(again.probe_positions_px, dataset.probe_positions_px, rtol=1e-6)
    assert not any("wavelength * distance" in note for note in again.notes)
    given = in_near_field(open_dataset(path, {"source_distance": 0.02, "pixel_size": 1e-7}))
    assert given.pixel_size_m == (1e-7, 1e-7)
    np.testing.assert_array_equal(given.probe_positions_px, open_dataset(path, {"pixel_size": 1e-7}).probe_positions_px)
    path = cxi(tmp_path / "b.cxi", instrument_1__detector_1__distance=None)
    with pytest.raises(GeometryError, match="data.distance"):
        open_dataset(path, {"propagation_distance": "near_field"})


def test_entries_are_chosen(tmp_path):
    path = cxi(tmp_path / "a.cxi")
    with h5py.File(path, "r+") as file:
        file.copy("entry_1", "entry_2")
        file["entry_2/data_1/data"][...] += 1
        file["entry_last"] = h5py.SoftLink("/entry_2")
    check(open_dataset(path))
    second = open_dataset(path, {"entry": "entry_2"})
    np.testing.assert_array_equal(second.patterns.read(np.array([0])), counts(N)[:1] + 1)
    with pytest.raises(DataError, match="no entry 'entry_3'; did you mean 'entry_"):
        open_dataset(path, {"entry": "entry_3"})


def test_wrong_trees(tmp_path):
    with pytest.raises(DataError, match=r"entry_1: no patterns; expected one of data_1/data.*--map patterns"):
        open_dataset(cxi(tmp_path / "a.cxi", data_1__data=None))
    with pytest.raises(DataError, match="translation: positions have the wrong shape"):
        open_dataset(cxi(tmp_path / "b.cxi", data_1__translation=np.zeros((N, 4))))
    with pytest.raises(
        DataError, match="differs from the number of patterns: one position too few; expected 5 positions; found 4"
    ):
        open_dataset(cxi(tmp_path / "c.cxi", data_1__translation=translations(4)))
    with pytest.raises(DataError, match="no entry; expected a group 'entry_1'"):
        open_dataset(write(tmp_path / "d.cxi", {"cxi_version": 150}), {"format": "cxi"})
    with pytest.raises(ConfigError, match="data.format: no reader named 'cxy'; did you mean 'cxi'"):
        open_dataset(cxi(tmp_path / "e.cxi"), {"format": "cxy"})


def test_cxi_without_version_is_recognized(tmp_path):
    path = cxi(tmp_path / "a.cxi")
    with h5py.File(path, "r+") as file:
        del file["cxi_version"]
    check(open_dataset(path))


def nexus(path, **entries):
    """NXcxi_ptycho with groups named by class only, millimeters and kiloelectronvolt."""
    content = {
        "scan/definition": "NXcxi_ptycho",
        "scan/line/eiger/data": counts(N),
        "scan/line/eiger/distance": (2000.0, "mm"),
        "scan/line/eiger/x_pixel_size": (75.0, "um"),
        "scan/line/eiger/y_pixel_size": (55.0, "um"),
        "scan/line/eiger/translation": (translations(N) * 1e3, "mm"),
        "scan/instrument_1/beam_1/incident_beam_energy": (10.0, "keV"),
        "scan/instrument_1/source_1/energy": (3.0, "GeV"),
    }
    content |= {f"scan/{name.replace('__', '/')}": value for name, value in entries.items()}
    content = {name: value for name, value in content.items() if value is not None}
    classes = {"scan": {"NX_class": "NXentry"}, "scan__line__eiger": {"NX_class": "NXdetector"}}
    return write(path, content, **classes)


def test_nexus_finds_groups_by_class_and_honors_units(tmp_path):
    check(open_dataset(nexus(tmp_path / "a.nxs")), "nexus")
    check(open_dataset(nexus(tmp_path / "b.nxs", definition="NXptycho")), "nexus")
    check(open_dataset(nexus(tmp_path / "c.nxs", definition=None)), "nexus")


@pytest.mark.parametrize("shape", [(N,), (N, 1, 1)])
def test_nexus_motors_a_pattern(tmp_path, shape):
    motion = translations(N)
    path = nexus(
        tmp_path / "a.nxs",
        line__eiger__translation=None,
        sample_1__transformations__x=(1e3 * motion[:, 0].reshape(shape), "mm"),
        sample_1__transformations__y=(1e6 * motion[:, 1].reshape(shape), "um"),
    )
    check(open_dataset(path), "nexus")


def test_nexus_raster_of_two_motors_and_their_direction(tmp_path):
    y, x = np.array([0.0, 1e-6]), np.array([0.0, 2e-6, 4e-6])
    path = nexus(
        tmp_path / "a.nxs",
        line__eiger__data=counts(6).reshape(2, 3, *WINDOW),
        line__eiger__translation=None,
        data_1__y=(y, "m"),
        data_1__x=(x, "m"),
    )
    expected = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_allclose(open_dataset(path).probe_positions_px, from_meters(expected), rtol=1e-6)
    with h5py.File(path, "r+") as file:
        file["scan/data_1/x"].attrs["vector"] = [-1.0, 0, 0]
    np.testing.assert_allclose(open_dataset(path).probe_positions_px, from_meters(expected * [1, -1]), rtol=1e-6)
    with h5py.File(path, "r+") as file:
        del file["scan/data_1/x"]
        file["scan/data_1/x"] = np.zeros(4)
    with pytest.raises(
        DataError, match="motor positions fit neither a list nor a raster; expected 6 of each.*2 along y, 4 along x"
    ):
        open_dataset(path)


def test_a_wavelength_of_nothing_is_passed_over(tmp_path):
    entries = {"instrument_1__source_1__energy": None, "instrument_1__source_1__wavelength": 0.0}
    dataset = open_dataset(cxi(tmp_path / "a.cxi", **entries), {"pixel_size": 1e-8})
    assert dataset.energy_ev is None and any("not a photon energy, passed over" in note for note in dataset.notes)


def test_machine_energy_alone_is_no_photon_energy(tmp_path):
    path = nexus(tmp_path / "a.nxs", instrument_1__beam_1__incident_beam_energy=None)
    dataset = open_dataset(path, {"pixel_size": 1e-8})
    assert dataset.energy_ev is None and any("not a photon energy" in note for note in dataset.notes)


def nxcxi_ptycho(path, *, listed=True):
    """Every group that the published definition has, by name and class: a raster of 2 x 3 with links and motors."""
    stack, motion = counts(6).reshape(2, 3, *WINDOW), translations(6)
    classes = {"": "NXroot", "entry_1": "NXentry", "entry_1/instrument_1": "NXinstrument",
               "entry_1/instrument_1/source_1": "NXsource", "entry_1/instrument_1/beam_1": "NXbeam",
               "entry_1/instrument_1/detector_1": "NXdetector", "entry_1/instrument_1/monitor": "NXmonitor",
               "entry_1/instrument_1/detector_1/transformations": "NXtransformations", "entry_1/data": "NXdata",
               "entry_1/data_1": "NXcollection", "entry_1/sample_1": "NXsample",
               "entry_1/sample_1/transformations": "NXtransformations",
               "entry_1/sample_1/geometry_1": "NXgeometry"}  # fmt: skip
    with h5py.File(path, "w") as file:
        for group, name in classes.items():
            (file.require_group(group) if group else file).attrs["NX_class"] = name
        file.attrs["default"], file["entry_1"].attrs["default"] = "entry_1", "data"
        entry = file["entry_1"]
        entry["definition"], entry["title"], entry["start_time"] = "NXcxi_ptycho", "a scan", "2026-05-04T10:00:00"
        numbers = {"source_1/energy": (3.0, "GeV"), "beam_1/energy": (10.0, "keV"), "beam_1/extent": (10.0, "um"),
                   "beam_1/incident_beam_divergence": (1e-4, "rad"), "detector_1/distance": (2000.0, "mm"),
                   "detector_1/x_pixel_size": (75.0, "um"), "detector_1/y_pixel_size": (55.0, "um"),
                   "detector_1/beam_center_x": (300.0, "um"), "detector_1/beam_center_y": (165.0, "um"),
                   "monitor/data": (np.full((2, 3), 1e6), "counts")}  # fmt: skip
        for name, (value, unit) in numbers.items():
            entry[f"instrument_1/{name}"] = value
            entry[f"instrument_1/{name}"].attrs["units"] = unit
        entry["instrument_1/source_1/name"], entry["instrument_1/source_1/probe"] = "ring", "x-ray"
        detector = entry["instrument_1/detector_1"]
        detector.attrs["axes"], detector.attrs["signal"] = np.array(["translation", "x", "y"], "S"), "data"
        detector["data"] = stack
        detector["data"].attrs.update({"interpretation": "image", "signal": 1})
        entry["sample_1/name"] = "star"
        for axis, vector in (("x", [1, 0, 0]), ("y", [0, 1, 0])):
            motor = entry.create_dataset(f"sample_1/transformations/{axis}", data=motion[:, "xy".index(axis)] * 1e3)
            motor.attrs.update({"units": "mm", "vector": vector, "transformation_type": "translation"})
            entry[f"data/{axis}"] = motor[()].reshape(2, 3)
            entry[f"data/{axis}"].attrs["units"] = "mm"
            entry["data"].attrs[f"{axis}_indices"] = [0, 1]
        entry["data"].attrs["signal"], entry["data"].attrs["axes"] = "data", ["y", "x", ".", "."]
        for link in ("data/data", "data_1/data"):
            entry[link] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        if listed:
            detector["translation"] = motion
            detector["translation"].attrs.update({"units": "m", "axes": "translation:y:x", "interpretation": "image"})
            for link in ("data_1/translation", "sample_1/geometry_1/translation"):
                entry[link] = h5py.SoftLink("/entry_1/instrument_1/detector_1/translation")
    return path


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("lacking", [(), ("sample_1/transformations",), ("data_1",), ("instrument_1/source_1",)])
def test_the_published_layout_of_nxcxi_ptycho(tmp_path, listed, lacking):
    path = nxcxi_ptycho(tmp_path / "a.nxs", listed=listed)
    with h5py.File(path, "a") as file:
        for name in lacking:
            del file["entry_1"][name]
    dataset = open_dataset(path)
    assert dataset.format == "nexus" and dataset.start_probe is None
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(6)), counts(6))
    np.testing.assert_allclose(dataset.probe_positions_px, from_meters(translations(6)[:, 1::-1]), rtol=1e-5, atol=1e-5)
    assert dataset.energy_ev == pytest.approx(1e4) and dataset.distance_m == pytest.approx(2)
    assert dataset.detector_pixel_size_m == pytest.approx((55e-6, 75e-6))
