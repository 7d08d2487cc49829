"""Positions from files, rasters and numbers: units, order, direction and turn, against hand-made arrays."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
from data_files import WINDOW, counts, cxi, from_corner, native, write

from adorym.data.open import open_dataset
from adorym.errors import ConfigError, DataError

N, PIXEL_M = 12, 10e-9
# (y, x) in object pixels: a bent line, so that no two numbers are alike and y is never x.
PX = np.stack([np.arange(N) * 1.5, 40 + 3 * np.arange(N) - 0.1 * np.arange(N) ** 2], axis=-1)
EXPECTED = from_corner(PX)
KNOWN = {"map": ["patterns=data"], "energy": "8.8 keV", "pixel_size": PIXEL_M}


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data.h5", {"data": counts(N)})


def found(data, positions, **more):
    return open_dataset(data, {**KNOWN, "positions": str(positions), **more})


def text(tmp_path, rows, head="", separator=",", name="positions.txt"):
    lines = [separator.join(f"{value:.9g}" for value in row) for row in rows]
    (tmp_path / name).write_text("\n".join([*([head] if head else []), *lines]) + "\n")
    return tmp_path / name


# -- files of positions ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("head", "separator", "columns", "unit_m"),
    [
        ("x_um,y_um", ",", (1, 0), 1e-6),
        ("# y_um x_um", " ", (0, 1), 1e-6),
        ("# x [nm]\ty [nm]", "\t", (1, 0), 1e-9),
        ("posy (mm);posx (mm)", ";", (0, 1), 1e-3),
        ("sample_x,sample_y", ",", (1, 0), 1e-6),
        ("% ppX ppY", " ", (1, 0), 1.0),
        ("column_m row_m", " ", (1, 0), 1.0),
        ("# units: um", " ", (0, 1), 1e-6),
        ("", " ", (0, 1), 1e-6),
        ("", ",", (0, 1), 1.0),
        ("", "\t", (0, 1), 1e-9),
    ],
)
def test_text_is_understood_by_names_units_and_numbers(tmp_path, data, head, separator, columns, unit_m):
    rows = (PX * PIXEL_M / unit_m)[:, columns]
    dataset = found(data, text(tmp_path, rows, head, separator))
    np.testing.assert_allclose(dataset.probe_positions_px, EXPECTED, atol=1e-5)
    assert dataset.doubts == ()


def test_a_counting_column_is_left_out_and_columns_can_be_named(tmp_path, data):
    numbered = np.column_stack([np.arange(1, N + 1), PX * PIXEL_M * 1e6])
    np.testing.assert_allclose(found(data, text(tmp_path, numbered)).probe_positions_px, EXPECTED, atol=1e-5)
    path = text(
        tmp_path, np.column_stack([PX[:, 1], np.full(N, 7.0), PX[:, 0]]) * PIXEL_M * 1e6, "a,b,c", name="abc.csv"
    )
    with pytest.raises(DataError, match="which columns are the positions.*found a, b, c; .*abc.csv:Y,X"):
        found(data, path)
    np.testing.assert_allclose(found(data, f"{path}:c,a").probe_positions_px, EXPECTED, atol=1e-5)


def test_decimal_commas(tmp_path, data):
    rows = "\n".join(f"{y:.9f};{x:.9f}".replace(".", ",") for y, x in PX * PIXEL_M * 1e6)
    (tmp_path / "p.csv").write_text("y_um;x_um\n" + rows)
    np.testing.assert_allclose(found(data, tmp_path / "p.csv").probe_positions_px, EXPECTED, atol=1e-5)


@pytest.mark.parametrize("kind", ["two", "pairs", "transposed", "mat", "mat73", "npz", "npy"])
def test_containers_of_positions(tmp_path, data, kind):
    (y, x), path = (PX * PIXEL_M).T, tmp_path / f"p.{kind}"
    if kind == "two":  # x comes first in the file
        found_at = f"{write(path, {'ppX': x, 'ppY': y, 'lambda': 1e-10, 'dx': PIXEL_M})}:/ppY,/ppX"
    elif kind == "npz":
        np.savez(tmp_path / "p.npz", xcoords=x, ycoords=y)
        found_at = str(path)
    elif kind == "npy":
        np.save(path, PX * PIXEL_M)
        found_at = str(path)
    elif kind == "mat":
        scipy.io.savemat(path, {"positions": PX * PIXEL_M, "energy": 8.8})
        found_at = str(path)
    else:
        stored = {"pairs": PX, "transposed": PX.T, "mat73": PX.T}[kind] * PIXEL_M
        with h5py.File(path, "w", userblock_size=512 if kind == "mat73" else 0) as file:
            file["scan/positions"] = stored
        found_at = str(path)
    np.testing.assert_allclose(found(data, found_at).probe_positions_px, EXPECTED, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no numbers here\n", "no table of numbers"),
        ("1,2\n3,4,5\n", "line 2.*as many numbers"),
        ("1,2\nstop,4\n", "line 2.*not numbers"),
        ("\n".join(f"{i},{i}" for i in range(N + 2)), f"{N} positions.*{N + 2}"),
    ],
)
def test_tables_that_are_none(tmp_path, data, content, words):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(DataError, match=words):
        found(data, tmp_path / "p.csv")


def test_a_missing_file_and_a_missing_array(tmp_path, data):
    with pytest.raises(DataError, match="no such file"):
        found(data, tmp_path / "none.csv")
    path = write(tmp_path / "p.h5", {"ppX": PX[:, 1], "ppY": PX[:, 0]})
    with pytest.raises(DataError, match="no array 'ppZ'; did you mean"):
        found(data, f"{path}:ppY,ppZ")


# -- units, order and direction ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("unit", "size"), [("m", 1), ("mm", 1e3), ("um", 1e6), ("nm", 1e9), ("angstrom", 1e10)])
def test_a_unit_that_is_given_counts(tmp_path, data, unit, size):
    path = text(tmp_path, PX * PIXEL_M * size)
    dataset = found(data, path, positions_unit=unit)
    np.testing.assert_allclose(dataset.probe_positions_px, EXPECTED, atol=1e-5)


def test_pixels_keep_their_values_and_bad_units_are_refused(tmp_path, data):
    path = text(tmp_path, PX)
    np.testing.assert_allclose(found(data, path).probe_positions_px, PX)
    with pytest.raises(ConfigError, match="data.positions_unit"):
        found(data, path, positions_unit="kg")


def test_order_and_sign(tmp_path, data):
    path = text(tmp_path, PX[:, ::-1] * PIXEL_M * 1e6)
    turned_back = found(data, path, positions_order="xy").probe_positions_px
    np.testing.assert_allclose(turned_back, EXPECTED, atol=1e-5)
    y, x = from_corner(-PX).T
    for sign, expected in (("-", (y, x)), ("-+", (y, EXPECTED[:, 1])), ("+-", (EXPECTED[:, 0], x))):
        mirrored = found(data, path, positions_order="xy", positions_sign=sign).probe_positions_px
        np.testing.assert_allclose(mirrored, np.stack(expected, -1), atol=1e-5)


def test_meters_that_a_file_calls_pixels_are_doubted(tmp_path):
    path = native(tmp_path / "a.h5", N, metadata__probe_pos_px=PX * PIXEL_M)
    dataset = open_dataset(path)
    np.testing.assert_allclose(dataset.probe_positions_px, EXPECTED, atol=1e-5)
    assert "taken as m" in dataset.doubts[0] and "data.positions_unit" in dataset.doubts[0]
    kept = open_dataset(path, {"positions_unit": "px"})
    np.testing.assert_array_equal(kept.probe_positions_px, PX * PIXEL_M)


def test_positions_that_the_file_knows_can_be_changed(tmp_path):
    before = open_dataset(cxi(tmp_path / "a.cxi", N)).probe_positions_px
    after = open_dataset(tmp_path / "a.cxi", {"positions_order": "xy"}).probe_positions_px
    pixel = open_dataset(tmp_path / "a.cxi").pixel_size_m
    np.testing.assert_allclose((after - 2) * pixel, ((before - 2) * pixel)[:, ::-1], atol=1e-14)


# -- rasters and turns -------------------------------------------------------------------------------------------------
def test_a_four_dimensional_array_is_a_raster(tmp_path):
    stack = counts(12).reshape(3, 4, *WINDOW)
    path = write(tmp_path / "a.h5", {"cube": stack})
    known = {"map": ["patterns=cube"], "pixel_size": PIXEL_M, "energy": 8800.0}
    raster = {"step": ("20 nm", "30 nm")}
    dataset = open_dataset(path, {**known, "scan": raster})
    y, x = np.meshgrid(2.0 * np.arange(3), 3.0 * np.arange(4), indexing="ij")
    np.testing.assert_allclose(dataset.probe_positions_px, np.stack([y.ravel(), x.ravel()], -1) + 2, atol=1e-9)
    np.testing.assert_array_equal(dataset.patterns.read(np.array([5]))[0], stack[1, 1])
    np.save(tmp_path / "a.npy", stack)
    same = open_dataset(tmp_path / "a.npy", {"pixel_size": PIXEL_M, "scan": raster})
    np.testing.assert_allclose(same.probe_positions_px, dataset.probe_positions_px)
    snake = open_dataset(path, {**known, "scan": {**raster, "snake": True}}).probe_positions_px
    np.testing.assert_allclose(
        snake[:, 1] - 2, np.concatenate([3.0 * np.arange(4), 3.0 * np.arange(4)[::-1], 3.0 * np.arange(4)])
    )
    long = open_dataset(path, {**known, "scan": {"step": "2 px", "shape": (2, 6)}}).probe_positions_px
    assert long[:7].tolist() == [[0, 0], [0, 2], [0, 4], [0, 6], [0, 8], [0, 10], [2, 0]]


def test_rasters_that_do_not_fit(tmp_path, data):
    with pytest.raises(ConfigError, match="data.scan.shape: absent.*shape: .rows, columns."):
        open_dataset(data, {**KNOWN, "scan": {"step": "20 nm"}})
    with pytest.raises(ConfigError, match=f"data.scan.shape: not the number of patterns; expected {N}; found 3 x 5"):
        open_dataset(data, {**KNOWN, "scan": {"step": "20 nm", "shape": (3, 5)}})
    with pytest.raises(ConfigError, match="data.scan.step: has no effect beside 'data.positions'"):
        found(data, text(tmp_path, PX), scan={"step": "20 nm", "shape": (3, 4)})


@pytest.mark.parametrize("setting", [{"rotation": "30 deg"}, {"scan": {"rotation": "30 deg"}}])
def test_axes_are_turned_from_x_towards_y(tmp_path, data, setting):
    """A step along x goes down, to larger y; one along y goes to smaller x."""
    path = text(tmp_path, np.column_stack([np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3)]) * 10.0)
    px = found(data, path, positions_unit="px", **setting).probe_positions_px
    np.testing.assert_allclose(px[1] - px[0], [5.0, 10 * np.cos(np.pi / 6)])
    np.testing.assert_allclose(px[4] - px[0], [10 * np.cos(np.pi / 6), -5.0])
    np.testing.assert_allclose(px.mean(axis=0), [10, 15])


def test_a_turn_on_pixels_that_are_not_square(tmp_path, data):
    path = text(tmp_path, np.column_stack([np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3)]) * 1e-8)
    dataset = found(data, path, positions_unit="m", pixel_size=(1e-8, 2e-8), rotation="90 deg")
    np.testing.assert_allclose(dataset.probe_positions_px[1] - dataset.probe_positions_px[0], [1, 0], atol=1e-9)
    np.testing.assert_allclose(dataset.probe_positions_px[4] - dataset.probe_positions_px[0], [0, -0.5], atol=1e-9)
