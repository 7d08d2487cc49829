"""Under a launcher: run the named cases on the device that is none, and keep what rank 0 ends with.

Usage: device_run.py FOLDER CASES STORES, the last two separated by commas. Object, gradients and rows of parameters go
from rank to rank without the host; in the store ``dp`` a batch does not leave the device at all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from backends import DOUBLE
from device_runs import traffic
from mpi_runs import reconstruction, solved

from adorym.comm import communicator


def main() -> None:
    folder, cases, stores = Path(sys.argv[1]), *(each.split(",") for each in sys.argv[2:])
    comm = communicator()
    for name in cases:
        for store in stores:
            found = solved(name, folder, store=store, precision="double", backend=DOUBLE, device="auto")
            assert comm.devices is not None
            for key, array in found.items():
                every = comm.gather(np.asarray(array).reshape(1, -1))
                assert all(np.array_equal(every[0], each) for each in every), f"{name} {store} {key}: ranks differ"
            if comm.is_root:
                np.savez(folder / f"{name}-{store}.npz", **found)
    if "dp" in stores:
        left = traffic(reconstruction(cases[0], folder, backend=DOUBLE, device="auto"))
        assert not left, left


main()
