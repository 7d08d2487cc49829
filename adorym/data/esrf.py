"""What the ESRF writes beside the pictures of a tomogram: a file ``NAME.info`` of lines such as ``TOMO_N= 1500``.

``TOMO_N`` projections cover ``ScanRange`` degrees in even steps. The pictures after them, one at the end of the range
and a few at earlier angles, are there to see whether the sample moved. ``Energy`` is in keV, ``PixelSize`` in um,
``Distance`` in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adorym.data.patterns import select
from adorym.data.readers.base import Raw

KEV_EV, UM_M, MM_M = 1e3, 1e-6, 1e-3
LARGEST = 1 << 16  # of such a file, in bytes


def info_beside(files: Sequence[Path]) -> dict[str, float]:
    """The numbers in the ``.info`` file of a series of pictures; empty without one."""
    try:
        notes = sorted(files[0].parent.glob("*.info"))
        own = [each for each in notes if files[0].stem.startswith(each.stem)] or notes
        if len(own) != 1 or own[0].stat().st_size > LARGEST:
            return {}
        lines = own[0].read_text(encoding="latin-1").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        key, _, value = line.partition("=")
        try:
            number = float(value)
        except ValueError:
            continue
        if np.isfinite(number):
            found[key.strip()] = number
    return found


def described(raw: Raw, files: Sequence[Path]) -> Raw:
    """``raw`` with the angles, the energy and the lengths that the ``.info`` file beside its pictures has."""
    info = info_beside(files)
    n, angles, span = raw.patterns.shape[0], info.get("TOMO_N", 0), info.get("ScanRange", 0)
    energy, distance, pixel = (max(info.get(key, 0.0), 0.0) for key in ("Energy", "Distance", "PixelSize"))
    if not (energy or distance or pixel or span):
        return raw
    lengths = replace(
        raw.lengths,
        energy_ev=energy * KEV_EV or None,
        distance_m=distance * MM_M or None,
        detector_pixel_size_m=(pixel * UM_M, pixel * UM_M) if pixel else None,
    )
    raw = replace(raw, lengths=lengths, notes=(*raw.notes, "angles, energy and lengths are those of the .info file"))
    if not 1 < angles <= n or not span:
        return raw
    number = int(angles)
    notes = raw.notes if number == n else (*raw.notes, f"{n - number} pictures after the scan are left out")
    theta = np.deg2rad(span) * np.arange(number) / number
    patterns = select(raw.patterns, np.arange(number))
    return replace(raw, patterns=patterns, theta_rad=theta, angle_index=np.arange(number), scan_shape=None, notes=notes)
