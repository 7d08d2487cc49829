"""A reader of CBOR (RFC 8949), with typed arrays (RFC 8746) and the compressed ones of the Dectris stream."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

MAGIC = b"\xd9\xd9\xf7"  # the tag that says: this is CBOR
MULTI_DIMENSIONAL, COMPRESSED = 40, 56500
# Typed arrays of RFC 8746 by tag.
TYPED = {
    64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
FLOATS = {25: ">e", 26: ">f", 27: ">d"}
SIMPLE = {20: False, 21: True, 22: None, 23: None}
BREAK = object()


class Cbor:
    """Decodes one item.

    Args:
        data: The bytes.
        decompress: ``f(bytes, algorithm, element size)`` for compressed arrays.
    """

    def __init__(self, data: bytes, decompress: Callable[[bytes, str, int], bytes]) -> None:
        self._data, self._at, self._decompress = memoryview(data), 0, decompress

    def item(self) -> Any:
        """The next item.

        Raises:
            ValueError: It is cut off, or of an unknown kind.
        """
        first = self._take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self._simple(info)
        length = self._length(info)
        if major < 2:
            return length if major == 0 else -1 - (length or 0)
        if major < 4:
            whole = bytes(self._take(length)) if length is not None else b"".join(self._parts())
            return whole if major == 2 else whole.decode()
        if major == 4:
            return list(self._items(length))
        if major == 5:
            flat = list(self._items(None if length is None else 2 * length))
            return dict(zip(flat[::2], flat[1::2], strict=True))
        return self._tagged(length or 0)

    def _take(self, n: int) -> memoryview:
        part = self._data[self._at : self._at + n]
        if len(part) != n:
            raise ValueError("the message is cut off")
        self._at += n
        return part

    def _length(self, info: int) -> int | None:
        """The argument of an item; ``None`` of one of unknown length."""
        if info < 24:
            return info
        if info == 31:
            return None
        if info > 27:
            raise ValueError(f"no CBOR item has the length {info}")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _simple(self, info: int) -> Any:
        if info in FLOATS:
            return struct.unpack(FLOATS[info], self._take(struct.calcsize(FLOATS[info])))[0]
        if info == 31:
            return BREAK
        if info not in SIMPLE:
            raise ValueError(f"no simple value {info}")
        return SIMPLE[info]

    def _items(self, count: int | None) -> list[Any]:
        if count is not None:
            return [self.item() for _ in range(count)]
        return list(iter(self.item, BREAK))

    def _parts(self) -> list[bytes]:
        return list(iter(self.item, BREAK))

    def _tagged(self, tag: int) -> Any:
        value = self.item()
        if tag in TYPED:
            return np.frombuffer(value, np.dtype(TYPED[tag]))
        if tag == MULTI_DIMENSIONAL:
            shape, values = value
            return np.asarray(values).reshape(shape)
        if tag == COMPRESSED:
            algorithm, size, packed = value
            return self._decompress(packed, algorithm, size)
        return value
