"""Messages between machines: the package's own ones, and those of Dectris detectors, made here by hand."""

import json
import struct

import h5py
import hdf5plugin
import numpy as np
import pytest

from adorym.errors import DataError
from adorym.stream.base import Begin, End, Frame, Position
from adorym.stream.cbor import Cbor
from adorym.stream.dectris import Dectris, is_dectris
from adorym.stream.messages import decoded, encoded

IMAGE = np.random.default_rng(1).poisson(3.0, (16, 20)).astype("<u2")


def of(parts):
    (event,) = Dectris().events(parts)
    return event


# -- the package's own messages ---------------------------------------------------------------------------------------
def test_a_message_written_by_hand_is_read():
    header = {"type": "frame", "number": 7, "time_s": 1.5, "position": [2, 3], "arrays": [
        {"name": "image", "dtype": "<u2", "shape": [16, 20]}]}  # fmt: skip
    frame = decoded([json.dumps(header).encode(), IMAGE.tobytes()], "here")
    assert frame.number == 7 and frame.time_s == 1.5 and frame.position == (2.0, 3.0)
    assert np.array_equal(frame.image, IMAGE) and frame.image.dtype == np.uint16


@pytest.mark.parametrize(
    "event", [Frame(3, IMAGE, 2.5, (1.0, 2.0)), Frame(4, IMAGE), Position((1.0, 2.0), 5),
              Position((0.5, 1.0), time_s=3.5), End(9), End(), Begin({"energy_ev": 8000.0, "mask": np.eye(3)}, 0, 9)],
)  # fmt: skip
def test_every_event_comes_back(event):
    back = decoded(encoded(event), "here")
    assert type(back) is type(event)
    for name, value in vars(event).items():
        found = getattr(back, name)
        if isinstance(value, dict):
            assert set(found) == set(value) and all(np.array_equal(found[key], value[key]) for key in value)
        elif value is None or isinstance(value, np.ndarray):
            assert np.array_equal(found, value) if value is not None else found is None
        else:
            assert found == pytest.approx(value, nan_ok=True)


def test_a_frame_without_its_image_is_damaged():
    assert decoded(encoded(Frame(3, IMAGE))[:1], "here").image is None


def test_other_messages_are_refused():
    with pytest.raises(DataError, match="here: a message that cannot be read"):
        decoded([b"hello"], "here")
    with pytest.raises(
        DataError, match="a message of unknown type; expected begin, frame, position or end; found hello"
    ):
        decoded([b'{"type": "hello"}'], "here")


# -- Dectris, version 1 -----------------------------------------------------------------------------------------------
def packed(image, **filters):
    """The chunk that HDF5 itself stores of an image."""
    with h5py.File("block", "w", driver="core", backing_store=False) as file:
        flat = image.reshape(-1)
        dataset = file.create_dataset("a", data=flat, chunks=flat.shape, **filters)
        return dataset.id.read_direct_chunk((0,))[1]


@pytest.mark.parametrize(("encoding", "filters"), [
    ("<", None), ("bs16-lz4<", hdf5plugin.Bitshuffle()), ("lz4<", hdf5plugin.LZ4()),
])  # fmt: skip
def test_an_image_of_version_1(encoding, filters):
    blob = IMAGE.tobytes() if filters is None else packed(IMAGE, **filters)
    parts = [
        b'{"htype":"dimage-1.0","series":4,"frame":11,"hash":"x"}',
        json.dumps({"htype": "dimage_d-1.0", "shape": [20, 16], "type": "uint16", "encoding": encoding}).encode(),
        blob,
        b'{"htype":"dconfig-1.0","start_time":2500000000,"stop_time":2,"real_time":3}',
    ]
    assert is_dectris(parts[0])
    frame = of(parts)
    assert frame.number == 11 and frame.time_s == 2.5 and np.array_equal(frame.image, IMAGE)


def test_a_broken_image_of_version_1_is_damaged():
    about = json.dumps({"htype": "dimage_d-1.0", "shape": [20, 16], "type": "uint16", "encoding": "bs16-lz4<"}).encode()
    assert of([b'{"htype":"dimage-1.0","frame":3}', about, b"nothing"]).image is None


def test_the_beginning_and_the_end_of_version_1():
    given = {"photon_energy": 8000, "nimages": 5, "ntrigger": 2, "detector_distance": 1.5, "x_pixel_size": 7.5e-5,
             "y_pixel_size": 7.6e-5}  # fmt: skip
    begin = of([b'{"htype":"dheader-1.0","header_detail":"basic"}', json.dumps(given).encode()])
    assert begin.count == 10 and begin.first == 0
    assert begin.about == {"energy_ev": 8000, "distance_m": 1.5, "detector_pixel_size_m": (7.6e-5, 7.5e-5)}
    assert isinstance(of([b'{"htype":"dseries_end-1.0","series":4}']), End)


# -- Dectris, version 2 -----------------------------------------------------------------------------------------------
def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    return bytes([major << 5 | 26]) + struct.pack(">I", n)


def cbor(value):
    """CBOR of the values that these tests need, after RFC 8949."""
    if isinstance(value, bool):
        return bytes([0xF5 if value else 0xF4])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(key) + cbor(each) for key, each in value.items())
    tag, inner = value
    return head(6, tag) + cbor(inner)


def message(value):
    return [b"\xd9\xd9\xf7" + cbor(value)]


@pytest.mark.parametrize("compressed", [False, True])
def test_an_image_of_version_2(compressed):
    blob = IMAGE.tobytes()
    if compressed:
        blob = (56500, ["bslz4", 2, packed(IMAGE, **hdf5plugin.Bitshuffle())])
    array = (40, [[16, 20], (69, blob)])
    image = {
        "type": "image",
        "series_id": 1,
        "image_id": 12,
        "start_time": [2500, 1000],
        "data": {"threshold_1": array},
    }
    assert is_dectris(message(image)[0])
    frame = of(message(image))
    assert frame.number == 12 and frame.time_s == 2.5
    assert np.array_equal(frame.image, IMAGE) and frame.image.dtype == np.uint16


def test_the_beginning_and_the_end_of_version_2():
    given = {"type": "start", "incident_energy": 8000.0, "number_of_images": 9, "detector_distance": 1.5,
             "pixel_size_x": 7.5e-5, "pixel_size_y": 7.6e-5, "saturation": -1, "flag": True}  # fmt: skip
    begin = of(message(given))
    assert begin.count == 9 and begin.about["detector_pixel_size_m"] == (7.6e-5, 7.5e-5)
    assert isinstance(of(message({"type": "end", "series_id": 1})), End)


def test_a_message_that_is_cut_off_is_refused():
    with pytest.raises(ValueError, match="the message is cut off"):
        Cbor(cbor({"a": "long text"})[:-3], lambda *a: b"").item()


def test_cbor_of_unknown_length():
    data = b"\xbf" + cbor("a") + b"\x9f" + cbor(1) + cbor(2) + b"\xff" + cbor("b") + b"\xf6\xff"
    assert Cbor(data, lambda *a: b"").item() == {"a": [1, 2], "b": None}
