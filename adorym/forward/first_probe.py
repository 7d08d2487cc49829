"""The start probe where the data bring none: it is searched once, and kept beside the output."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from adorym.data.atomic import whole_file
from adorym.data.upsampling import spread
from adorym.forward.scans import each_scan
from adorym.optics.probe_search import AutoProbe, FoundProbe, Search
from adorym.optics.probes import InitialProbe
from adorym.parameters import Searched

LOG = logging.getLogger("adorym")

FILE_NAME = "first_probe.npz"
UNDECIDED = (
    "first probe: the patterns hardly tell the beam's defocus; if the picture is poor, give "
    "'parameters.probe.initial', for example {kind: mean_pattern, defocus: 50 um}"
)


def search_probe(bound: Any, settings: Any, folder: Path | None) -> Searched:
    """Settings with the probe that was searched, if the start probe is one that is."""
    initial, dataset = settings.first(bound.dataset), spread(bound.dataset)
    if not isinstance(initial, AutoProbe):
        return Searched(settings)
    if settings.per != "scan":
        found = kept(initial, dataset, folder)
        return Searched(replace(settings, initial=found), _diagnostics(found), f"first probe: {found.words}")
    each = tuple(kept(initial, data, folder, f"_{i}") for i, data in enumerate(each_scan(dataset), 1))
    told = {f"{name}_{i}": a for i, found in enumerate(each, 1) for name, a in _diagnostics(found).items()}
    words = "; ".join(f"scan {i}: {found.words}" for i, found in enumerate(each, 1))
    return Searched(replace(settings, initial=ScanProbes(each)), told, f"first probes: {words}")


@dataclass(frozen=True, eq=False)
class ScanProbes(InitialProbe):
    """A probe found for each scan.

    Attributes:
        found: In the order of the scans.
    """

    found: tuple[FoundProbe, ...]

    def make(self, dataset: Any) -> np.ndarray:
        return self.found[int(dataset.angle_index[0])].modes

    @property
    def decided(self) -> bool:
        """Whether the patterns tell the defocus of all of them."""
        return all(each.decided for each in self.found)


def _diagnostics(found: FoundProbe) -> dict[str, np.ndarray]:
    if not found.decided:
        LOG.warning(UNDECIDED)
    diagnostics = {
        "first_probe_rim_rad": np.asarray(found.rim_rad),
        "first_probe_candidates_rad": found.candidates_rad,
        "first_probe_misfit": found.misfit,
    }
    if found.defocus_m is not None:
        diagnostics["first_probe_defocus_m"] = np.asarray(found.defocus_m)
    return diagnostics


def kept(initial: AutoProbe, dataset: Any, folder: Path | None, suffix: str = "") -> FoundProbe:
    """The probe found in ``dataset``; the one in ``folder`` if it was found with the same settings in the same data."""
    search = Search(dataset, initial)
    if folder is None:
        return search.found()
    name, key = Path(FILE_NAME), search.key
    path = folder / f"{name.stem}{suffix}{name.suffix}"
    if (before := _read(path, key)) is not None:
        return before
    found = search.found()
    # A folder that cannot be written is refused where the run begins.
    with suppress(OSError), whole_file(path) as partial:
        np.savez(partial, key=key, **_in_file(found))
    return found


def _in_file(found: FoundProbe) -> dict[str, Any]:
    defocus = np.nan if found.defocus_m is None else found.defocus_m
    return {**vars(found), "defocus_m": defocus}


def _read(path: Path, key: str) -> FoundProbe | None:
    """What ``path`` keeps under ``key``; a file that cannot be read is as good as none."""
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile), path.open("rb") as stream:
        file = np.load(stream)
        return _from_file(file) if str(file["key"]) == key else None
    return None


def _from_file(file: Any) -> FoundProbe:
    defocus = float(file["defocus_m"])
    return FoundProbe(
        modes=file["modes"],
        rim_rad=float(file["rim_rad"]),
        defocus_m=defocus if np.isfinite(defocus) else None,
        candidates_rad=file["candidates_rad"],
        misfit=file["misfit"],
        decided=bool(file["decided"]),
        words=f"{str(file['words']).partition('; searched')[0]}; as found before",
    )
