"""A short text by which two data sets can be told apart, and the agreement of all ranks on what they work on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from adorym.comm import Communicator
from adorym.data.dataset import Dataset
from adorym.errors import ConfigError

SAMPLED = 8  # patterns that are read
DIGITS = 16


def fingerprint(dataset: Dataset) -> str:
    """Of the shapes, the geometry, the positions, the mask and a few patterns, evenly spaced; read in no time.

    A change in a single pattern that is not among them is not noticed.
    """
    found = hashlib.sha256(repr((dataset.patterns.shape, dataset.measured)).encode())
    lengths = (dataset.energy_ev, dataset.pixel_size_m, dataset.detector_pixel_size_m, dataset.distance_m)
    found.update(repr((*lengths, dataset.source_distance_m)).encode())
    arrays = (dataset.probe_positions_px, dataset.angle_index, dataset.theta_rad, dataset.mask, dataset.weights)
    for array in (*arrays, dataset.propagation_distance_m):
        found.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    n = dataset.n_patterns
    sample = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).round().astype(np.intp))
    found.update(np.ascontiguousarray(dataset.patterns.read(sample), np.float32).tobytes())
    return found.hexdigest()[:DIGITS]


def agree(comm: Communicator, texts: Mapping[str, str]) -> None:
    """Raise on all ranks unless all have the same ``texts``, by what they tell of; collective.

    Raises:
        ConfigError: With the names of what differs, and the first rank that differs from rank 0.
    """
    digests = np.array([[list(hashlib.sha256(text.encode()).digest()) for text in texts.values()]], np.uint8)
    every = comm.gather(digests, "compare what the ranks have read")
    for rank, other in enumerate(every):
        different = [name for name, a, b in zip(texts, every[0][0], other[0], strict=True) if not np.array_equal(a, b)]
        if different:
            raise ConfigError(
                "mpi",
                f"rank {rank} does not have the same {' and '.join(different)} as rank 0",
                remedy="start all ranks with the same files and the same installation",
            )
