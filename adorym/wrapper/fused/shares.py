"""Work on many patterns, shared out among threads: compiled loops run without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

# A thread costs as much as the work on so many pixels.
LEAST_PIXELS = 2**17


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:  # a child that was forked has none of its parent's threads
    return ThreadPoolExecutor(workers, thread_name_prefix="adorym")


def shared_out(work: Callable[[slice], Any], n: int, pixels: int, workers: int) -> list[Any]:
    """What ``work`` returns for each share of ``n`` patterns, in their order.

    Threads that wait do not spin, and so leave their core to others. Work must not be shared out again within.

    Args:
        work: Called with the patterns of a share.
        n: Number of patterns.
        pixels: Those of all waves together.
        workers: Largest number of threads.
    """
    shares = max(1, min(workers, n, pixels // LEAST_PIXELS))
    bounds = [n * k // shares for k in range(shares + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    if shares == 1:
        return [work(parts[0])]
    others = [_pool(workers - 1, os.getpid()).submit(work, part) for part in parts[1:]]
    try:
        first = work(parts[0])
    finally:
        wait(others)  # they write into arrays of the caller
    return [first, *(other.result() for other in others)]
