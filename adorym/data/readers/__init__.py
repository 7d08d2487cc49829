"""Readers of data files, found by the content of the file."""

from adorym.data.lengths import Lengths
from adorym.data.readers.base import Raw, Reader
from adorym.data.readers.entry import CxiReader, NexusReader
from adorym.data.readers.native import NativeReader
from adorym.data.readers.nxtomo import NxTomoReader
from adorym.data.readers.ptypy import PtypyReader

__all__ = ["CxiReader", "Lengths", "NativeReader", "NexusReader", "NxTomoReader", "PtypyReader", "Raw", "Reader"]
