"""What `benchmarks/parallel.py` starts under ``mpirun`` to measure the way between two ranks: one line of JSON."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from adorym.comm import Communicator, communicator


def seconds(comm: Communicator, n_bytes: int, times: int) -> float:
    """Shortest time of an exchange in which each of two ranks sends ``n_bytes`` to the other."""
    send, counts = np.ones(n_bytes // 4, np.float32), [0, 0]
    counts[1 - comm.rank] = len(send)
    taken = []
    for _ in range(times):
        comm.barrier()
        began = time.perf_counter()
        comm.exchange(send, counts, counts)
        taken.append(time.perf_counter() - began)
    return comm.max(min(taken))


def main() -> None:
    """Latency by the smallest message, bandwidth by a large one."""
    comm = communicator()
    latency, n_bytes = seconds(comm, 4, 1000), 16 << 20
    found = {"latency_s": latency, "bandwidth": n_bytes / (seconds(comm, n_bytes, 20) - latency)}
    if comm.is_root:
        sys.stdout.write(json.dumps(found) + "\n")


main()
