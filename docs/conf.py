"""Sphinx configuration. Figures, the component reference and the API pages are made anew at every build."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import generate_api  # noqa: E402
import generate_benchmarks  # noqa: E402
import generate_reference  # noqa: E402
import make_figures  # noqa: E402

from adorym._version import __version__  # noqa: E402

project = "Adorym"
author = "The Adorym developers"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "mathml",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
# The latter are parts of other pages.
exclude_patterns = ["_build", *(f"_generated/{name}.md" for name in ("map", "steps", "benchmarks*"))]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["adorym.css"]
html_math_renderer = "mathml"
html_title = f"Adorym {version}"
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "native"

default_role = "py:obj"  # `name` in a docstring links to that name where it exists
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Literals, roles, and directives with all that is indented below them stay as they are.
_PROTECTED = re.compile(
    r"``(?:.|\n)+?``|:[\w:]+:`[^`]+`|`[^`]+`|^(?P<indent> *)\.\. .*(?:\n(?:(?P=indent) +.*| *$))*", re.MULTILINE
)
# A bar, a star that opens nothing, an underscore that ends a word.
_NO_MARKUP = re.compile(r"\||(?<![\w*])\*{1,2}(?=\w)(?!(?:[^*\n]|\n(?!\n))*\w[).,]?\*)|(?<=\w)_(?!\w)")


def plain_formulas(_app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Let docstrings write ``|F|^2``, ``*state`` and ``x_`` as they stand: none of them is markup there."""
    text, made, position = "\n".join(lines), "", 0
    for protected in _PROTECTED.finditer(text):
        made += _NO_MARKUP.sub(r"\\\g<0>", text[position : protected.start()]) + protected[0]
        position = protected.end()
    lines[:] = (made + _NO_MARKUP.sub(r"\\\g<0>", text[position:])).split("\n")


def setup(app: object) -> None:
    """Make what is generated, and read docstrings before napoleon does."""
    generated = DOCS / "_generated"
    make_figures.main(generated)
    generate_reference.main(generated)
    generate_benchmarks.every_topic(generated)
    generate_api.main(generated / "api")
    app.connect("autodoc-process-docstring", plain_formulas, priority=400)
