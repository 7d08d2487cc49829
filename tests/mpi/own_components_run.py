"""Under mpirun: run the components of ``examples/extend`` in two stores, and keep the object that rank 0 ends with.

Usage: own_components_run.py FOLDER DATA KINDS, the last separated by commas.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from own_components import config

import adorym
from adorym.comm import communicator


def main() -> None:
    folder, data, kinds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    for kind in kinds.split(","):
        for store in ("dp", "h5"):
            where = f"run.scratch={folder}" if store == "h5" else "run.seed=1"
            result = adorym.reconstruct(config(kind, data, "run.precision=double", f"run.store={store}", where))
            if communicator().is_root:
                np.save(folder / f"{kind}-{store}.npy", result.object)


main()
