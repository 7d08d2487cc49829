"""A data source of one's own: an event camera lists single photons; patterns are made of them when they are needed."""

import numpy as np

from adorym import Raw, Reader
from adorym.data.lengths import Lengths

MAGIC = b"EVENTS "


class EventPatterns:
    """Histograms of the events ``(frame, pixel)``, sorted by frame: only those of a batch are ever in memory."""

    def __init__(self, events, shape):
        self.events, self.shape = events, shape  # (n, y, x)
        self.first = np.searchsorted(events[:, 0], np.arange(shape[0] + 1))

    def read(self, index):
        """Patterns ``index`` as ``(len(index), y, x)`` float32."""
        n_pixels = self.shape[1] * self.shape[2]
        spans = [self.events[self.first[i] : self.first[i + 1], 1] for i in index]
        counts = np.array([np.bincount(pixels, minlength=n_pixels) for pixels in spans], np.float32)
        return counts.reshape(-1, *self.shape[1:])


class Events(Reader):
    """``EVENTS n ny nx energy_ev pixel_y_m pixel_x_m``, a line for each position (y, x) in meters, then the events."""

    def recognizes(self, path):
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC

    def extract(self, path, overrides):
        with path.open("rb") as file:
            n, ny, nx, energy_ev, *pixel_m = map(float, file.readline().split()[1:])
            positions_m = np.array([file.readline().split() for _ in range(int(n))], float)
            events = np.memmap(path, "<u4", "r", offset=file.tell()).reshape(-1, 2)  # stays in the file
        patterns = EventPatterns(events, (int(n), int(ny), int(nx)))
        return Raw(patterns, positions_m=positions_m, lengths=Lengths(energy_ev, tuple(pixel_m)))
