"""The stream of Dectris detectors: version 1 (JSON headers, one message an image) and version 2 (CBOR)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from adorym.stream.base import Begin, End, Event, Frame
from adorym.stream.cbor import MAGIC, Cbor

FILTERS = {"bslz4": hdf5plugin.Bitshuffle(), "lz4": hdf5plugin.LZ4()}
TYPES = {"uint8": "u1", "uint16": "<u2", "uint32": "<u4", "float32": "<f4", "int32": "<i4"}


def is_dectris(part: bytes) -> bool:
    """Whether a message that begins with ``part`` is of this stream."""
    return part.startswith(MAGIC) or (part.startswith(b"{") and b'"htype"' in part[:4096])


class Dectris:
    """Turns the messages of one detector into events; the numbers of its frames begin at 0."""

    def events(self, parts: Sequence[bytes]) -> Iterator[Event]:
        """The events of one message.

        Raises:
            ValueError: It cannot be read.
            KeyError: Something in it is missing.
        """
        yield from self._version_2(parts[0]) if parts[0].startswith(MAGIC) else self._version_1(parts)

    def _version_1(self, parts: Sequence[bytes]) -> Iterator[Event]:
        header = json.loads(parts[0])
        kind = header["htype"].partition("-")[0]
        if kind == "dheader":
            given = json.loads(parts[1]) if len(parts) > 1 and header.get("header_detail") != "none" else {}
            yield _begin(given)
        elif kind == "dimage":
            yield Frame(int(header["frame"]), _image_1(parts), _time_1(parts))
        elif kind == "dseries_end":
            yield End()

    def _version_2(self, part: bytes) -> Iterator[Event]:
        message = Cbor(part, decompressed).item()
        if message["type"] == "start":
            yield _begin(message)
        elif message["type"] == "image":
            yield Frame(int(message["image_id"]), _image_2(message), _time_2(message))
        elif message["type"] == "end":
            yield End()


def _begin(given: Mapping[str, Any]) -> Begin:
    """The beginning of a series from the settings of either version."""
    pixel = [given.get("y_pixel_size", given.get("pixel_size_y")), given.get("x_pixel_size", given.get("pixel_size_x"))]
    energy = given.get("incident_energy", given.get("photon_energy"))
    about = {
        "energy_ev": energy or _energy_of(given.get("wavelength", given.get("incident_wavelength"))),
        "distance_m": given.get("detector_distance") or None,
        "detector_pixel_size_m": None if None in pixel else tuple(map(float, pixel)),
    }
    if "number_of_images" in given:
        count = int(given["number_of_images"])
    else:
        count = int(given.get("nimages", 0)) * int(given.get("ntrigger", 1))
    return Begin({name: value for name, value in about.items() if value}, 0, count or None)


def _energy_of(wavelength_angstrom: float | None) -> float | None:
    return 12398.419843320026 / wavelength_angstrom if wavelength_angstrom else None


def _image_1(parts: Sequence[bytes]) -> np.ndarray | None:
    try:
        about = json.loads(parts[1])
        kind, shape = np.dtype(TYPES[about["type"]]), about["shape"][::-1]  # x comes first
        name = about["encoding"].rstrip("<>")
        coding = {"": "", "lz4": "lz4", f"bs{8 * kind.itemsize}-lz4": "bslz4"}[name]
        whole = parts[2] if not coding else decompressed(parts[2], coding, kind.itemsize, int(np.prod(shape)))
        return np.frombuffer(whole, kind).reshape(shape)
    except (KeyError, ValueError, IndexError, OSError, TypeError):
        return None


def _time_1(parts: Sequence[bytes]) -> float:
    """Start of the exposure in the series, from the fourth part, in seconds."""
    return float(json.loads(parts[3]).get("start_time", np.nan)) * 1e-9 if len(parts) > 3 else float("nan")


def _image_2(message: Mapping[str, Any]) -> np.ndarray | None:
    try:
        return np.asarray(next(iter(message["data"].values())))
    except (KeyError, ValueError, StopIteration, OSError, TypeError):
        return None


def _time_2(message: Mapping[str, Any]) -> float:
    ticks, per_second = message.get("start_time", (np.nan, 1))
    return float(ticks) / float(per_second)


def decompressed(packed: bytes, algorithm: str, item_bytes: int, count: int | None = None) -> bytes:
    """The content of a compressed block, by the HDF5 filter of the same format.

    Raises:
        ValueError: The algorithm is not known.
        OSError: The block is damaged.
    """
    if algorithm not in FILTERS:
        raise ValueError(f"compression '{algorithm}' is not known")
    total = int.from_bytes(packed[:8], "big")  # of both formats the first number is the size of the content
    kind = np.dtype({1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"}[item_bytes if algorithm == "bslz4" else 1])
    n = total // kind.itemsize
    if count is not None and total != count * item_bytes:
        raise ValueError(f"{total} bytes instead of {count * item_bytes}")
    with h5py.File("block", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("a", (n,), kind, chunks=(n,), **FILTERS[algorithm])
        dataset.id.write_direct_chunk((0,), packed)
        return bytes(dataset[()].tobytes())
