"""Under mpirun: run the named cases in the stores given, and keep what rank 0 ends with.

Usage: one_answer.py FOLDER PRECISION BACKEND CASES STORES, the last two separated by commas.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mpi_runs import solved

from adorym.comm import communicator


def main() -> None:
    folder, (precision, backend, cases, stores) = Path(sys.argv[1]), sys.argv[2:]
    comm = communicator()
    for name in cases.split(","):
        for store in stores.split(","):
            found = solved(name, folder, store=store, precision=precision, backend=backend)
            for key, array in found.items():
                every = comm.gather(np.asarray(array).reshape(1, -1))
                assert all(np.array_equal(every[0], each) for each in every), f"{name} {store} {key}: ranks differ"
            if comm.is_root:
                np.savez(folder / f"{name}-{store}-{precision}-{comm.size}.npz", **found)


main()
