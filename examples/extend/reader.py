"""A reader of one's own: a text header, then raw 16-bit counts, as a detector's control program may write them."""

import numpy as np

from adorym import Raw, Reader
from adorym.data.dataset import ArrayPatterns
from adorym.data.lengths import Lengths

MAGIC = b"RAWSCAN "


class RawScan(Reader):
    """``RAWSCAN n ny nx energy_ev pixel_y_m pixel_x_m``, a line for each position (y, x) in meters, then the counts."""

    def recognizes(self, path):
        """From the content of the file, never from its name."""
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC

    def extract(self, path, overrides):
        """What the file says; overrides, masks and units are the business of the package."""
        with path.open("rb") as file:
            n, ny, nx, energy_ev, *pixel_m = map(float, file.readline().split()[1:])
            positions_m = np.array([file.readline().split() for _ in range(int(n))], float)
            counts = np.fromfile(file, "<u2").reshape(int(n), int(ny), int(nx))
        return Raw(ArrayPatterns(counts), positions_m=positions_m, lengths=Lengths(energy_ev, tuple(pixel_m)))
