"""The page in a browser. Where there is no Chromium these tests are skipped."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from watched import MARKUP, GoingOn, finished, scan, volume

from adorym.data.result import Result
from adorym.watch.server import Server

PATIENCE_S = 90
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        path = next((found for name in NAMES if (found := shutil.which(name))), running.chromium.executable_path)
        if not Path(path).exists():
            pytest.skip("no Chromium: install it with the system's packages, or with 'playwright install chromium'")
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "runs"
    finished(folder, "foam", volume())
    finished(folder, "star", scan())
    return folder


class Window:
    """A page in the browser, and all that it asked for and complained about."""

    def __init__(self, browser, folder) -> None:
        self.server = Server([folder])
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()
        self.page = browser.new_page(viewport={"width": 1300, "height": 900})
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.complaints, self.asked, self.dialogs = [], [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def open(self, name=None):
        self.page.goto(self.server.address)
        self.drawn()
        if name is not None:
            self.choose(name)
        return self.page

    def entry(self, name):
        return self.page.locator("nav li").filter(has=self.page.locator(f".open[title='{name}']"))

    def choose(self, name):
        self.entry(name).locator(".open").click()
        self.until(lambda: self.page.locator("article h2").first.inner_text() == name, name)
        self.drawn()

    def drawn(self):
        """Wait until every picture is there; the curves come with the last of them."""
        self.page.wait_for_selector("canvas[data-version]")
        self.wait_for("[...document.querySelectorAll('canvas')].every(c => c.dataset.version)")

    def pixels(self, picture, place=0):
        """Mean of red, green and blue over a picture as it is on the screen, without its transparent pixels."""
        return self.page.evaluate(
            """([name, place]) => {
                const canvas = document.querySelectorAll(`canvas[data-picture="${name}"]`)[place];
                const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                let sum = 0, n = 0;
                for (let i = 0; i < data.length; i += 4) if (data[i + 3]) { sum += data[i]; n += 1; }
                return n ? sum / n : null;
            }""",
            [picture, place],
        )

    def until(self, true, what):
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end, what
            self.page.wait_for_timeout(50)

    def wait_for(self, script):
        self.until(lambda: self.page.evaluate(script), script)

    def slide(self, picture, role, value, place=0):
        slider = self.page.locator(f".picture:has(canvas[data-picture='{picture}']) [data-role='{role}']").nth(place)
        slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", str(value))

    def close(self):
        self.page.close()
        self.server.stop()
        self._thread.join(10)


@pytest.fixture
def window(browser, root):
    made = Window(browser, root)
    yield made
    made.close()


def test_the_page_loads_and_shows_the_runs(window):
    page = window.open("star")
    assert page.locator("nav li").count() == 2
    assert page.title() == "star · Adorym"
    facts = page.locator(".facts").inner_text()
    assert "30 of 30" in facts and "Per epoch" in facts
    pictures = page.evaluate("[...document.querySelectorAll('canvas')].map(c => c.dataset.picture)")
    assert pictures == ["amplitude", "phase", "probe", "probe", "probe", "measured", "predicted"]
    curves = page.evaluate("[...document.querySelectorAll('[data-curve]')].map(c => c.dataset.curve)")
    assert set(curves) == {"loss", "propagation_distance", "time_s"}
    assert page.locator(".positions path").count() == 3
    assert "end of star" in page.locator("pre").inner_text()
    assert page.locator("table").first.inner_text().count("\n") >= 4
    assert window.complaints == []  # of the security policy, too
    own = window.server.address.partition("?")[0]
    assert [url for url in window.asked if not url.startswith((own, "data:"))] == []


def test_pictures_change_during_a_run(window, root):
    going = GoingOn(root / "new")
    going.advance(3)
    page = window.open("new")
    assert "running" in page.locator("article header").inner_text()
    window.slide("amplitude", "high", 1000)  # a fixed range: automatic contrast would hide the change
    before = window.pixels("amplitude")
    going.advance(4, factor=0.5)
    window.until(lambda: window.pixels("amplitude") < 0.8 * before, "the picture does not follow")
    window.until(lambda: "7 of 100" in page.locator(".facts").inner_text(), "the numbers do not follow")
    going.end()
    window.until(lambda: "failed" in page.locator("article header").inner_text(), "the end is not shown")


def test_the_slider_goes_through_the_slices(window):
    page = window.open("foam")
    where, canvas = page.locator(".picture h2 small").first, page.locator("canvas[data-picture='delta']")
    assert where.inner_text() == "slice 15 of 28"
    shown = lambda: canvas.get_attribute("data-section")  # noqa: E731
    seen = []
    window.slide("delta", "low", 0)
    for index in (3, 20, 27):
        window.slide("delta", "slice", index)
        assert where.inner_text() == f"slice {index + 1} of 28"  # at once; the picture comes from the server
        window.until(lambda k=index: shown() == f"z {k}", "the slice does not follow")
        seen.append(canvas.evaluate("c => c.toDataURL()"))
    assert len(set(seen)) == 3
    page.select_option(".picture [data-role='axis'] >> nth=0", "y")
    assert where.inner_text().endswith("of 20")
    window.until(lambda: shown().startswith("y "), "the axis does not follow")
    # Along y every section shows delta growing from the left to the right.
    ends = canvas.evaluate("c => [2, c.width - 3].map(x => c.getContext('2d').getImageData(x, 5, 1, 1).data[0])")
    assert ends[0] < 20 and ends[1] > 235


def test_contrast_changes_the_picture_and_comes_back(window):
    window.open("star")
    before = window.pixels("phase")
    window.slide("phase", "high", 400)
    brighter = window.pixels("phase")
    window.slide("phase", "low", 395)
    window.slide("phase", "gamma", 100)
    assert brighter > before + 3 and abs(window.pixels("phase") - brighter) > 3
    window.page.locator(".picture:has(canvas[data-picture='phase']) [data-role='auto']").click()
    assert window.pixels("phase") == pytest.approx(before, abs=0.5)
    window.page.select_option(".picture:has(canvas[data-picture='phase']) [data-role='palette']", "inferno")
    assert window.pixels("phase") != pytest.approx(before, abs=0.5)


def test_two_runs_side_by_side(window, root):
    finished(root, "star 2", scan(epochs=20, factor=0.5))
    page = window.open("star")
    window.entry("star 2").locator(".compare").click()
    window.wait_for("document.querySelectorAll('article canvas[data-version]').length === 14")
    boxes = [page.locator("article").nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert page.locator("[data-curve='loss'] path.line").count() == 2
    assert page.locator("[data-curve='loss']").count() == 1
    window.entry("star 2").locator(".compare").click()
    window.wait_for("document.querySelectorAll('article').length === 1")
    assert page.locator("[data-curve='loss'] path.line").count() == 1


def test_zoom_and_contrast_are_linked(window, root):
    finished(root, "star 2", scan(epochs=20))
    page = window.open("star")
    window.entry("star 2").locator(".compare").click()
    window.wait_for("document.querySelectorAll('article canvas[data-version]').length === 14")
    phases = page.locator("canvas[data-picture='phase']")
    zooms = lambda: {phases.nth(i).get_attribute("data-zoom") for i in (0, 1)}  # noqa: E731
    assert zooms() == {"0.5000 0.5000 1.000"}
    phases.first.hover(position={"x": 40, "y": 40})
    page.mouse.wheel(0, -400)
    window.until(lambda: "2.718" in next(iter(zooms())), "no zoom")
    zoomed = zooms()
    assert len(zoomed) == 1 and float(next(iter(zoomed)).split()[0]) < 0.5  # towards the pointer
    page.mouse.down()
    page.mouse.move(0, 0)
    page.mouse.up()
    assert len(zooms()) == 1 and zooms() != zoomed
    phases.last.dblclick()
    assert zooms() == {"0.5000 0.5000 1.000"}
    window.slide("phase", "high", 300, place=1)
    values = page.evaluate(
        "[...document.querySelectorAll('.picture:has(canvas[data-picture=phase]) [data-role=high]')].map(e => e.value)"
    )
    assert abs(float(values[0]) - float(values[1])) <= 2


def test_a_missing_or_wrong_token_is_refused(window):
    address = window.server.address.partition("?")[0]
    for url in (address, f"{address}?token=wrong"):
        answer = window.page.goto(url)
        assert answer.status == 403 and "token" in window.page.locator("body").inner_text()
    window.open("star")
    refused = window.page.evaluate("fetch('api/runs').then(r => r.status)")
    assert refused == 403
    allowed = (
        "fetch('api/runs', {headers: {Authorization: 'Bearer ' + new URLSearchParams(location.search).get('token')}})"
    )
    assert window.page.evaluate(f"{allowed}.then(r => r.status)") == 200


def test_a_foreign_path_is_refused(window, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    window.open("star")
    script = """path => fetch(path, {
        headers: {Authorization: 'Bearer ' + new URLSearchParams(location.search).get('token')}
    }).then(r => r.text().then(t => [r.status, t]))"""
    for path in (
        "/../secret.txt", "/%2e%2e/secret.txt", "api/run?key=../secret.txt", f"api/run?key={tmp_path}/secret.txt",
        f"api/picture?key=..&name={tmp_path}/secret.txt", "api/..%2f..%2fsecret.txt", "/runs/star/result.h5",
    ):  # fmt: skip
        status, text = window.page.evaluate(script, path)
        assert status == 404 and "secret" not in text, path


def test_markup_in_names_is_shown_as_text(window, root):
    going = GoingOn(root / MARKUP, title=f"{MARKUP}<script>alert(2)</script>")
    (going.folder / "live" / "books.json").write_text('{"<svg onload=alert(3)>": "<b>bold</b>", "lost": {"<i>": 1}}')
    (going.folder / "log.txt").write_text("<script>alert(4)</script>\n")
    going.advance(2)
    page = window.open(MARKUP)
    assert page.locator("article h2").first.inner_text() == MARKUP
    text = page.locator("body").inner_text()
    assert "<script>alert(2)</script>" in text and "<svg onload=alert(3)>" in text.lower() and "<b>bold</b>" in text
    assert page.locator("img, article b:not(.scale b), article i:not(.scale i), article script").count() == 0
    assert window.dialogs == [] and window.complaints == []


def test_ten_thousand_epochs_are_drawn_with_few_points(window, root):
    epochs = np.arange(1, 10_001)
    history = {"epoch": epochs, "loss": 1.0 / epochs, "time_s": np.full(10_000, 0.1)}
    finished(root, "long", Result(np.ones((8, 8, 1)), history=history))
    page = window.open("long")
    path = page.locator("[data-curve='loss'] path.line")
    path.wait_for(state="attached")
    assert 100 < len(re.findall("[ML]", path.get_attribute("d"))) <= 1000
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    assert float(page.evaluate("document.body.dataset.updateMs")) > 0


def test_a_reload_shows_the_same_runs(window, root):
    page = window.open("star")
    window.entry("foam").locator(".compare").click()
    window.wait_for("document.querySelectorAll('article').length === 2")
    page.reload()
    names = "[...document.querySelectorAll('article header h2')].map(e => e.textContent)"
    window.until(lambda: page.evaluate(names) == ["star", "foam"], "the choice is lost")


def test_the_last_state_stays_when_the_server_ends(window):
    page = window.open("star")
    window.server.stop()
    page.wait_for_selector(".notice:not([hidden])")
    assert "does not answer" in page.locator(".notice").inner_text()
    assert window.pixels("phase") > 0
