"""Public data sets: taken from a folder where they already lie, else fetched once into a cache.

The folder is an argument or the environment variable ``ADORYM_DATA``; the cache is pooch's.
"""

from __future__ import annotations

import os
from pathlib import Path

from adorym.data.dataset import Dataset
from adorym.data.keymap import KeyMap
from adorym.errors import DataError

ENVIRONMENT = "ADORYM_DATA"
SIEMENS_STAR = "siemens-star-small.npz.bz2"
SIEMENS_STAR_URL = f"https://raw.githubusercontent.com/AdvancedPhotonSource/tike/main/tests/data/{SIEMENS_STAR}"
SIEMENS_STAR_SHA256 = "dbce7715c1d4a7c28a48f684dacc7d343fbc5d06fe993d6ea31714ffb5c68d3d"
SIEMENS_STAR_MAP = ("patterns=data", "positions=scan", "probe=probe", "zero_frequency=corner")


def siemens_star_path(folder: str | Path | None = None) -> Path:
    """Path of the Siemens star measured at the Velociprobe (Advanced Photon Source), from tike's test data.

    516 far-field patterns of 128 x 128 pixels in photon counts, positions in pixels, an analytic probe. Licence: ANL
    open-source licence of tike.

    Args:
        folder: Where to look first, subfolders included; ``$ADORYM_DATA`` when not given.

    Raises:
        DataError: It is neither there nor can it be fetched.
    """
    return _local(SIEMENS_STAR, folder) or _fetched(SIEMENS_STAR_URL, SIEMENS_STAR, SIEMENS_STAR_SHA256)


def siemens_star(folder: str | Path | None = None) -> Dataset:
    """The Siemens star as a data set; the file knows neither energy nor pixel size."""
    return KeyMap.parse(SIEMENS_STAR_MAP).read(siemens_star_path(folder))


def _local(name: str, folder: str | Path | None) -> Path | None:
    given = folder if folder is not None else os.environ.get(ENVIRONMENT)
    if not given:
        return None
    root = Path(given).expanduser()
    return next((path for path in sorted(root.rglob(name)) if path.is_file()), None)


def _fetched(url: str, name: str, sha256: str) -> Path:
    import pooch  # only for those who fetch

    try:
        return Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=name, path=pooch.os_cache("adorym")))
    except (OSError, ValueError) as error:  # no network, or not the file that was expected
        raise DataError(
            name,
            "neither found nor fetched",
            expected=f"the file in a folder given as an argument or in ${ENVIRONMENT}, or a connection to {url}",
            found=f"{type(error).__name__}: {error}",
            remedy=f"download it elsewhere, put it into a folder and set {ENVIRONMENT} to that folder",
        ) from error
