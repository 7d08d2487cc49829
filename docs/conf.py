"""Sphinx configuration. Figures, the component reference and the API pages are made anew at every build."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import generate_api  # noqa: E402
import generate_reference  # noqa: E402
import make_figures  # noqa: E402

from adorym._version import __version__  # noqa: E402

project = "Adorym"
author = "The Adorym developers"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = f"Adorym {version}"
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "native"

default_role = "py:obj"  # `name` in a docstring links to that name where it exists
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_PROTECTED = re.compile(r"(``.+?``|:[\w:]+:`[^`]+`|`[^`]+`)", re.DOTALL)
_ROLE_LIKE = re.compile(r"(?<!\\)([|*]|(?<=\w)_(?!\w))")


def plain_formulas(_app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Let docstrings write ``|F|^2``, ``a * b`` and ``x_`` as they stand: none of them is markup there."""
    directive_indent: int | None = None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if directive_indent is not None and line.strip() and indent <= directive_indent:
            directive_indent = None
        if directive_indent is None:
            parts = _PROTECTED.split(line)
            lines[number] = "".join(p if i % 2 else _escape(p) for i, p in enumerate(parts))
            if line.rstrip().endswith("::") or line.lstrip().startswith(".. "):
                directive_indent = indent


def _escape(text: str) -> str:
    bullet = re.match(r"\s*\* ", text)
    start = bullet.end() if bullet else 0
    return text[:start] + _ROLE_LIKE.sub(r"\\\1", text[start:])


def setup(app: object) -> None:
    """Make what is generated, and read docstrings before napoleon does."""
    generated = DOCS / "_generated"
    make_figures.main(generated)
    generate_reference.main(generated)
    generate_api.main(generated / "api")
    app.connect("autodoc-process-docstring", plain_formulas, priority=400)
