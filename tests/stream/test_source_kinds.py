"""Sources: files that are replayed or grow, folders, sockets and PVs."""

import itertools
import json
import logging
import sys
import threading
import time

import h5py
import numpy as np
import pytest
from given_source import image
from tiny_scan import Scan

from adorym.commands.serve import serve
from adorym.data.native_write import write_native
from adorym.data.recording import NO_NUMBER
from adorym.errors import ConfigError, ConfigErrors, DataError
from adorym.stream.base import Begin, End, Frame, Position
from adorym.stream.recorder import begun
from adorym.stream.sources import source_of
from adorym.stream.targets import target_of


@pytest.fixture
def scan_file(tmp_path):
    return write_native(Scan().noisy(angle_index=np.zeros(20, int), theta_rad=np.zeros(1)), tmp_path / "scan.h5")


def taken(source, until, limit_s=20.0):
    """The events of a source until ``until(events)`` holds."""
    events, end, stream = [], time.monotonic() + limit_s, source.events()
    try:
        for event in stream:
            events += [] if event is None else [event]
            if until(events):
                return events
            assert time.monotonic() < end, "nothing came"
    finally:
        stream.close()
    return events


def ended(events):
    return bool(events) and isinstance(events[-1], End)


def frames(events):
    return [event for event in events if isinstance(event, Frame)]


def test_a_file_is_replayed_with_all_it_knows(scan_file):
    scan, events = Scan(), taken(source_of(f"replay:{scan_file}"), ended)
    begin, found = events[0], frames(events)
    assert (begin.first, begin.count, begin.about["energy_ev"]) == (0, 20, 8000.0)
    assert [frame.number for frame in found] == list(range(20)) and events[-1].last == 19
    assert np.array_equal([frame.image for frame in found], scan.noisy().patterns.array)
    assert found[0].image.dtype == np.uint16  # photon counts lose nothing in whole numbers
    assert np.array([frame.position for frame in found]) == pytest.approx(scan.positions)


def test_a_rate_is_kept(scan_file):
    start = time.monotonic()
    taken(source_of(f"replay:{scan_file}?rate=100Hz"), ended)
    assert time.monotonic() - start >= 0.19


def test_a_stream_has_one_angle(tmp_path):
    path = write_native(Scan(scans=2).noisy(theta_rad=np.array([0.0, 1.0])), tmp_path / "scan.h5")
    with pytest.raises(
        DataError, match="a stream is one scan at one angle; found 2 angles; choose a file of one angle"
    ):
        next(source_of(f"replay:{path}").events())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scan.h5", "'scan.h5' is no source; expected KIND:ADDRESS"),
        ("zmk://localhost:1", "did you mean 'zmq'"),
        ("zmq://localhost:1?size=3", "size: unknown key"),
        ("replay:a.h5?rate=3nm", "rate"),
    ],
)
def test_what_names_no_source_is_refused(text, message):
    with pytest.raises((ConfigError, ConfigErrors), match=message):
        source_of(text)


def test_a_source_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from adorym.stream.base import End, Source\n"
        "class Mine(Source):\n"
        "    address: str\n"
        "    def events(self):\n"
        "        yield End(int(self.address))\n"
    )
    assert list(source_of(f"{tmp_path / 'mine.py'}:Mine:7").events()) == [End(7)]


def test_a_file_that_grows(tmp_path):
    path = tmp_path / "growing.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("d", (2, 3, 4), np.uint16, maxshape=(None, 3, 4), chunks=(1, 3, 4))
        where = file.create_dataset("p", (2, 2), float, maxshape=(None, 2), chunks=(4, 2))
        file.swmr_mode = True
        data[:], where[:] = [image(0), image(1)], [[0, 1], [2, 3]]
        data.flush(), where.flush()
        stream = source_of(f"hdf5:{path}?data=d&positions=p&unit=um").events()
        found = []
        while len(found) < 4:
            event = next(stream)
            found += [] if event is None else [event]
            if len(found) == 3:
                data.resize(3, axis=0), where.resize(3, axis=0)
                data[2], where[2] = image(2), [4, 5]
                where.flush(), data.flush()
        stream.close()
    assert found[0].about == {"positions_unit": "um"}
    assert np.array_equal([frame.image for frame in frames(found)], [image(n) for n in range(3)])
    assert [frame.position for frame in frames(found)] == [(0, 1), (2, 3), (4, 5)]


def test_a_recording_can_be_followed(tmp_path):
    recorder = begun(tmp_path / "r.h5", {"positions_unit": "um"}, image(0))
    recorder.write([Frame(9, image(9), 5.0), Frame(4, image(4), 6.0)], [0.0, 0.0], [Position((1.0, 2.0), 9)])
    events = taken(source_of(f"hdf5:{tmp_path / 'r.h5'}"), lambda events: len(events) == 4)
    recorder.close()
    assert [(frame.number, frame.time_s) for frame in frames(events)] == [(9, 5.0), (4, 6.0)]
    assert [(p.position, p.number) for p in events if isinstance(p, Position)] == [((1.0, 2.0), 9)]
    assert events[0].about == {"positions_unit": "um"} and Position((0, 0)).number == NO_NUMBER


def test_a_folder_that_grows(tmp_path):
    stream = source_of(f"folder:{tmp_path}?files=*.npy&settle=0.01").events()
    found = [next(stream)]
    np.save(tmp_path / "a_10.npy", image(1))
    np.save(tmp_path / "a_9.npy", image(0))
    while len(found) < 3:
        event = next(stream)
        found += [] if event is None else [event]
    (tmp_path / "a_11.npy").write_bytes(b"broken")  # damaged: its number is not given to another
    while len(found) < 4:
        event = next(stream)
        found += [] if event is None else [event]
    stream.close()
    assert [frame.number for frame in frames(found)] == [0, 1, 2] and frames(found)[2].image is None
    assert np.array_equal([frame.image for frame in frames(found)[:2]], [image(0), image(1)])


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        next(source_of(f"folder:{tmp_path / 'no'}").events())


def _port():
    zmq = pytest.importorskip("zmq", reason="pyzmq is not installed")
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


def test_a_detector_over_zmq(scan_file):
    port = _port()
    sender = threading.Thread(target=serve, args=(str(scan_file), f"zmq://127.0.0.1:{port}"))
    sender.start()
    events = taken(source_of(f"zmq://127.0.0.1:{port}"), ended)
    sender.join()
    assert isinstance(events[0], Begin) and events[0].about["pixel_size_m"] == pytest.approx([1e-7, 8e-8])
    assert np.array_equal([frame.image for frame in frames(events)], Scan().noisy().patterns.array)


def test_faults_are_sent(scan_file):
    port = _port()
    faults = {"lost": 0.3, "repeated": 0.3, "damaged": 0.2, "swapped": 0.3, "late": 0.2, "apart": True, "jitter": 0.1}
    sender = threading.Thread(target=serve, args=(str(scan_file), f"zmq://127.0.0.1:{port}", None, faults))
    sender.start()
    events = taken(source_of(f"zmq://127.0.0.1:{port}"), ended)
    sender.join()
    numbers = [frame.number for frame in frames(events)]
    assert len(set(numbers)) < 20 and len(numbers) > len(set(numbers)) and numbers != sorted(numbers)
    assert any(frame.image is None for frame in frames(events))
    places = {event.number: event.position for event in events if isinstance(event, Position)}
    errors = np.array([places[n] for n in range(20)]) - Scan().positions
    assert len(places) == 20 and 0.03 < errors.std() < 0.3


def test_a_detector_over_pva(scan_file, monkeypatch):
    pytest.importorskip("p4p", reason="p4p is not installed")
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "127.0.0.1")
    monkeypatch.setenv("EPICS_PVA_AUTO_ADDR_LIST", "NO")
    monkeypatch.setenv("EPICS_PVAS_INTF_ADDR_LIST", "127.0.0.1")
    sender = target_of("pva://adorym:test:image").open()
    source = source_of("pva://adorym:test:image?position=y,x&unit=px")
    events, over = [], threading.Event()

    def receive():
        events.extend(taken(source, ended))
        over.set()

    thread = threading.Thread(target=receive)
    thread.start()
    numbers = 0
    while not over.is_set() and numbers < 2000:
        sender.send(Frame(numbers, image(numbers), 1.7e9 + numbers, (1.0 * numbers, 2.0)))
        if len(frames(events)) or numbers > 100:
            sender.send(End(numbers))
        numbers += 1
        time.sleep(0.01)
    thread.join()
    sender.close()
    found = frames(events)
    assert events[0].about == {"positions_unit": "px"} and len(found) > 10
    for frame in found[1:]:
        assert np.array_equal(frame.image, image(frame.number)) and frame.position == (frame.number, 2.0)
        assert frame.time_s == pytest.approx(1.7e9 + frame.number)


@pytest.mark.parametrize(("words", "before", "during", "after"), [
    ("trigger=adorym:test:armed&end=adorym:test:done", (0, 1), (1, 0), (1, 1)),
    ("trigger=adorym:test:armed&end=!adorym:test:armed", (0, 0), (1, 0), (0, 0)),
])  # fmt: skip
def test_pvs_say_when_a_scan_begins_and_ends(monkeypatch, caplog, words, before, during, after):
    """``done`` still is what the scan before left; frames between two scans belong to none."""
    pytest.importorskip("p4p", reason="p4p is not installed")
    from p4p.nt import NTScalar
    from p4p.server import Server
    from p4p.server.thread import SharedPV

    for name, value in (("EPICS_PVA_ADDR_LIST", "127.0.0.1"), ("EPICS_PVA_AUTO_ADDR_LIST", "NO")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EPICS_PVAS_INTF_ADDR_LIST", "127.0.0.1")
    caplog.set_level(logging.INFO, "adorym")
    pvs = [SharedPV(nt=NTScalar("i"), initial=value) for value in before]
    sender = target_of("pva://adorym:test:frames").open()
    stream = source_of(f"pva://adorym:test:frames?{words}").events()
    events: list = []
    numbers = itertools.count()

    def run(seconds: float) -> None:
        """The detector counts on, whatever the PVs say."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (events and isinstance(events[-1], End)):
            sender.send(Frame(next(numbers), image(0), 1.7e9, None))
            events.extend(event for event in (next(stream),) if event is not None)

    def post(state: tuple[int, int]) -> None:
        for pv, value in zip(pvs, state, strict=True):
            pv.post(value)

    with Server(providers=[dict(zip(("adorym:test:armed", "adorym:test:done"), pvs, strict=True))]):
        run(3.0)
        assert events == []
        first = next(numbers)
        post(during)
        run(1.0)
        post(after)
        run(0.1)
        for event in stream:
            events += [event] if event is not None else []
    sender.close()
    found = [frame.number for frame in frames(events)]
    assert isinstance(events[0], Begin) and isinstance(events[-1], End) and events[-1].last == found[-1]
    assert found[0] >= first - 1 and len(found) > 3
    assert "frames came before the trigger 'adorym:test:armed'" in caplog.text


def test_a_picture_is_published_over_zmq():
    zmq = pytest.importorskip("zmq", reason="pyzmq is not installed")
    sender = target_of(f"zmq://127.0.0.1:{(port := _port())}").open()
    obj = np.exp(1j * np.arange(6.0)).reshape(2, 3, 1).astype(np.complex64)
    with zmq.Context() as context, context.socket(zmq.SUB) as screen:
        screen.subscribe(b"")
        screen.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(200):  # a screen that joins late misses the first pictures
            sender.show({"used": 7}, {"object": obj})
            if screen.poll(50):
                break
        header, body = screen.recv_multipart()
    sender.close()
    told = json.loads(header)
    assert told["type"] == "picture" and told["used"] == 7 and told["arrays"][0]["shape"] == [2, 3, 1]
    assert np.array_equal(np.frombuffer(body, np.complex64).reshape(obj.shape), obj)


@pytest.mark.parametrize(
    ("text", "message"),
    [("zmk://*:1", "'zmk://.:1' is no target; expected KIND:ADDRESS"), ("zmq://nowhere", "the address cannot be used")],
)
def test_what_is_no_target_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        _show_once(text)


def _show_once(text):
    sender = target_of(text).open()
    try:
        sender.show({}, {"object": np.ones((1, 1, 1))})
    finally:
        sender.close()


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(ConfigError, match="the source 'zmq' needs the package 'zmq'.*pip install 'adorym.live.'"):
        next(source_of("zmq://localhost:1").events())
