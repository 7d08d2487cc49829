"""Sphinx extension: formulas become MathML at build time, so that the pages need neither network nor JavaScript."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

# Browsers do not honor the variant; the letters themselves exist, some outside their block of Unicode.
SCRIPT = re.compile(r'<mi mathvariant="script">([A-Z])</mi>')
SCRIPT_ELSEWHERE = dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))


def formula(tex: str, display: str) -> str:
    """``tex`` as a MathML element, ``display`` ``inline`` or ``block``."""
    try:
        return SCRIPT.sub(lambda match: f"<mi>{_script(match[1])}</mi>", convert(tex, display=display))
    except Exception as error:  # the converter has no base class of its own errors
        raise ExtensionError(f"cannot set the formula '{tex}': {error!r}") from error


def _script(letter: str) -> str:
    return SCRIPT_ELSEWHERE.get(letter) or chr(0x1D49C + ord(letter) - ord("A"))


def visit_inline(self: Any, node: nodes.math) -> None:
    """A formula in a line of text."""
    self.body.append(formula(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """A formula on a line of its own, with its number if it has one."""
    number = f'<span class="eqno">({get_node_equation_number(self, node)})</span>' if node["number"] else ""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(number + formula(node.astext(), "block") + "</div>")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Offer the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
