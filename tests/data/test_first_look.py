"""Files that the HDF5 library does not survive are refused by name, by a child process that looks first."""

import base64
import lzma
import os
import signal
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from adorym.data import first_look
from adorym.data.first_look import first_looks
from adorym.data.hdf5 import open_hdf5
from adorym.errors import DataError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no child looks first")
# A file of 16 kB with a few damaged bytes; reading one of its attributes never ends.
ENDLESS = (
    "{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;6En=?Ogywk_3crdV6<D#AZ)w9S?G89vI9X^o<P9A{71h=t;VO$d!rFlraDC-{UW|IXg-C"
    "{?{->U9U7s$QIh%EN(6;h|T^`=p$@8M+*Ea1t<O{v|dKcNH2MMc<@Py6%aVBVLrZPrk*5gW8DdyXrGOzM=s?LK9!GQF*OPb;&~-^"
    "OMiVkCgawQg95e`|Mg(|olXAMcB<`?@`)(UBnUEuDuXlQ;vzY?=tlnX6q<&qk41M0d1wWw`{?{C`j}>*N&3+56nS?sLmMM&66{YM"
    "r1+LT*p49u^iW?Pge$HWPDaPs!zwYKJ&xJ75$jeqlMZ`%2fy)$VS!VnQ_@Hu@P50(2voVJ6PIxx(CwzcGPU=!(erW)Hi#XYgsjkN"
    "U5tm^`-7iNqWy6EYLO)D?S)8?S;k}=6m@EHGO{3DHw-m#2ku~qxU(*Z!AD8MO*ukVRW$L*eM|fbmREiw%G_*FZ9^%|Yh3M;&mJfv"
    "Z0F>i2J^hyOn&frTLPfVf{okA*_E(;avz#f5Sp=>7w<3>+-s&tSUXl)A#ct;#DB8RN7gD?^uR>WseSF8dlR7Qc=_*oT3ouOZnn}L"
    "fgvcww*l(-Y=HbfuyBv~h#6Z5Y-pIyi*|+C1U_508mT-b99Js#5QaEBvd)`jqlG3uQ>49S^AnJ$W4t)l0*d@&wY7`JQ!&n(*!Ff9"
    ")*9e6b9xJg-|7;M0%_;I;k1IZbNk*J6JOXvYiv&Vt+!_Tz?m7ckcicMZB1IN@hy9+ky$b~EqBV`1i-%B#y}HQSiv?`16O=F08&}T"
    "@#B@5E1d*j`%j@%*x%Y;>Gr5;_6<e?&b&X*1^b4YN4bmdVTo!ujstbX`e-OPELBA>ax*6n3$$BmTgQCO=HKBVl}T!<X*5O#v4EWX"
    "R*G?NG5`{Q0m@xC#qM#RHAhu7hQjYD8N+P<&}?}|o;bnqGB;FCvMtT(hNz$z#3%6OSfEjyMP#}fXJ^u|8-8Bs%Q^|CGP2;yqxcG_"
    "E7Q*MlWQ$W+o{b_Vq)<f(wDbm5FxL^6+_kFg1Pkwz#W=D_I{kRmEL~$AIoHLw3f1sKYZcV3FCKL)Yz-h@2G6ax`Rwe6()3{2o4;f"
    "tv%2{)`+s8p}67UdutOFdsn}dK}AbnkM*^{(#6`Fa4x|S_Iq8(EQNV^l_=ZO4##rGaNjtj8!Pc5B}rcG<;;YK?Q%;}SF~n`^B1Ep"
    "Lo(b4%PI^~*c3eZM*BG%MkhKej~XMW#yS+OAf)4&dEEx4(9dx1gsZu}pYMl!!&E9OKh3c968kc82nXt1{>KouHe{48&i=^&00000"
    "H@+Xy5M&1M00D^zsD1zdysj!7vBYQl0ssI200dcD"
)


@pytest.fixture
def healthy(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = np.arange(12.0)
        file["entry/large"] = np.zeros((300, 300))
        file["entry/large"].attrs["units"] = "m"
        file["again"] = h5py.SoftLink("/entry")
        file["nowhere"] = h5py.SoftLink("/entry/nothing")
        file["elsewhere"] = h5py.ExternalLink("absent.h5", "/x")
        file["entry/around"] = h5py.SoftLink("/entry")
        file["empty"] = h5py.Empty("f4")
    return tmp_path / "a.h5"


def counted(monkeypatch, walk=None):
    """Looks that are taken; each does ``walk`` in the child."""
    looks, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: looks.append(1) or fork())
    if walk is not None:
        monkeypatch.setattr(first_look, "_walk", walk)
    return looks


def test_a_file_is_looked_at_once_until_it_changes(healthy, monkeypatch):
    looks = counted(monkeypatch)
    with open_hdf5(healthy):
        assert not looks  # only commands look
    with first_looks():
        for expected in (1, 1):
            with open_hdf5(healthy) as file:
                assert file["entry/data"].shape == (12,)
            assert len(looks) == expected
        with h5py.File(healthy, "a") as file:
            file["more"] = np.arange(1000)
        with open_hdf5(healthy):
            assert len(looks) == 2
    with first_looks(False), open_hdf5(healthy):
        assert len(looks) == 2


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_a_message(healthy, monkeypatch, capfd, number):
    counted(monkeypatch, lambda file: os.kill(os.getpid(), number))
    with (
        first_looks(),
        pytest.raises(DataError, match=f"a.h5: the HDF5 file is damaged; .*crashes .{number.name}.*copy"),
    ):
        open_hdf5(healthy)
    assert not capfd.readouterr().err


def test_what_python_can_handle_is_left_to_the_reader(healthy, monkeypatch):
    def walk(file):
        raise MemoryError

    counted(monkeypatch, walk)
    with first_looks(), open_hdf5(healthy) as file:
        assert "entry" in file


def test_threads_of_other_libraries_are_no_reason_to_warn(healthy, monkeypatch):
    """JAX warns of every fork."""
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: warnings.warn("threads", RuntimeWarning, stacklevel=1) or fork())
    with first_looks(), open_hdf5(healthy) as file:
        assert "entry" in file


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_somebody_else_ends_says_nothing_about_the_file(healthy, monkeypatch, number):
    counted(monkeypatch, lambda file: os.kill(os.getpid(), number))
    with first_looks(), open_hdf5(healthy) as file:
        assert "entry" in file


def test_without_another_process_the_file_is_opened_unseen(healthy, monkeypatch):
    def fork():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    with first_looks(), open_hdf5(healthy) as file:
        assert "entry" in file


def test_a_slow_file_system_is_no_damage(healthy, monkeypatch):
    monkeypatch.setattr(first_look, "PATIENCE_S", 0.1)
    counted(monkeypatch, lambda file: signal.pause())
    with first_looks(), open_hdf5(healthy) as file:
        assert "entry" in file


def test_a_file_that_keeps_the_library_busy_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(lzma.decompress(base64.b85decode("".join(ENDLESS))))
    monkeypatch.setattr(first_look, "CPU_S", 1)
    with first_looks(), pytest.raises(DataError, match="the HDF5 library does not come to an end"):
        open_hdf5(tmp_path / "a.h5")


def test_a_busy_library_is_waited_for_on_a_machine_that_is_busy_too(tmp_path, monkeypatch):
    """Its processor time comes later than the patience ends: opened unseen, the file would never let go."""
    (tmp_path / "a.h5").write_bytes(lzma.decompress(base64.b85decode("".join(ENDLESS))))
    monkeypatch.setattr(first_look, "CPU_S", 1)
    monkeypatch.setattr(first_look, "PATIENCE_S", 0.3)
    with first_looks(), pytest.raises(DataError, match="the HDF5 library does not come to an end"):
        open_hdf5(tmp_path / "a.h5")


def test_commands_look_first(tmp_path):
    (tmp_path / "a.h5").write_bytes(lzma.decompress(base64.b85decode("".join(ENDLESS))))
    words = [sys.executable, "-c", "from adorym.data import first_look; first_look.CPU_S = 1\n"
             "from adorym.cli import main; main(['inspect', 'a.h5'])"]  # fmt: skip
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "the HDF5 file is damaged" in done.stderr


def test_the_walk_opens_everything_once(healthy):
    touched = []
    with h5py.File(healthy) as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_look, "_touch", lambda item: touched.append(item.name))
        first_look._walk(file)
        assert sorted(touched) == ["/empty", "/entry/data", "/entry/large"]
