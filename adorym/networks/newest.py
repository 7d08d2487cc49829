"""The newest weights in a file that explain a scan no worse than those before, while the scan goes on.

A training may replace the file at any time. Between two batches the new network is tried on the newest patterns, which
no training can have seen, and takes over unless it explains them worse.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np

from adorym.data.dataset import Dataset
from adorym.errors import AdorymError
from adorym.networks.prediction import patch_misfits, predict_patches
from adorym.networks.trained import TrainedNetwork
from adorym.networks.weights import weights_path

LOG = logging.getLogger("adorym")
TRIED = 32  # newest patterns on which two networks are compared
NO_WORSE = 1.02  # misfit of a new network, over that of the one before, with which it takes over


class NewestNetwork:
    """What a file of weights holds, as long as it gets no worse.

    Args:
        path: File of the weights; those that the package brings if absent.
        device: Where the network runs.

    Attributes:
        network: The network in use.
        name: Names its weights: the file and a digest of what it held.
    """

    def __init__(self, path: str | Path | None, device: str) -> None:
        self._path, self._device = weights_path("ptycho_nn", path), device
        self._seen = self._state()
        self.network, self.name = self._read()

    def look(self, dataset: Dataset, probe: np.ndarray, rows: np.ndarray) -> None:
        """Take over what the file holds now, unless it is worse on the newest patterns ``rows`` of ``dataset``."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            new, name = self._read()
            if name == self.name:
                return
            now, then = (self._misfit(each, dataset, probe, rows) for each in (new, self.network))
        except AdorymError as error:
            LOG.warning("%s stays in use: %s", self.name, error.message())
            return
        told = f"misfit {now:.4f} of the newest patterns, {then:.4f} with the former"
        if now > NO_WORSE * then:
            LOG.warning("%s stays in use: %s is worse, %s", self.name, name, told)
            return
        LOG.info("%s takes over from %s: %s", name, self.name, told)
        self.network, self.name = new, name

    def _misfit(self, trained: TrainedNetwork, dataset: Dataset, probe: np.ndarray, rows: np.ndarray) -> float:
        scan = trained.scan(dataset, probe, rows)
        index = np.arange(max(0, scan.length - TRIED), scan.length)
        return float(np.mean(patch_misfits(scan, predict_patches(trained.network, scan, None, index), index)))

    def _read(self) -> tuple[TrainedNetwork, str]:
        trained = TrainedNetwork.load(self._path, self._device)
        return trained, f"{self._path.name} {hashlib.sha256(self._path.read_bytes()).hexdigest()[:12]}"

    def _state(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:  # a file that is missing for a moment is no new one
            return getattr(self, "_seen", None)
        return found.st_mtime_ns, found.st_ino
