"""Public data sets: taken from a folder where they already lie, else fetched once into a cache.

The folder is an argument or the environment variable ``ADORYM_DATA``; the cache is pooch's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from adorym.data.dataset import Dataset
from adorym.data.keymap import KeyMap
from adorym.errors import DataError, suggestion

ENVIRONMENT = "ADORYM_DATA"
SIEMENS_STAR = "siemens-star-small.npz.bz2"
SIEMENS_STAR_URL = f"https://raw.githubusercontent.com/AdvancedPhotonSource/tike/main/tests/data/{SIEMENS_STAR}"
SIEMENS_STAR_SHA256 = "dbce7715c1d4a7c28a48f684dacc7d343fbc5d06fe993d6ea31714ffb5c68d3d"
SIEMENS_STAR_MAP = ("patterns=data", "positions=scan", "probe=probe", "zero_frequency=corner")

GOLD_URL = "https://raw.githubusercontent.com/hyiprc/3D-CDI-NN/66e13dae4c72a2e1c9db7831ba28051bb9e2378f/example_run"
GOLD_SHA256 = {
    "ft_crop_64": "bd3e975744224175c87a658d3b04d5cee179d434a221b67cd5e2fa0afb7e5e63",
    "ft_downsampled_32": "9beb9e010f9cea28c719262b271c928fbb99fd8cd782cd22c73511e5f2c011b1",
    "nn_output_32": "69c7858ceba7ea7584cec0b2917bdcc5ba0fe18fb2204d55b59a0d30cf20d97e",
    "ad_input_64": "6eee8cf25154f98def00e95b7867b302de79fc0703fcdd9baee83be957c5e349",
}


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


def gold_nanocrystal(name: str = "ft_crop_64", folder: str | Path | None = None) -> np.ndarray:
    """An array of the gold nanocrystal measured at 34-ID-C (Advanced Photon Source), from the 3D-CDI-NN example.

    Licence: ANL open-source licence of 3D-CDI-NN.

    Args:
        name: ``ft_crop_64``: modulus of the (111) peak over its maximum, (64, 64, 64); ``ft_downsampled_32``: the same
            resized; ``nn_output_32`` and ``ad_input_64``: the authors' prediction, complex.
        folder: Where to look first, subfolders included; ``$ADORYM_DATA`` when not given.

    Raises:
        DataError: There is no array of that name, or it is neither there nor can it be fetched.
    """
    if name not in GOLD_SHA256:
        raise DataError("gold_nanocrystal", f"no array '{name}'", remedy=suggestion(name, GOLD_SHA256))
    file = f"{name}.npy"
    return np.load(_local(file, folder) or _fetched(f"{GOLD_URL}/{file}", file, GOLD_SHA256[name]))


def gold_counts(folder: str | Path | None = None) -> np.ndarray:
    """Photon counts ``(64, 64, 64)`` float32 of the peak: the modulus is the root of whole numbers of its smallest
    value.
    """
    modulus = gold_nanocrystal("ft_crop_64", folder).astype(np.float64)
    return np.rint((modulus / modulus[modulus > 0].min()) ** 2).astype(np.float32)


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
