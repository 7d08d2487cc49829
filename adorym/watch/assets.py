"""The files of the page."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

NAMES = ("page.html", "view.css", "draw.js", "view.js", "page.js", "widget.js")


@lru_cache(maxsize=1)
def assets() -> dict[str, str]:
    """Text of the page's files by name."""
    folder = resources.files("adorym.watch")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in NAMES}
