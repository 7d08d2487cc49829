"""What a path stands for: a series, a folder, a list, the data of a run; and detectors' own files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from data_files import WINDOW, cbf, counts, edf, native, positions, write

from adorym.commands.convert import convert
from adorym.commands.inspect import inspect
from adorym.data.detector_files import read_cbf
from adorym.data.open import open_dataset
from adorym.data.result import Result, write_result
from adorym.errors import DataError

N = 12
STACK = counts(N)


def mib(path, picture):
    head = f"MQ1,000001,00384,01,{WINDOW[1]:04d},{WINDOW[0]:04d},U16,".ljust(384)
    path.write_bytes(head.encode() + picture.astype(">u2").tobytes())


WRITERS = {
    "tif": lambda path, picture: tifffile.imwrite(path, picture.astype("uint16")),
    "npy": lambda path, picture: np.save(path, picture),
    "h5": lambda path, picture: write(path, {"entry/data/data": picture[None], "entry/data/y": 1.0}),
    "edf": edf,
    "cbf": cbf,
    "mib": mib,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("way", ["pattern", "folder", "list"])
def test_a_pattern_a_file(tmp_path, kind, way):
    for k, picture in enumerate(STACK):
        WRITERS[kind](tmp_path / f"p_{k}.{kind}", picture)
    path = {"pattern": tmp_path / f"p_*.{kind}", "folder": tmp_path,
            "list": [tmp_path / f"p_{k}.{kind}" for k in range(N)]}[way]  # fmt: skip
    dataset = open_dataset(path)
    np.testing.assert_array_equal(dataset.patterns.read(np.array([10, 2, 0])), STACK[[10, 2, 0]])
    assert dataset.n_patterns == N
    assert way == "list" or any(f"p_0.{kind}, p_1.{kind}, p_2.{kind}" in note for note in dataset.notes)


def test_large_steps_of_a_cbf(tmp_path):
    picture = np.array([0, 127, -1, 200, -40000, 2**30, 5, -(2**30), 0] + [7] * 39, np.int64).reshape(WINDOW)
    cbf(tmp_path / "a.cbf", picture)
    np.testing.assert_array_equal(read_cbf(tmp_path / "a.cbf"), picture)
    (tmp_path / "a.cbf").write_bytes((tmp_path / "a.cbf").read_bytes()[:-3])
    with pytest.raises(DataError, match=r"a\.cbf: the file is damaged.*the picture is cut off"):
        open_dataset(tmp_path / "a.cbf")


def test_raw_files_of_empad(tmp_path):
    frames = np.random.default_rng(0).poisson(3, (3, 130, 128)).astype("<f4")
    (tmp_path / "scan.raw").write_bytes(frames.tobytes())
    np.testing.assert_array_equal(open_dataset(tmp_path / "scan.raw").patterns.read(np.arange(3)), frames[:, :128])
    (tmp_path / "scan.raw").write_bytes(frames.tobytes()[:-4])
    with pytest.raises(DataError, match="a raw EMPAD file has a multiple of 66560 bytes"):
        open_dataset(tmp_path / "scan.raw")


def test_a_folder_with_a_master_and_what_it_links_to(tmp_path):
    write(tmp_path / "s_data_000001.h5", {"entry/data/data": STACK})
    with h5py.File(tmp_path / "s_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("s_data_000001.h5", "/entry/data/data")
        file["entry/instrument/detector/detector_distance"] = 2.0
    assert open_dataset(tmp_path).format == "eiger"


def test_folders_that_do_not_say_which_files(tmp_path):
    for name in ("a.h5", "b.npy"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"does not say which of its files.*found 1 \.h5, 1 \.npy|1 \.npy, 1 \.h5"):
        open_dataset(tmp_path)


def test_scans_of_one_object_keep_their_common_coordinates(tmp_path):
    one, other = positions(5), positions(5, seed=7) + 30
    paths = [
        native(tmp_path / "a.h5", metadata__probe_pos_px=one),
        native(tmp_path / "b.h5", metadata__probe_pos_px=other),
    ]
    dataset = open_dataset(paths)
    np.testing.assert_allclose(dataset.probe_positions_px, np.concatenate([one, other]))
    assert dataset.n_patterns == 10
    np.testing.assert_array_equal(dataset.theta_rad, [0, 0])  # two scans at one angle
    native(tmp_path / "b.h5", metadata__energy_ev=9000.0)
    with pytest.raises(DataError, match="the files differ in geometry; found energy_ev: 8800.0 and 9000.0"):
        open_dataset(paths)


@pytest.mark.parametrize("place", ["out", "out/result.h5"])
def test_a_run_stands_for_its_data_and_settings(tmp_path, place):
    native(tmp_path / "a.h5")
    config = f"data: {{path: {tmp_path / 'a.h5'}, frames: '1:4', energy: 9 keV}}\nforward_model: ptychography\n"
    (tmp_path / "out").mkdir()
    write_result(Result(np.ones((9, 9, 1), np.complex64), config=config, history={"loss": np.ones(1)},
                        provenance={"seed": "0"}), tmp_path / "out" / "result.h5")  # fmt: skip
    dataset = open_dataset(tmp_path / place)
    assert dataset.n_patterns == 3 and dataset.energy_ev == pytest.approx(9000)
    assert open_dataset(tmp_path / place, {"energy": 1234.0}).energy_ev == 1234
    assert inspect(tmp_path / place).n_patterns == 3
    assert convert(tmp_path / place, tmp_path / "b.h5").n_patterns == 3


def test_inspect_and_convert_take_a_series(tmp_path):
    for k, picture in enumerate(STACK):
        tifffile.imwrite(tmp_path / f"p_{k}.tif", picture.astype("uint16"))
    found = inspect(tmp_path / "p_*.tif")
    assert found.n_patterns == N and found.missing["ptychography"][0] == "positions"
    convert(tmp_path / "p_*.tif", tmp_path / "all.h5")
    np.testing.assert_array_equal(open_dataset(tmp_path / "all.h5").patterns.read(np.arange(N)), STACK)


@pytest.mark.parametrize("kind", [*WRITERS, "npz", "mat"])
def test_damage_of_any_kind_ends_in_one_error(tmp_path, kind):
    """Bytes changed, cut out and cut off: whatever the libraries raise, the user sees an error that names the file."""
    path, rng, damaged = tmp_path / f"a.{kind}", np.random.default_rng(3), 0
    if kind == "npz":
        np.savez_compressed(path, data=STACK, pos=positions(N))
    elif kind == "mat":
        scipy.io.savemat(path, {"data": STACK, "pos": positions(N)}, do_compression=True)
    else:
        WRITERS[kind](path, STACK[0])
    content = path.read_bytes()
    for _ in range(25):
        changed, at = bytearray(content), int(rng.integers(min(len(content), 300)))
        changed[at : at + 8] = [b"\xff" * 8, b"", b"\0" * 8, b"("][int(rng.integers(4))]
        path.write_bytes(changed[: int(rng.integers(at, len(changed) + 1))] if rng.integers(3) == 0 else changed)
        try:
            open_dataset(path, {"pixel_size": 1e-8})
        except DataError as error:
            damaged += 1
            assert str(path) in error.message() or "patterns" in error.message()
    assert damaged > 5
