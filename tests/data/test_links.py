"""Links of every kind: followed everywhere, and named where they lead nowhere."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from data_files import WINDOW, counts, cxi, native, positions, write

from adorym.data.containers import open_container
from adorym.data.hdf5 import find, open_hdf5
from adorym.data.open import open_dataset
from adorym.data.patterns import Hdf5Patterns
from adorym.errors import DataError

N = 5


def linked(path, **links):
    with h5py.File(path, "a") as file:
        for name, (other, inside) in links.items():
            name = name.replace("__", "/")
            if name in file:
                del file[name]
            file[name] = h5py.ExternalLink(other, inside)
    return path


@pytest.mark.parametrize(
    "link", ["exchange__data", "exchange__data_dark", "metadata__energy_ev", "metadata__probe_pos_px"]
)
def test_a_broken_link_is_no_absence(tmp_path, link):
    path = linked(native(tmp_path / "a.h5"), **{link: ("left_behind.h5", "/x")})
    with pytest.raises(
        DataError, match=r"an external link leads nowhere; found no file 'left_behind\.h5'; put the linked"
    ):
        open_dataset(path)


def test_a_link_into_a_file_that_lacks_the_array(tmp_path):
    write(tmp_path / "b.h5", {"y": 1.0})
    with pytest.raises(DataError, match=r"found no '/x' in 'b\.h5'"):
        open_dataset(linked(native(tmp_path / "a.h5"), metadata__energy_ev=("b.h5", "/x")))


@pytest.mark.parametrize("reader", ["native", "cxi"])
def test_patterns_behind_a_link(tmp_path, reader):
    write(tmp_path / "b.h5", {"raw/frames": counts(N)[None]})
    name = {"native": "exchange__data", "cxi": "entry_1__data_1__data"}[reader]
    path = linked({"native": native, "cxi": cxi}[reader](tmp_path / "a.h5"), **{name: ("b.h5", "/raw/frames")})
    dataset = open_dataset(path, {"memory_limit_gib": 1e-9})
    np.testing.assert_array_equal(dataset.patterns.read(np.array([3, 0])), counts(N)[[3, 0]])


def test_chains_of_links_and_linked_groups(tmp_path):
    write(tmp_path / "c.h5", {"deep/frames": counts(N)})
    linked(write(tmp_path / "b.h5", {"unused": 1}), group=("c.h5", "/deep"))
    path = linked(write(tmp_path / "a.h5", {"unused": 1}), outer=("b.h5", "/group"))
    with h5py.File(path, "a") as file:
        file["short"] = h5py.SoftLink("/outer/frames")
    container = open_container(path)
    assert {"short", "outer/frames", "unused"} == set(container.arrays)
    assert container.arrays["short"].identity == container.arrays["outer/frames"].identity
    np.testing.assert_array_equal(Hdf5Patterns(path, "short").read(np.arange(N)), counts(N))
    (tmp_path / "c.h5").unlink()
    with open_hdf5(path) as file, pytest.raises(DataError, match=r"no file 'c\.h5'"):
        find(file, ["short"])
    assert "c.h5" in open_container(path).arrays["short"].lost


def test_a_soft_link_to_nothing_is_absent_and_groups_may_hold_themselves(tmp_path):
    path = write(tmp_path / "a.h5", {"group/x": 1.0})
    with h5py.File(path, "a") as file:
        file["group/again"], file["nothing"] = h5py.SoftLink("/group"), h5py.SoftLink("/none")
        assert find(file, ["nothing"]) is None
    assert set(open_container(path).arrays) == {"group/x"}


def test_parts_of_ptypy_in_files_of_their_own(tmp_path):
    meta = {"meta/energy": 8.0, "meta/distance": 2.0, "meta/psize": 75e-6}
    path = write(tmp_path / "a.ptyd", meta)
    for k in range(2):
        part = {"data": counts(N, seed=k), "positions": positions(N) * 1e-8, "indices": np.arange(N)}
        write(tmp_path / f"a.ptyd.part00{k}", part)
        linked(path, **{f"chunks__{k}": (f"a.ptyd.part00{k}", "/")})
    dataset = open_dataset(path)
    assert dataset.format == "ptypy"
    np.testing.assert_array_equal(dataset.patterns.read(np.array([N])), counts(N, seed=1)[:1])


def virtual(path, source, name, shape):
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[:] = h5py.VirtualSource(source, name, shape)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("exchange/data", layout)
    return path


def test_a_virtual_dataset_needs_its_sources(tmp_path):
    write(tmp_path / "b.h5", {"frames": counts(N)[None]})
    path = virtual(native(tmp_path / "a.h5", exchange__data=None), "b.h5", "frames", (1, N, *WINDOW))
    np.testing.assert_array_equal(open_dataset(path).patterns.read(np.arange(N)), counts(N))
    (tmp_path / "b.h5").rename(tmp_path / "c.h5")
    with pytest.raises(DataError, match=r"no file 'b\.h5'"):
        open_dataset(path)


def test_a_virtual_dataset_that_holds_itself_is_refused(tmp_path):
    path = virtual(native(tmp_path / "a.h5", exchange__data=None), ".", "exchange/data", (1, N, *WINDOW))
    with pytest.raises(DataError, match="a virtual dataset that points at itself"):
        open_dataset(path)
