"""cohere-core on a modulus, for `benchmarks/bragg.py`: run by a Python that has it; prints one line of JSON.

Usage: python bragg_cohere.py FOLDER    (which holds data.npy, the square root of the counts)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    from cohere_core.controller.phasing import Rec

    modulus = np.load(folder / "data.npy")
    parameters = {
        "algorithm_sequence": "3*(20*ER+180*HIO)+20*ER",
        "hio_beta": 0.9,
        "initial_support_area": [0.5, 0.5, 0.5],
        "shrink_wrap_trigger": [10, 1],
        "shrink_wrap_type": "GAUSS",
        "shrink_wrap_threshold": 0.1,
        "shrink_wrap_gauss_sigma": 1.0,
        "twin_trigger": [2],
        "twin_halves": [0, 0],
        "average_trigger": [-20, 1],
        "reconstructions": 1,
        "processing": "np",
        "data_dir": str(folder),
        "save_dir": str(folder),
    }
    start, wall = time.process_time(), time.perf_counter()
    rec = Rec(parameters, str(folder / "data.npy"), "np", debug=True)
    rec.init_dev(-1)
    rec.init_iter_loop(None, None) if rec.init_iter_loop.__code__.co_argcount > 2 else rec.init_iter_loop()
    rec.iterate()
    seconds = time.process_time() - start
    image, support = np.asarray(rec.ds_image), np.asarray(rec.support)
    found = np.abs(np.fft.fftn(image * (support > 0)))
    best = min(
        _chi2(np.roll(f, s, (0, 1, 2)), modulus) for f in (found, _twin(found)) for s in ((0, 0, 0), (32, 32, 32))
    )
    print(
        json.dumps(
            {
                "chi2": best,
                "voxels": int((support > 0).sum()),
                "processor_s": seconds,
                "wall_s": time.perf_counter() - wall,
            }
        )
    )


def _twin(a: np.ndarray) -> np.ndarray:
    return np.roll(a[::-1, ::-1, ::-1], (1, 1, 1), (0, 1, 2))


def _chi2(a: np.ndarray, b: np.ndarray) -> float:
    scale = float((a * b).sum() / (a * a).sum())
    return float(((scale * a - b) ** 2).sum() / (b * b).sum())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
