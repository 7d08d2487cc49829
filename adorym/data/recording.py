"""A recording of a stream: frames in the order in which they came, and which position belongs to which.

A recording is a file of the package's own layout with a group ``stream``:

| dataset | shape | meaning |
|---|---|---|
| ``stream/number``, ``stream/time_s`` | (n,) | number of each frame of ``exchange/data``; its time by the detector |
| ``stream/received_s`` | (n,) | when it arrived, seconds since 1970 |
| ``stream/position`` | (k, 2) | positions (y, x), with ``@units`` |
| ``stream/position_number``, ``stream/position_time_s`` | (k,) | number of the frame of each, -1 without; its time |

Frames and positions are joined when the file is opened: by number, or by time where positions have no number. The
patterns of the data set are the frames with a position, by number. Hence the data set does not depend on the order in
which frames and positions arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from adorym.data.hdf5 import find

NUMBER, TIME, RECEIVED = "stream/number", "stream/time_s", "stream/received_s"
POSITION, POSITION_NUMBER, POSITION_TIME = "stream/position", "stream/position_number", "stream/position_time_s"
NO_NUMBER = -1
RECORDING = "recording.h5"  # name of the file in the folder of a stream


@dataclass(frozen=True, eq=False)
class Joined:
    """The frames that have a position.

    Attributes:
        rows: ``(m,)`` their rows in the recording, by number.
        positions: ``(m, 2)`` (y, x), in the unit of the recording; empty if it has no positions at all.
        without: Numbers of the frames that have none.
    """

    rows: np.ndarray
    positions: np.ndarray
    without: np.ndarray


def joined(
    number: np.ndarray, time_s: np.ndarray, position: np.ndarray, of_number: np.ndarray, of_time_s: np.ndarray
) -> Joined:
    """Join frames and positions; the same for every order of both.

    Several positions of one number are averaged. Between the times of two positions the position is linear; outside of
    them there is none.

    Args:
        number: ``(n,)`` numbers of the frames.
        time_s: ``(n,)`` their times, NaN where unknown.
        position: ``(k, 2)``; without any, every frame counts.
        of_number: ``(k,)`` number of the frame of each position, `NO_NUMBER` if it has a time instead.
        of_time_s: ``(k,)`` time of each position.
    """
    order = np.argsort(number, kind="stable")
    if not len(position):
        return Joined(order, np.zeros((0, 2)), number[:0])
    found = np.full((len(number), 2), np.nan)
    timed = np.isfinite(of_time_s) & (of_number == NO_NUMBER)
    if timed.any():
        found = interpolated(time_s, position[timed], of_time_s[timed])
    numbered = of_number != NO_NUMBER
    if numbered.any():
        found = _by_number(number, position[numbered], of_number[numbered], found)
    has = np.isfinite(found).all(1)
    rows = order[has[order]]
    return Joined(rows, found[rows], np.sort(number[~has]))


def interpolated(time_s: np.ndarray, position: np.ndarray, of_time_s: np.ndarray) -> np.ndarray:
    """``(n, 2)`` positions at ``time_s``, linear between those of ``of_time_s``; NaN outside of them."""
    order = np.lexsort((position[:, 1], position[:, 0], of_time_s))
    at, values = of_time_s[order], position[order]
    return np.stack([np.interp(time_s, at, column, left=np.nan, right=np.nan) for column in values.T], axis=-1)


def _by_number(number: np.ndarray, position: np.ndarray, of_number: np.ndarray, found: np.ndarray) -> np.ndarray:
    """``found`` with the positions of the same number, averaged in an order of their own."""
    order = np.lexsort((position[:, 1], position[:, 0], of_number))
    known, first, count = np.unique(of_number[order], return_index=True, return_counts=True)
    mean = np.add.reduceat(position[order], first, axis=0) / count[:, None]
    place = np.minimum(np.searchsorted(known, number), len(known) - 1)
    match = known[place] == number
    found[match] = mean[place[match]]
    return found


def joined_in(file: h5py.File) -> Joined | None:
    """The join of the recording ``file``; ``None`` if it is none."""
    number = find(file, [NUMBER])
    if number is None:
        return None
    # Whoever reads during the recording may see some datasets longer than others.
    n = min(len(file[name]) for name in (NUMBER, TIME, "exchange/data"))
    k = min(len(file[name]) for name in (POSITION, POSITION_NUMBER, POSITION_TIME))
    return joined(number[:n], file[TIME][:n], file[POSITION][:k], file[POSITION_NUMBER][:k], file[POSITION_TIME][:k])
