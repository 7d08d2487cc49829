"""What arrives is recorded without loss, joined and counted, in whatever order and state it comes."""

import os
import signal
import warnings

import h5py
import numpy as np
import pytest
from given_source import Given, image, taken_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adorym.data.open import open_dataset
from adorym.errors import DataError, RunError
from adorym.stream.base import Begin, End, Frame, Position
from adorym.stream.books import Books
from adorym.stream.intake import Intake
from adorym.stream.policy import policy_of
from adorym.stream.recorder import begun, is_complete
from adorym.stream.sources import source_of

ABOUT = {"positions_unit": "px", "energy_ev": 8000.0, "pixel_size_m": (1e-8, 2e-8)}


def scan(numbers, apart=False):
    """Events of frames ``numbers``, with their positions or apart from them."""
    events = []
    for n in numbers:
        at = (1.5 * n, -0.5 * n)
        events.append(Frame(n, image(n), 100.0 + n, None if apart else at))
        events += [Position(at, n)] if apart else []
    return events


def recorded(path):
    """Numbers and patterns of the data set in a recording, and its positions."""
    data = open_dataset(path, {"bad_counts": "mask_pixels", "drop_frames": "none"}, check=False)
    return data.patterns.read(np.arange(data.n_patterns)), data.probe_positions_px


def test_a_whole_scan_is_recorded_bit_for_bit(tmp_path):
    path = tmp_path / "r.h5"
    intake, ready = taken_in(path, [Begin(ABOUT, 0, 5), *scan(range(5)), End(4)])
    patterns, positions = recorded(path)
    assert np.array_equal(patterns, [image(n) for n in range(5)])
    assert np.array_equal(positions, [[1.5 * n, -0.5 * n] for n in range(5)])
    assert [frame.number for frame in ready] == [0, 1, 2, 3, 4]
    with h5py.File(path) as file:
        assert file["exchange/data"].dtype == np.uint16 and file["metadata/energy_ev"][()] == 8000
        assert file["stream/time_s"][()].tolist() == [100, 101, 102, 103, 104]
    assert is_complete(path) and intake.ended == "end of the scan"


def test_what_is_lost_is_named(tmp_path):
    damaged = [Frame(4, None, 104.0), Frame(5, np.zeros((9, 9), np.uint16), 105.0), Frame(6, image(6, dtype=np.int32))]
    events = [Begin(ABOUT, 0, 10), *scan([2, 3]), *damaged, *scan([8]), End(9)]
    intake, _ = taken_in(tmp_path / "r.h5", events)
    lost = {name: numbers.tolist() for name, numbers in intake.books.lost().items()}
    assert lost == {"damaged": [4, 5, 6], "before_start": [0, 1], "after_end": [9], "missing": [7]}
    told = intake.told()
    assert told["published"] == 10 and told["recorded"] == 3 and told["damaged"] == 3 and told["received"] == 6
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["stream/lost/missing"][()].tolist() == [7]


def test_a_frame_that_comes_again_is_recorded_once(tmp_path):
    intake, _ = taken_in(tmp_path / "r.h5", [*scan([0, 1, 0, 1, 2]), End()])
    assert intake.told()["repeated"] == 2 and intake.told()["recorded"] == 3


def test_numbers_that_begin_anew_end_the_scan(tmp_path):
    again = [Frame(n, image(n + 50), 500.0 + n, (0.0, 0.0)) for n in range(3)]
    intake, _ = taken_in(tmp_path / "r.h5", [*scan(range(5)), *again, End()])
    assert intake.ended == "another scan began"
    assert intake.told()["recorded"] == 5 and intake.told()["other_scan"] >= 1
    intake.books.check()


def test_a_second_beginning_ends_the_scan(tmp_path):
    intake, _ = taken_in(tmp_path / "r.h5", [Begin(ABOUT), *scan(range(2)), Begin(ABOUT), *scan(range(7, 9))])
    assert intake.ended == "another scan began" and intake.told()["recorded"] == 2


def test_frames_whose_position_does_not_come_are_refused_by_name(tmp_path):
    frames = [Frame(n, image(n)) for n in range(4)]
    intake, ready = taken_in(tmp_path / "r.h5", [*frames, Position((0.0, 1.0), 2), End()])
    assert [frame.number for frame in ready] == [2] and intake.told()["refused"] == {"no_position": 3}
    assert recorded(tmp_path / "r.h5")[1].tolist() == [[0, 1]]


def test_the_waiting_room_is_bounded_and_the_recording_is_not(tmp_path):
    frames = [Frame(n, image(n)) for n in range(6)]
    places = [Position((float(n), 0.0), n) for n in range(6)]
    intake, ready = taken_in(tmp_path / "r.h5", [*frames, *places, End()], waiting=2)
    assert intake.told()["refused"] == {"no_position": 4 if len(ready) == 2 else 0} or len(ready) > 2
    assert len(recorded(tmp_path / "r.h5")[0]) == 6  # the run after the scan has all of them


def test_positions_at_times_are_interpolated_between_their_neighbors(tmp_path):
    frames = [Frame(n, image(n), 10.0 + n) for n in range(4)]
    places = [Position((2 * t, -t), time_s=10 + t) for t in (0.5, 2.5)]
    intake, ready = taken_in(tmp_path / "r.h5", [*frames, *places, End()])
    assert {frame.number: frame.position for frame in ready} == {1: (2.0, -1.0), 2: (4.0, -2.0)}
    assert sum(intake.told()["refused"].values()) == 2
    assert recorded(tmp_path / "r.h5")[1] == pytest.approx(np.array([[2, -1], [4, -2]]))


def test_a_silent_source_ends_the_scan(tmp_path):
    class Silent:
        def events(self):
            yield from scan([0, 1])
            while True:
                yield None

    intake = Intake(Silent(), tmp_path / "r.h5", policy_of("newest"), waiting=10, quiet_s=0.2)
    intake.start()
    intake.join()
    assert intake.ended == "nothing came for 0.2 s" and intake.told()["recorded"] == 2


def test_an_error_of_the_source_is_raised_and_the_recording_is_kept(tmp_path):
    class Broken:
        def events(self):
            yield from scan([0, 1])
            yield None
            raise DataError("the wire", "was cut")

    intake = Intake(Broken(), tmp_path / "r.h5", policy_of("newest"), waiting=10, quiet_s=1)
    intake.start()
    with pytest.raises(DataError, match="the wire: was cut"):
        intake.join()
    assert len(recorded(tmp_path / "r.h5")[0]) == 2 and not is_complete(tmp_path / "r.h5")


def test_a_recording_that_was_cut_short_goes_on(tmp_path):
    path = tmp_path / "r.h5"
    recorder = begun(path, ABOUT, image(0))
    events = [event for event in scan(range(3)) if isinstance(event, Frame)]
    recorder.write(events, [0.0] * 3, [Position(event.position, event.number) for event in events])
    recorder.close()  # without its books, as after the end of the process
    assert not is_complete(path)
    intake, ready = taken_in(path, [*scan(range(2, 6)), End(5)], resume=True)
    assert np.array_equal(recorded(path)[0], [image(n) for n in range(6)]) and is_complete(path)
    assert sorted(frame.number for frame in ready) == list(range(6)) and intake.told()["repeated"] == 1


def test_what_the_source_knew_is_known_at_once_when_a_recording_goes_on(tmp_path):
    """A picture is made of the recorded frames before the source says anything, and it may not say it again."""
    mask = image(0) >= 0
    mask[1, 2] = False
    told = {
        "energy_ev": 8800.0, "distance_m": 2.5, "detector_pixel_size_m": (5e-5, 6e-5), "pixel_size_m": (2e-8, 3e-8),
        "measured": "intensity", "mask": mask, "positions_unit": "um",
    }  # fmt: skip
    recorder = begun(tmp_path / "r.h5", told, image(0))
    recorder.write([Frame(0, image(0))], [0.0], [Position((1.0, 2.0), 0)])
    recorder.close()
    about = Intake(Given([]), tmp_path / "r.h5", policy_of("newest"), waiting=9, quiet_s=1, resume=True).about
    assert np.array_equal(about.pop("mask"), told.pop("mask"))
    for name, value in told.items():
        assert about[name] == value if isinstance(value, str) else about[name] == pytest.approx(value), name


OPERATIONS = 21  # on datasets, of one call of `Recorder.write`: three for each of seven columns


def killed_while_writing(path, operation):
    """Record three frames, and two more until the process is killed before the given operation on a dataset."""
    with warnings.catch_warnings():  # of JAX, if another test has loaded it
        warnings.simplefilter("ignore", RuntimeWarning)
        child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    recorder, left = begun(path, ABOUT, image(0)), [operation]

    def write(numbers):
        frames = scan(numbers)
        recorder.write(frames, [0.0] * len(frames), [Position(frame.position, frame.number) for frame in frames])

    def counted(method):
        def call(*args, **settings):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return method(*args, **settings)

        return call

    write(range(3))
    for name in ("resize", "__setitem__", "flush"):
        setattr(h5py.Dataset, name, counted(getattr(h5py.Dataset, name)))
    write(range(3, 5))
    os._exit(0)


@pytest.mark.parametrize("operation", range(OPERATIONS + 1))
def test_a_recording_that_is_killed_at_any_moment_goes_on_with_all_positions(tmp_path, operation):
    path = tmp_path / "r.h5"
    assert killed_while_writing(path, operation) == (operation < OPERATIONS)
    intake, ready = taken_in(path, [*scan(range(6)), End(5)], resume=True)
    patterns, positions = recorded(path)
    assert np.array_equal(patterns, [image(n) for n in range(6)])
    assert np.array_equal(positions, [[1.5 * n, -0.5 * n] for n in range(6)])
    assert sorted(frame.number for frame in ready) == list(range(6)) and intake.told()["recorded"] == 6


def test_a_file_that_is_no_recording_does_not_go_on(tmp_path):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(DataError, match="not a recording; name another folder"):
        taken_in(tmp_path / "r.h5", [End()], resume=True)


@pytest.mark.parametrize(("policy", "refused"), [("newest:4", "skipped"), ("every:3", "thinned")])
def test_a_policy_refuses_by_its_name(tmp_path, policy, refused):
    intake = Intake(Given([*scan(range(12)), End()]), tmp_path / "r.h5", policy_of(policy), waiting=10, quiet_s=1)
    intake.start()
    intake.join()
    ready = [frame.number for frame in intake.take()]
    assert ready == ([8, 9, 10, 11] if refused == "skipped" else [0, 3, 6, 9])
    assert intake.told()["refused"] == {refused: 8} and intake.told()["recorded"] == 12


def test_the_policy_block_makes_the_source_wait(tmp_path):
    intake, ready = taken_in(tmp_path / "r.h5", *[[each] for each in scan(range(40))], [End()], policy="block:1")
    assert len(ready) == 40 and not intake.told()["refused"]


def test_books_that_do_not_balance_are_an_error():
    books = Books()
    books.arrived(1, good=True)
    books.use(1)
    books.check()
    books.used = 2
    with pytest.raises(RunError, match="the books do not balance"):
        books.check()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_faults_and_any_order_give_the_same_recording_and_balanced_books(tmp_path, data):
    n = data.draw(st.integers(1, 30), "frames")
    subset = st.sets(st.integers(0, n - 1))
    lost, damaged, again, placeless = (data.draw(subset, name) for name in ("lost", "damaged", "again", "placeless"))
    apart, first = data.draw(st.booleans(), "apart"), data.draw(st.integers(0, 1000), "first")
    there = sorted(set(range(n)) - lost - damaged)
    events = []
    for i in range(n):
        at = (0.25 * i, 3.0 - i)
        own = None if apart or i in placeless else at
        if i not in lost:
            one = Frame(first + i, None if i in damaged else image(i), 10.0 + i, own)
            events += [one, one] if i in again else [one]
        if apart and i not in placeless:
            events.append(Position(at, first + i))
    events = data.draw(st.permutations(events), "order")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3), "groups"))
    groups = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    path = tmp_path / "r.h5"
    path.unlink(missing_ok=True)
    intake, ready = taken_in(path, [Begin(ABOUT, first, n)], *groups, [End(first + n - 1)])
    intake.use(len(ready))
    intake.books.check()
    told = intake.told()
    sent_again = len([i for i in again if i in there])
    assert told["published"] == n and told["recorded"] == len(there) and told["repeated"] == sent_again
    assert sum(told["lost"].values()) == n - len(there)
    assert told["lost"]["damaged"] == len(damaged - lost)
    assert told["waiting"] == 0 and told["used"] == len(ready) == len(set(there) - placeless)
    kept = sorted(set(there) - placeless)
    if kept:
        patterns, positions = recorded(path)
        assert np.array_equal(patterns, [image(i) for i in kept])
        assert np.array_equal(positions, [[0.25 * i, 3.0 - i] for i in kept])


def test_positions_from_a_file_of_their_own(tmp_path):
    (tmp_path / "p.csv").write_text("y_um,x_um\n0,1\n2,3\n4,5\n")
    frames = [Frame(n, image(n)) for n in (2, 0)]
    source, positions = Given([*frames, End()]), source_of(f"positions:{tmp_path / 'p.csv'}")
    intake = Intake(source, tmp_path / "r.h5", policy_of("newest"), waiting=9, quiet_s=5, positions=positions)
    intake.start()
    intake.join()
    assert {frame.number: frame.position for frame in intake.take()} == {2: (4.0, 5.0), 0: (0.0, 1.0)}
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["stream/position"].attrs["units"] == "um" and len(file["stream/position"]) == 3


def test_a_second_source_of_positions(tmp_path):
    places = Given([Position((float(n), 0.0), n) for n in range(5)])
    source = Given(*[[each] for each in scan(range(5), apart=True) if isinstance(each, Frame)], [End()])
    intake = Intake(source, tmp_path / "r.h5", policy_of("newest"), waiting=9, quiet_s=5, positions=places)
    intake.start()
    intake.join()
    assert sorted(frame.position[0] for frame in intake.take()) == [0, 1, 2, 3, 4]
