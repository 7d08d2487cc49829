"""A trained network for ptychography with its model card: what it knows, and whether data are foreign to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adorym.errors import DataError
from adorym.networks.prediction import Prediction, predict_scan
from adorym.networks.probe_fingerprint import FEATURES, Fingerprint
from adorym.networks.ptycho_nn import Core, PtychoNetwork
from adorym.networks.scan import Scan
from adorym.networks.weights import load_ptycho_network

# A picture whose misfit exceeds this many times the worst of the held-out scans does not come from such data.
WORSE = 1.5
LEAST = 0.1  # no picture this much better than vacuum is refused
MOST = 0.8  # and none hardly better than vacuum is believed
# So far may the middle of the patterns be from that of the beam: a ramp of the object's phase shifts them, too.
CENTERED_PX = 2.0


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with what its card says.

    Attributes:
        network: The network.
        card: The model card.
        path: File of the weights.
    """

    network: PtychoNetwork
    card: Mapping[str, Any]
    path: str

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> TrainedNetwork:
        """Read weights and card; those that the package brings if ``path`` is absent.

        Raises:
            DataError: The file cannot be read, or its card lacks what is needed.
        """
        network, texts = load_ptycho_network(path, device)
        try:
            card = {name: json.loads(texts[name]) for name in ("fingerprints", "probe_family", "group", "quality")}
        except (KeyError, ValueError) as error:
            raise DataError(
                str(path), "the model card is not complete", found=str(error),
                remedy="train the network again with 'adorym train ptycho_nn'",
            ) from error  # fmt: skip
        return cls(network, card, str(path))

    @property
    def group(self) -> int:
        """Patterns in a group."""
        return int(self.card["group"])

    @property
    def limit(self) -> float:
        """`Prediction.quality` above which a picture is refused."""
        return float(min(max(WORSE * max(self.card["quality"]), LEAST), MOST))

    def scan(self, dataset: Any, probe: np.ndarray, rows: np.ndarray | None = None) -> Scan:
        """``dataset``, or the patterns ``rows`` of it, as the network takes it.

        Raises:
            DataError: The patterns have another size than those of the network.
        """
        wanted = (self.network.size, self.network.size)
        if tuple(dataset.window_px) != wanted:
            raise DataError(
                dataset.path, "the patterns have another size than the network", expected=wanted,
                found=tuple(dataset.window_px), remedy="crop or bin them with 'data.crop' or 'data.bin', or train a "
                "network of their size",
            )  # fmt: skip
        return Scan(dataset, probe, self.group, rows=rows)

    def predict(
        self, scan: Scan, shape: tuple[int, int], origin_px: tuple[int, int], core: Core | None = None
    ) -> Prediction:
        """The picture of ``scan``; see `adorym.networks.prediction.predict_scan`."""
        return predict_scan(self.network, scan, shape, origin_px, core)

    def unknown_probe(self, probe: np.ndarray) -> str | None:
        """Why ``probe`` is not one that the network was trained for, or ``None`` if it is."""
        known = np.array([[each[name] for name in FEATURES] for each in self.card["fingerprints"]])
        found = Fingerprint.of(probe)
        if found.is_known(known, bool(self.card["probe_family"])):
            return None
        nearest = known[int(np.argmin(found.distances(known).max(1)))]
        number = int(np.argmax(found.distances(nearest[None])[0]))
        return (
            f"the probe is not one that the network was trained for: {FEATURES[number]} {found.values[number]:.3g}, "
            f"{nearest[number]:.3g} for the nearest"
        )

    def foreign(self, scan: Scan, prediction: Prediction) -> str | None:
        """Why the data are foreign to the network, or ``None`` if they are not."""
        unknown = self.unknown_probe(scan.probe)
        if unknown is not None:
            return unknown
        off = scan.off_center_px()
        if off > CENTERED_PX:
            return (
                f"the middle of the patterns is {off:.1f} px from that of the beam, at most {CENTERED_PX:g} px are "
                "expected: 'data.center' moves it"
            )
        if prediction.quality > self.limit:
            return (
                f"the predicted picture does not explain the patterns: its misfit is {prediction.quality:.2f} of "
                f"vacuum's, at most {self.limit:.2f} for data like those of the training; probe, orientation, scale or "
                "center may be others"
            )
        return None
