"""Figures of what the package does with data as people have them.

Usage: python benchmarks/real_files.py [--only NAME] [--json FILE]

Data are simulated on grids twice as fine as those of the reconstruction. The seeds were not used in choosing limits.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys

from figures import main
from first_probe import first_probe

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], {"first_probe": first_probe}))
