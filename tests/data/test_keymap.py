"""Maps of unknown files: the same arrays in every container and every convention give the same data set."""

from __future__ import annotations

import bz2
import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from data_files import WINDOW, counts, from_corner, positions, write

from adorym.data.containers import open_container
from adorym.data.fetch import SIEMENS_STAR, SIEMENS_STAR_MAP, siemens_star_path
from adorym.data.keymap import KeyMap
from adorym.data.native_write import write_native
from adorym.data.open import open_dataset
from adorym.data.patterns import Hdf5Patterns
from adorym.data.suggest import suggest_map
from adorym.errors import ConfigError, DataError

N = 5
ARRAYS = {"data": counts(N), "scan": positions(N), "probe": np.ones((1, 1, *WINDOW), np.complex64)}
MAP = ["patterns=data", "positions=scan", "probe=probe", "energy=8.8 keV", "pixel_size=10 nm"]
TEST_DATA = Path(os.environ.get("ADORYM_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def npz(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def stored(folder, kind, arrays=ARRAYS):
    path = folder / f"set.{kind}"
    if kind == "h5":
        return write(path, arrays)
    if kind == "mat":
        scipy.io.savemat(path, arrays)
        return path
    pack = {"npz": bytes, "npz.bz2": bz2.compress, "npz.gz": gzip.compress}[kind]
    path.write_bytes(pack(npz(arrays)))
    return path


@pytest.mark.parametrize("kind", ["h5", "mat", "npz", "npz.bz2", "npz.gz"])
def test_every_container(tmp_path, kind):
    path = stored(tmp_path, kind)
    dataset = open_dataset(path, {"map": MAP})
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), counts(N))
    np.testing.assert_array_equal(dataset.probe_positions_px, positions(N))
    assert dataset.start_probe.shape == (1, *WINDOW)
    assert dataset.energy_ev == pytest.approx(8800) and dataset.pixel_size_m == pytest.approx((1e-8, 1e-8))
    assert "patterns=data" in dataset.notes[0]


def test_pictures_alone(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", counts(N))
    np.save(tmp_path / "a.npy", counts(N))
    for name in ("a.tif", "a.npy"):
        dataset = KeyMap.parse(["patterns=data"]).read(tmp_path / name)
        np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), counts(N))
        assert dataset.probe_positions_px is None


def test_hdf5_patterns_stay_in_the_file(tmp_path):
    path = stored(tmp_path, "h5", {"data": counts(N)[None, :, None]})
    patterns = KeyMap.parse(["patterns=/data"]).read(path).patterns
    assert isinstance(patterns, Hdf5Patterns) and patterns.shape == (N, *WINDOW)


@pytest.mark.parametrize(
    ("arrays", "entries"),
    [
        ({"data": np.fft.ifftshift(counts(N), axes=(-2, -1))}, ["zero_frequency=corner"]),
        ({"data": np.swapaxes(counts(N), -2, -1)}, ["transpose=true"]),
        ({"data": np.moveaxis(counts(N), 0, -1)}, ["frame_axis=last"]),
        ({"data": np.roll(counts(N)[:, ::-1], 1, 1)}, ["flip_y=yes"]),
        ({"data": np.roll(counts(N)[..., ::-1], 1, -1)}, ["flip_x=1"]),
        ({"data": counts(N)[None, None]}, []),
        ({"scan": positions(N)[:, ::-1]}, ["positions_order=xy"]),
        ({"scan": np.c_[positions(N)[:, ::-1], np.zeros(N)]}, ["positions_order=xy"]),
        ({"scan": positions(N).T}, []),
        ({"scan": positions(N)[None]}, []),
        ({"scan": -positions(N)}, ["positions_sign=-"]),
        ({"rows": positions(N)[:, 0], "columns": positions(N)[None, :, 1]}, ["positions=rows,columns"]),
    ],
)
def test_every_convention(tmp_path, arrays, entries):
    path = stored(tmp_path, "npz", ARRAYS | arrays)
    given = [entry for entry in MAP if entry.partition("=")[0] not in [e.partition("=")[0] for e in entries]]
    dataset = open_dataset(path, {"map": given + entries})
    np.testing.assert_array_equal(dataset.patterns.read(np.arange(N)), counts(N))
    np.testing.assert_array_equal(dataset.probe_positions_px, positions(N))


@pytest.mark.parametrize(("unit", "scale"), [("m", 1.0), ("mm", 1e3), ("um", 1e6), ("nm", 1e9)])
def test_positions_in_metres_begin_at_two_pixels(tmp_path, unit, scale):
    path = stored(tmp_path, "npz", ARRAYS | {"scan": positions(N) * 1e-8 * scale})
    dataset = open_dataset(path, {"map": [*MAP, f"positions_unit={unit}"]})
    np.testing.assert_allclose(dataset.probe_positions_px, from_corner(positions(N)), atol=1e-9)


def test_quantities_are_literals_arrays_or_arrays_with_a_unit(tmp_path):
    path = write(
        tmp_path / "a.h5",
        {"data": counts(N), "e": 8.8, "det": ([55.0, 75.0], "um"), "z": 2.0, "turn": [[0.0]], "far": [[0.1, 0.2]]},
    )
    entries = ["patterns=data", "energy=e keV", "detector_pixel_size=/det", "distance=z", "theta=turn deg",
               "source_distance=3 cm", "propagation_distance=far", "pixel_size=1 nm"]  # fmt: skip
    dataset = KeyMap.parse(entries).read(path)
    assert dataset.energy_ev == pytest.approx(8800) and dataset.distance_m == 2 and dataset.source_distance_m == 0.03
    assert dataset.detector_pixel_size_m == pytest.approx((55e-6, 75e-6))
    np.testing.assert_allclose(dataset.propagation_distance_m, [0.1, 0.2])
    assert "distance: 'z' has no unit, taken as m" in dataset.notes
    assert KeyMap.parse(entries).read(path, None).format == "map of hdf5"


def test_mask_dark_white_and_angles(tmp_path):
    mask = np.zeros(WINDOW)
    mask[1, 1] = 1
    arrays = {
        "data": counts(6).reshape(3, 2, *WINDOW) + 1,
        "mask": mask,
        "dark": np.ones((4, *WINDOW)),
        "white": np.full(WINDOW, 3.0),
        "theta": [0.0, 1.0, 2.0],
    }
    entries = [f"{name}={name}" for name in ("mask", "dark", "white", "theta")]
    dataset = KeyMap.parse(["patterns=data", "mask_good=0", *entries]).read(stored(tmp_path, "npz", arrays))
    np.testing.assert_array_equal(dataset.mask, mask == 0)
    np.testing.assert_array_equal(dataset.angle_index, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(dataset.patterns.read(np.arange(6)), counts(6), rtol=1e-6)
    with pytest.raises(
        DataError, match="the patterns do not divide among the rotation angles; expected a divisor of 5"
    ):
        KeyMap.parse(["patterns=data", "theta=theta"]).read(stored(tmp_path, "npz", arrays | {"data": counts(5)}))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["data"], "map: not an entry of a map; expected name=value; found 'data'"),
        (["pattern=data"], "map.pattern: unknown name; did you mean 'patterns'"),
        (["patterns=a", "patterns=b"], "map.patterns: given twice; found 'a' and 'b'"),
        (["positions=scan"], "map.patterns: missing; name the array of patterns"),
        (["patterns="], "map.patterns: missing"),
        (
            ["patterns=data", "positions_unit=ft"],
            "map.positions_unit: .*'px', 'm', 'mm', 'um', 'nm', 'pm' or 'angstrom'.*found 'ft'",
        ),
        (["patterns=data", "energy=high"], "map.energy: neither an array of the file nor a quantity; .*found 'high'"),
        (["patterns=data", "energy=8.8"], "map.energy: neither an array.*a quantity with a unit"),
    ],
)
def test_wrong_maps(tmp_path, entries, message):
    with pytest.raises(ConfigError, match=message):
        KeyMap.parse(entries).read(stored(tmp_path, "npz"))


@pytest.mark.parametrize(
    ("entries", "arrays", "message"),
    [
        (["patterns=dota"], {}, "no array 'dota'; did you mean 'data'"),
        (["patterns=probe"], {}, "probe: patterns are not real numbers; found complex64"),
        (["patterns=data"], {"data": np.zeros(3)}, "data: patterns have the wrong shape"),
        (["patterns=data", "positions=scan"], {"scan": np.zeros((N, 4))}, "scan: positions have the wrong shape"),
        (
            ["patterns=data", "positions=scan"],
            {"scan": np.zeros((N, 3))},
            "three entries and no order; .*positions_order=xy",
        ),
        (["patterns=data", "positions=scan"], {"scan": np.zeros((N - 1, 2))}, "expected 5 positions; found 4"),
        (["patterns=data", "positions=a,b"], {"a": np.zeros(3), "b": np.zeros(4)}, "rows and columns differ in number"),
        (["patterns=data", "probe=scan", "energy=scan nm"], {}, "cannot|unit"),
        (["patterns=data", "probe=one"], {"one": np.ones(3)}, "one: not a probe"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, entries, arrays, message):
    with pytest.raises(DataError, match=message):
        KeyMap.parse(entries).read(stored(tmp_path, "npz", ARRAYS | arrays))


def test_unknown_and_damaged_containers(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"hello world")
    with pytest.raises(
        DataError, match=r"a\.dat: unknown kind of file; expected HDF5, npz.*found a file that starts with b'hello"
    ):
        open_container(tmp_path / "a.dat")
    for kind in ("npz", "npz.bz2", "npz.gz"):
        path = stored(tmp_path, kind)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match="the file is damaged.*copy it again"):
            open_container(path)


def test_a_first_guess_of_the_map(tmp_path):
    corner = np.zeros((N, *WINDOW), np.float32)
    corner[:, 0, 0] = 9
    arrays = ARRAYS | {"data": corner, "mask": np.ones(WINDOW, bool), "energy": 8.8, "extra_xy": np.zeros((N, 2))}
    found = suggest_map(open_container(stored(tmp_path, "h5", arrays)))
    assert found == [
        "patterns=data",
        "positions=scan",
        "probe=probe",
        "mask=mask",
        "energy=energy keV",
        "zero_frequency=corner",
    ]
    KeyMap.parse(found).read(tmp_path / "set.h5")
    motors = {"data": counts(N), "stage/motor_x": np.zeros(N), "stage/motor_y": np.zeros(N)}
    (tmp_path / "set.h5").unlink()
    assert suggest_map(open_container(stored(tmp_path, "h5", motors)))[1:] == ["positions=stage/motor_y,stage/motor_x"]
    assert suggest_map(open_container(write(tmp_path / "b.h5", {"text": "words", "line": np.zeros(3)}))) == []


def test_siemens_star_keeps_its_positions_and_centers_its_patterns(tmp_path):
    if not any(TEST_DATA.rglob(SIEMENS_STAR)):
        pytest.skip(f"no {SIEMENS_STAR} under {TEST_DATA}; set ADORYM_TEST_DATA")
    container = open_container(siemens_star_path(TEST_DATA))
    native = open_dataset(write_native(KeyMap.parse(SIEMENS_STAR_MAP).read(container), tmp_path / "star.h5"))
    np.testing.assert_array_equal(native.probe_positions_px, container.read("scan")[0])
    assert native.patterns.shape == (516, 128, 128) and native.start_probe.shape == (1, 128, 128)
    raw = container.read("data")[0, :3]
    np.testing.assert_array_equal(native.patterns.read(np.arange(3)), np.fft.fftshift(raw, axes=(-2, -1)))
    assert sorted(suggest_map(container)) == sorted(SIEMENS_STAR_MAP)


def test_fetching_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    import pooch

    def refused(url, **_):
        raise OSError("network is unreachable")

    monkeypatch.setattr(pooch, "retrieve", refused)
    monkeypatch.setenv("ADORYM_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"neither found nor fetched.*network is unreachable; download it.*set ADORYM_DATA"
    ):
        siemens_star_path()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / SIEMENS_STAR).write_bytes(b"")
    assert siemens_star_path() == tmp_path / "below" / SIEMENS_STAR
    assert siemens_star_path(tmp_path / "below").name == SIEMENS_STAR


@pytest.mark.parametrize("kind", ["mat", "npz", "h5"])
@pytest.mark.parametrize("last", [False, True])
def test_a_raster_in_four_axes_without_positions_may_be_counted_first_or_last(tmp_path, kind, last):
    """Counts differ much over a pattern, and little over a scan."""
    y, x = np.indices((24, 20)) - 11
    beam = 1e3 * np.exp(-(y**2 + x**2) / 30.0)
    raster = (
        np.random.default_rng(0).poisson(beam * np.random.default_rng(1).uniform(0.5, 1, (6, 7, 1, 1))).astype(float)
    )
    stored, path = np.moveaxis(raster, (0, 1), (2, 3)) if last else raster, tmp_path / f"a.{kind}"
    if kind == "mat":
        scipy.io.savemat(path, {"cbed": stored})
    elif kind == "npz":
        np.savez(path, cbed=stored)
    else:
        write(path, {"cbed": stored})
    raw = KeyMap.parse(["patterns=cbed"]).extract(open_container(path))
    assert raw.scan_shape == (6, 7)
    np.testing.assert_array_equal(raw.patterns.read(np.arange(42)), raster.reshape(-1, 24, 20))
