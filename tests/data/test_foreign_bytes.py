"""Files that take bytes from elsewhere, promise more than they hold, or crash a library, are refused by name."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
from data_files import WINDOW, counts, native, write

from adorym.commands.inspect import inspect
from adorym.data.containers import open_container
from adorym.data.hdf5 import open_hdf5, quantity
from adorym.data.open import open_dataset
from adorym.errors import DataError

N = 4


def replaced(path, name, make):
    with h5py.File(path, "a") as file:
        del file[name]
        make(file, name)
    return path


def external(file, name):
    file.create_dataset(name, (1, N, *WINDOW), "u1", external=[("/etc/passwd", 0, N * 48)])


def circle(file, name):
    layout = h5py.VirtualLayout((1, N, *WINDOW), "f4")
    layout[:] = h5py.VirtualSource(".", name, (1, N, *WINDOW))
    file.create_virtual_dataset(name, layout)


def promise(file, name):
    made = file.create_dataset(name, (1, 1 << 20, 1 << 12, 1 << 12), "u2", chunks=(1, 1, 512, 512), compression="gzip")
    made[0, 0, :512, :512] = 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            external,
            r"/exchange/data: its bytes lie in files that are no HDF5; found /etc/passwd; copy it into one file",
        ),
        (circle, "/exchange/data: a virtual dataset that points at itself"),
        (
            promise,
            "/exchange/data: hardly anything of it was written; expected 3.28e.04 GiB promised; found 1.5e-08 of it",
        ),
    ],
)
def test_patterns_that_are_not_in_the_file(tmp_path, make, said):
    path = replaced(native(tmp_path / "a.h5", N), "exchange/data", make)
    with pytest.raises(DataError, match=said):
        open_dataset(path)
    with pytest.raises(DataError, match=said.partition(": ")[2] + "|too large to be read whole"):
        open_container(path).read("exchange/data")


def test_a_number_in_foreign_bytes(tmp_path):
    path = native(tmp_path / "a.h5", N)
    replaced(path, "metadata/energy_ev", lambda f, n: f.create_dataset(n, (1,), "f8", external=[("/etc/passwd", 0, 8)]))
    with open_hdf5(path) as file, pytest.raises(DataError, match="its bytes lie in files that are no HDF5"):
        quantity(file["metadata/energy_ev"], "eV")


def test_links_into_other_folders_are_listed_and_refused_when_asked(tmp_path):
    (tmp_path / "here").mkdir()
    path = native(tmp_path / "here" / "a.h5", N, exchange__data=None)
    frames = write(tmp_path / "frames.h5", {"x": counts(N)[None]})
    with h5py.File(path, "a") as file:
        file["exchange/data"] = h5py.ExternalLink("../frames.h5", "/x")
        file["unused/part"] = h5py.ExternalLink("lost.h5", "/x")
    (note,) = (note for note in inspect(path).notes if "other folders" in note)
    assert "1 files in other folders, which data.strict_links refuses" in note and "frames.h5" in note
    np.testing.assert_array_equal(open_dataset(path).patterns.read(np.arange(N)), counts(N))
    with pytest.raises(
        DataError, match=r"/exchange/data: a link that leads out of the folder; found .*frames\.h5; leave"
    ):
        open_dataset(path, {"strict_links": True})
    frames.rename(path.parent / "frames.h5")
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        file["exchange/data"] = h5py.ExternalLink("frames.h5", "/x")
    assert not any("other folders" in note for note in inspect(path).notes)
    with pytest.raises(DataError, match=r"/unused/part: an external link leads nowhere; found no file 'lost\.h5'"):
        open_dataset(path, {"strict_links": True})
    with h5py.File(path, "a") as file:
        del file["unused"]
    assert open_dataset(path, {"strict_links": True}).n_patterns == N


def test_a_file_that_crashes_a_library_is_read_by_another_process_first(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": counts(N)})
    np.testing.assert_array_equal(open_container(path).read("x"), counts(N))
    crashed = subprocess.CompletedProcess([], -signal.SIGSEGV)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: crashed)
    with pytest.raises(
        DataError, match="damaged, or not laid out as it says; found ValueError: scipy is ended by SIGSEGV"
    ):
        open_container(path)


def test_what_is_read_has_the_shape_that_was_promised(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    container = replace(open_container(tmp_path / "a.npy"), load=lambda name: np.zeros((0, 3, 4)))
    with pytest.raises(DataError, match=r"the header promises an array of \(3, 4\), but there is \(0, 3, 4\); copy it"):
        container.read(next(iter(container.arrays)))
