"""The report's page: complete, self-contained, safe."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from result_cases import ptychography_result

from adorym.data.result import ParameterResult, Result, read_result, write_result
from adorym.errors import DataError
from adorym.report import style
from adorym.report.base import Scene
from adorym.report.page import render, write_report
from adorym.report.score import Figure, Score

RESULT = ptychography_result()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Coarse pictures."""
    monkeypatch.setattr(style, "DPI", 30)


VOID = {"meta", "img", "br", "link"}


class Checker(HTMLParser):
    """Collects text and images, and the tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.ids |= {given["id"]} if "id" in given else set()
        if tag == "img":
            assert given["alt"] and int(given["width"]) > 0

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def check(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


def test_the_page_stands_alone_and_shows_everything(tmp_path):
    score = Score((Figure("object_nrmse", "object error", 0.0412, note="affine <removed>"),))
    path = write_report(RESULT, tmp_path / "new" / "report.html", score=score)
    page = check(path.read_text(encoding="utf-8"))
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.sources)
    assert {s[1:] for s in page.sources if s.startswith("#")} <= page.ids
    saved = sorted(p.stem for p in (tmp_path / "new" / "pictures").iterdir())
    assert saved == ["fit", "loss", "object", "parameters", "positions", "probe"]
    facts = ("siemens.h5", "Ptychography reconstruction", "8.1 s", "3 probe modes", "10 × 12 nm")
    tables = ("12.5 mm", "13.12 mm", "620 µm", "kind: ptychography", "torch", "0.0412", "affine <removed>")
    for text in (*facts, *tables, "Adorym 1.0.0"):
        assert text in page.text, text


def test_text_from_files_is_escaped():
    result = replace(RESULT, config="data: {path: '<script>alert(1)</script>'}", provenance={"<b>": "<i>"})
    html = render(Scene(result), [])
    assert "<script>" not in html and "<b>" not in html and "<i>" not in html


def test_the_page_of_a_bare_result_needs_nothing():
    page = check(render(Scene(Result(np.ones((3, 4, 1)))), [], name="out"))
    assert "out" in page.text and "Configuration" not in page.text and "Score" not in page.text


@pytest.mark.parametrize("config", ["", "just text", "[1, 2]", "a: [", "data: a.h5", "forward_model: ptychography"])
def test_any_configuration_can_be_shown(config):
    check(render(Scene(replace(RESULT, config=config)), []))


def test_a_model_from_a_file_is_called_by_its_class():
    config = "data: a.h5\nforward_model: {kind: /home/me/models.py:ThinObject}\n"
    page = check(render(Scene(replace(RESULT, config=config)), []))
    assert "ThinObject reconstruction" in page.text.split("Configuration")[0]


def test_the_table_says_what_was_not_changed():
    parameters = {
        "a": ParameterResult(np.ones(3), "m", np.ones(3)),
        "b": ParameterResult(np.ones(3) + 1j, "", None),
        "c": ParameterResult(np.zeros((0, 2)), "px", np.zeros((0, 2))),
        "d": ParameterResult(np.ones(2), "px", np.ones(3)),
    }
    cells = re.findall(r"<td>(.*?)</td>", render(Scene(replace(RESULT, parameters=parameters, provenance={})), []))
    assert cells[:5] == ["A", "3", "1 m", "1 m", "none"]
    assert cells[5:10] == ["B", "3", "", "|…| 1.414", ""]
    assert cells[10:15] == ["C", "0 × 2", "none", "none", ""]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/report.html: the report cannot be written"):
        write_report(Result(np.ones((3, 4, 1))), tmp_path / "file" / "report.html")


def test_reports_of_results_read_from_files_are_the_same(tmp_path):
    again = read_result(write_result(RESULT, tmp_path / "result.h5"))
    assert render(Scene(again), [], "x") == render(Scene(RESULT), [], "x")
