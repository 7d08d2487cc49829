"""Headers of scans as SPEC, the beamlines of DESY and BLISS write them, written here by hand."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from adorym.data.open import open_dataset
from adorym.data.rocking import scanned_motor
from adorym.data.scan_records import read_scan
from adorym.errors import DataError

SPEC = """#F /data/run.spec
#E 1500000000
#O0  Theta   Two Theta  Chi
#O1  Delta  Gamma

#S 1  ascan  th 1 2 1 0.5
#P0 1.5 0 90
#P1 30.25 -14
#N 2
#L Theta  Ion Chamber
1 100
2 101

#S 7  ascan  th 0.3 0.6 2 1
#P0 0.45 0 88
#P1 31 oops
#L Theta  Ion Chamber  detector
0.3 1000 5
0.45 1010 90
@A 1 2 3
0.6 990 7
#C aborted
0.75
"""
FIO = """!
! Comments
%c
 ascan om 10.1 10.3 2 1
user somebody
!
! Parameter
%p
om = 10.2
gam = 33.5
sample = gold
%d
 Col 1 om DOUBLE
 Col 2 ipetra FLOAT
 Col 3 filename STRING
 10.1 99.5 a_001.cbf
 10.2 99.6 a_002.cbf
 10.3 99.7 a_003.cbf
"""


def test_spec(tmp_path):
    path = tmp_path / "run.spec"
    path.write_text(SPEC)
    scan = read_scan(f"{path}:7")
    assert dict(scan.motors) == {"Theta": 0.45, "Two Theta": 0, "Chi": 88, "Delta": 31}
    np.testing.assert_array_equal(scan.column("theta"), [0.3, 0.45, 0.6])
    np.testing.assert_array_equal(scan.column("Ion Chamber"), [1000, 1010, 990])
    assert scanned_motor(scan) == "Theta" and scan.title.startswith("ascan")
    assert read_scan(f"{path}:1").motors["Delta"] == 30.25
    with pytest.raises(DataError, match=r"no scan 3; expected one of 1, 7"):
        read_scan(f"{path}:3")
    with pytest.raises(DataError, match=r"which scan\?; expected one of 1, 7; such as run.spec:7"):
        read_scan(path)
    with pytest.raises(DataError, match="no column 'monitor' in the scan"):
        scan.column("monitor")


def test_names_with_one_space_between_them_and_short_names(tmp_path):
    """As some control systems write them: as many names as numbers; both names of a motor have its reading."""
    path = tmp_path / "run.dat"
    path.write_text(
        "#F run.dat\n#o0 del eta\n#O0 Delta Eta\n#O1 oma  m1 x\n\n#S 1 rock\n#P0 30 0.5\n#P1 2 3\n#P2 1\n"
        "#L eta Time Monitor\n0.1 1 100\n0.2 2 101\n"
    )
    scan = read_scan(path)
    assert dict(scan.motors) == {"del": 30, "eta": 0.5, "Delta": 30, "Eta": 0.5, "oma": 2, "m1 x": 3}
    np.testing.assert_array_equal(scan.column("monitor"), [100, 101])


@pytest.mark.parametrize(("text", "found"), [(SPEC, r"2 scans, the last: 1 ascan .*, 7 ascan .*run:NUMBER"),
                                             (FIO, r"1 scan, the last: ascan om .*scan=run'")])  # fmt: skip
def test_a_record_of_scans_is_no_unknown_file(tmp_path, text, found):
    (tmp_path / "run").write_text(text)
    with pytest.raises(DataError, match=rf"readings of motors and counters, no frames; found {found}"):
        open_dataset(tmp_path / "run")


def test_fio(tmp_path):
    path = tmp_path / "run_00012.fio"
    path.write_text(FIO)
    scan = read_scan(path)
    assert dict(scan.motors) == {"om": 10.2, "gam": 33.5} and scanned_motor(scan) == "om"
    assert set(scan.columns) == {"om", "ipetra"}  # names of files are no numbers
    np.testing.assert_array_equal(scan.column("om"), [10.1, 10.2, 10.3])


def test_bliss(tmp_path):
    path = tmp_path / "sample.h5"
    with h5py.File(path, "w") as file:
        for number, start in (("1", 5.0), ("12", 18.0)):
            entry = file.create_group(f"{number}.1")
            entry["title"] = f"ascan eta {start} {start + 0.2} 2 1"
            entry["instrument/positioners/eta"] = start + 0.1 * np.arange(3)
            entry["instrument/positioners/delta"] = 36.5
            entry["measurement/mon"] = np.array([5.0, 6.0, 7.0])
            entry["measurement/mpx4inr"] = np.zeros((3, 4, 4))
    scan = read_scan(f"{path}:12")
    assert scan.motors["delta"] == 36.5 and scan.motors["eta"] == 18 and scanned_motor(scan) == "eta"
    np.testing.assert_allclose(scan.column("eta"), [18, 18.1, 18.2])
    assert set(scan.columns) == {"eta", "mon"}


@pytest.mark.parametrize("text", ["", "some text\nof no kind\n", "#O0 a\n#P0 1\n"])
def test_what_is_no_scan_is_refused(tmp_path, text):
    (tmp_path / "x.dat").write_text(text)
    with pytest.raises(DataError, match="not a known file of scans; expected SPEC"):
        read_scan(tmp_path / "x.dat")
    with pytest.raises(DataError, match="no such file of scans; expected FILE, or FILE:NUMBER"):
        read_scan(tmp_path / "y.dat:3")


def test_files_of_scans_that_are_cut_or_garbled_are_refused_cleanly_or_read(tmp_path):
    """Every cut, and bytes turned at random."""
    rng, path = np.random.default_rng(0), tmp_path / "x"
    for text in (SPEC, FIO):
        raw = text.encode()
        for trial in range(60):
            broken = bytearray(raw[: rng.integers(1, len(raw))] if trial % 2 else raw)
            for place in rng.integers(0, len(broken), 5):
                broken[place] = rng.integers(0, 256)
            path.write_bytes(bytes(broken))
            for source in (str(path), f"{path}:7"):
                try:
                    scanned_motor(read_scan(source))
                except DataError:
                    continue
