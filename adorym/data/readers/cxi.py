"""Coherent X-ray imaging files (CXI 1.3 and later, https://www.cxidb.org/cxi.html).

Everything is in SI units, the energy of the photons in joule; translations are the sample's, in meters.
"""

from __future__ import annotations

from pathlib import Path

from adorym.data.hdf5 import find, open_hdf5
from adorym.data.overrides import Overrides
from adorym.data.readers.base import Raw, Reader
from adorym.data.readers.entry import entry_groups, extract_entry, frames_of
from adorym.data.readers.nexus import is_nexus
from adorym.registry import register


@register("reader", "cxi")
class CxiReader(Reader):
    """CXI files, and files with the layout of CXI that do not say so."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            if is_nexus(file):
                return False
            groups = entry_groups(file)
            if find(file, ["cxi_version"]) is not None:
                return bool(groups)
            return any(frames_of(group) is not None for group in groups.values())

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        return extract_entry(path, overrides, source_first=True)
