"""NeXus files of the application definitions NXcxi_ptycho and NXptycho.

Read leniently, since files in use leave out much of what the definition requires: every ``@units`` is honored, the
photon energy is that of the beam, positions are a list of translations or the motors of a raster.
"""

from __future__ import annotations

from pathlib import Path

import h5py

from adorym.data.hdf5 import find, open_hdf5, text_attribute
from adorym.data.overrides import Overrides
from adorym.data.readers.base import Raw, Reader
from adorym.data.readers.entry import definition_of, entry_groups, extract_entry, frames_of
from adorym.registry import register

DEFINITIONS = ("NXcxi_ptycho", "NXptycho")


def is_nexus(file: h5py.File) -> bool:
    """Whether an entry names a definition of ptychography, or the file is NeXus with patterns and not marked as CXI."""
    groups = entry_groups(file).values()
    if any(definition_of(group) in DEFINITIONS for group in groups):
        return True
    if find(file, ["cxi_version"]) is not None:
        return False
    return any(text_attribute(g, "NX_class") == "NXentry" and frames_of(g) is not None for g in groups)


@register("reader", "nexus")
class NexusReader(Reader):
    """NeXus files of ptychography."""

    def recognizes(self, path: Path) -> bool:
        with open_hdf5(path) as file:
            return is_nexus(file)

    def extract(self, path: Path, overrides: Overrides) -> Raw:
        return extract_entry(path, overrides, source_first=False)
