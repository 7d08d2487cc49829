"""The server of the page: what it tells, what it refuses, and that nothing outside the folders can be reached."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import httpx
import numpy as np
import pytest
from watched import MARKUP, GoingOn, finished, scan, volume

from adorym.callbacks.base import RunInfo
from adorym.data.html import as_html
from adorym.data.looks import look_at
from adorym.errors import ConfigError
from adorym.watch import beside
from adorym.watch.folders import Library
from adorym.watch.server import Server, application

TOKEN = "a-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Page:
    """A client of a server for ``folders``, without a network."""

    def __init__(self, *folders) -> None:
        self.application = application(folders, TOKEN)

    def request(self, method, path, **options):
        async def ask():
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, what, **query):
        return self.request("GET", f"/api/{what}", params=query, headers=HEADERS)

    def runs(self):
        return {row["name"]: row for row in self.get("runs").json()["runs"]}

    def run(self, name):
        return self.get("run", key=self.runs()[name]["key"]).json()

    def picture(self, run, name, **query):
        """Header and values of a picture, read by the description of the format alone."""
        answer = self.get("picture", key=self.runs()[run]["key"], name=name, **query)
        assert answer.status_code == 200, answer
        line, _, numbers = answer.content.partition(b"\n")
        about = json.loads(line)
        planes = np.frombuffer(numbers, "<u2").reshape(-1, *about["shape"]).astype(float)
        values = [
            np.where(n == 0, np.nan, p["low"] + (n - 1) * (p["high"] - p["low"]) / 65534)
            for n, p in zip(planes, about["planes"], strict=True)
        ]
        return about, values


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "runs"
    finished(folder, "foam", volume())
    finished(folder, "star", scan())
    return folder


@pytest.fixture
def page(root):
    return Page(root)


# -- what it tells -----------------------------------------------------------------------------------------------------
def test_the_list_names_every_run_and_how_far_it_is(page, root):
    going = GoingOn(root / "series" / "new")
    going.advance(3)
    rows = page.runs()
    assert set(rows) == {"foam", "star", "series/new"}
    assert (rows["series/new"]["state"], rows["series/new"]["epoch"], rows["series/new"]["epochs"]) == (
        "running",
        3,
        100,
    )
    assert (rows["foam"]["state"], rows["foam"]["epoch"]) == ("finished", 8)
    assert rows["foam"]["loss"] == pytest.approx(1 / 8)
    going.end()
    assert page.runs()["series/new"]["state"] == "failed"


def test_a_folder_of_a_run_may_be_given_itself(root):
    assert set(Page(root / "foam").runs()) == {"foam"}
    assert set(Page(root / "foam", root / "star").runs()) == {"foam", "star"}


def test_a_run_that_is_silent_is_told_from_one_that_goes_on(page, root):
    going = GoingOn(root / "new")
    long_ago = going.state()["updated_s"] - 3600
    os.utime(going.folder / "live" / "state.json", (long_ago, long_ago))
    assert page.runs()["new"]["state"] == page.run("new")["state"] == "silent"
    (going.folder / ".running").touch()  # the lock is renewed every few seconds while the process lives
    assert page.run("new")["state"] == "running"


def test_a_finished_run_without_snapshots_is_shown_from_its_result(page):
    star = page.run("star")
    assert star["state"] == "finished" and star["log"] == "end of star\n"
    assert star["curves"]["loss"]["y"] == pytest.approx(scan().history["loss"], rel=1e-6)
    assert star["curves"]["propagation_distance"]["unit"] == "m"
    assert [each["name"] for each in star["pictures"]] == ["amplitude", "phase", "probe", "measured", "predicted"]
    assert star["pictures"][2]["parts"] == pytest.approx([0.8, 0.15, 0.05], abs=1e-3)
    assert star["positions"]["count"] == 100 and len(star["positions"]["start"]) == 100
    names = [row[0] for row in star["parameters"]]
    assert names == ["Probe positions", "Propagation distance", "Slice spacing", "Tilt"]


def test_sections_of_a_volume(page):
    assert page.run("foam")["pictures"][0]["sections"] == {"z": 28, "y": 20, "x": 24}
    delta = volume().object[..., 0]
    for axis, index, expected in (("z", 5, delta[:, :, 5]), ("y", 3, delta[3]), ("x", 23, delta[:, 23])):
        _, (values,) = page.picture("foam", "delta", axis=axis, index=index)
        np.testing.assert_allclose(values, expected, atol=1e-3)
    _, (beta,) = page.picture("foam", "beta", axis="y", index=0)
    np.testing.assert_allclose(beta, 2 * delta[0], atol=1e-3)


def test_of_a_scan_only_the_seen_part_is_shown_and_the_phase_has_no_ramp(page):
    about, (phase,) = page.picture("star", "phase")
    _, (amplitude,) = page.picture("star", "amplitude")
    assert phase.shape[0] < scan().object.shape[0] and np.isnan(phase[0, 0])
    inside = amplitude[phase.shape[0] // 4 : -phase.shape[0] // 4]
    assert np.nanmin(inside) > 0.7 and np.nanmax(inside) < 1.2  # the noise of 300 in the margins is left out
    assert np.nanmax(phase) - np.nanmin(phase) < 2.5 and about["planes"][0]["to"] - about["planes"][0]["from"] < 1.5


def test_probe_modes_are_amplitude_and_phase(page):
    about, (amplitude, phase) = page.picture("star", "probe", index=1)
    mode = scan().probe[1]
    np.testing.assert_allclose(amplitude, np.abs(mode), atol=1e-3 * np.abs(mode).max())
    strong = np.abs(mode) > 0.1 * np.abs(mode).max()
    np.testing.assert_allclose(np.exp(1j * phase)[strong], (mode / np.abs(mode))[strong], atol=1e-3)
    assert about["planes"][0]["to"] == pytest.approx(np.abs(scan().probe).max())


def test_a_run_that_goes_on_changes_its_version_and_its_pictures(page, root):
    going = GoingOn(root / "new")
    going.advance(2)
    first, (before,) = page.run("new"), page.picture("new", "amplitude")[1]
    key = page.runs()["new"]["key"]
    assert page.get("run", key=key, have=first["version"]).status_code == 204
    going.advance(2, factor=2.0)
    second, (after,) = page.get("run", key=key, have=first["version"]).json(), page.picture("new", "amplitude")[1]
    assert second["epoch"] == 4 and second["snapshot"] == first["snapshot"] + 1
    np.testing.assert_allclose(after, 2 * before, rtol=1e-3)
    assert second["learning_rates"] == {"object": 0.25} and len(second["curves"]["memory"]["y"]) == 2


def test_the_books_of_a_stream_are_passed_on(page, root):
    going = GoingOn(root / "new")
    books = {"published": 10, "recorded": 8, "lost": {"late": 2}}
    (going.folder / "live" / "books.json").write_text(json.dumps(books))
    assert page.run("new")["books"] == books


def test_ten_thousand_epochs_are_a_small_message(tmp_path):
    epochs = np.arange(1, 10_001)
    history = {"epoch": epochs, "loss": 1 / epochs + (epochs == 7777) * 5.0, "time_s": np.full(10_000, 0.1)}
    result = scan(0)
    finished(tmp_path, "long", type(result)(result.object, history=history))
    page = Page(tmp_path)
    answer = page.get("run", key=page.runs()["long"]["key"])
    assert len(answer.content) < 100_000
    loss = answer.json()["curves"]["loss"]
    assert len(loss["y"]) <= 1000 and max(loss["y"]) == pytest.approx(5 + 1 / 7777)  # a spike is not lost
    assert (loss["x"][0], loss["x"][-1]) == (1, 10_000)


# -- what it refuses ---------------------------------------------------------------------------------------------------
def test_without_the_token_there_is_nothing(page):
    for address in ("/", "/?token=wrong", "/?token="):
        answer = page.request("GET", address)
        assert answer.status_code == 403 and "whole address" in answer.text and "<" not in answer.text
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        for what in ("runs", "run", "picture", "other"):
            assert page.request("GET", f"/api/{what}?token={TOKEN}", headers=headers).status_code == 403
    assert page.request("GET", f"/?token={TOKEN}").status_code == 200


def test_nothing_can_be_changed(page):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert page.request(method, "/api/runs", headers=HEADERS).status_code == 405


def test_the_page_contains_all_it_needs_and_forbids_all_else(page):
    answer = page.request("GET", f"/?token={TOKEN}")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:)\w", answer.text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", answer.text)
    assert set(re.findall(r"https?://[^\s\"'`]+", answer.text)) <= {"http://www.w3.org/2000/svg"}
    for name in ("x-content-type-options", "referrer-policy", "cache-control"):
        assert name in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../etc/passwd",
        "/api/../../etc/passwd",
        "/api/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/static/view.js",
    ],
)
def test_paths_lead_nowhere(page, path):
    assert page.request("GET", path, headers=HEADERS, params={"token": TOKEN}).status_code == 404


@pytest.mark.parametrize("key", ["", "..", "../..", "/etc", "foam", "%2e%2e", "foam/../..", "\x00", "0"])
def test_only_keys_of_runs_that_were_found_are_known(page, key):
    assert page.get("run", key=key).status_code == 404
    assert page.get("picture", key=key, name="delta").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        {"name": "gamma"}, {"name": "delta", "axis": "t"}, {"name": "delta", "index": "28"}, {"name": "probe"}, {},
        {"name": "delta", "index": "-1"}, {"name": "delta", "index": "one"},
    ],
)  # fmt: skip
def test_a_picture_that_is_not_there(page, query):
    assert page.get("picture", key=page.runs()["foam"]["key"], **query).status_code == 404


def test_links_that_lead_outside_are_not_followed(page, root, tmp_path):
    outside = finished(tmp_path / "outside", "secret", volume())
    (root / "linked").symlink_to(outside)
    (root / "half").mkdir()
    (root / "half" / "result.h5").symlink_to(outside / "result.h5")
    (root / "star" / "log.txt").unlink()
    (root / "star" / "log.txt").symlink_to(outside / "log.txt")
    assert set(page.runs()) == {"foam", "star"}
    assert page.run("star")["log"] == ""


@pytest.mark.parametrize("kind", ["external link", "soft link", "external data", "virtual data"])
def test_a_result_that_points_to_other_files_is_not_read(page, root, tmp_path, kind):
    outside = tmp_path / "secret.h5"
    with h5py.File(outside, "w") as file:
        file["log"] = np.zeros(8)
    with h5py.File(root / "star" / "result.h5", "r+") as file:
        del file["history/loss"]
        if kind == "external link":
            file["history/loss"] = h5py.ExternalLink(str(outside), "/log")
        elif kind == "soft link":
            file["history/loss"] = h5py.SoftLink("/history/epoch")
        elif kind == "external data":
            file.create_dataset("history/loss", (8,), "u1", external=[(str(outside), 0, 8)])
        else:
            layout = h5py.VirtualLayout((8,), float)
            layout[:] = h5py.VirtualSource(str(outside), "log", (8,))
            file.create_virtual_dataset("history/loss", layout)
    assert page.get("run", key=page.runs()["foam"]["key"]).status_code == 200
    star = page.runs()["star"]
    assert star["state"] == "unreadable" and page.get("run", key=star["key"]).status_code == 404


def test_damaged_files_do_not_hide_the_other_runs(page, root):
    (root / "star" / "result.h5").write_bytes(b"not HDF5")
    going = GoingOn(root / "new")
    (going.folder / "live" / "state.json").write_text("[1, 2")
    (going.folder / "live" / "snapshot.npz").write_bytes(b"PK half")
    states = {name: row["state"] for name, row in page.runs().items()}
    assert states == {"foam": "finished", "star": "unreadable", "new": "unreadable"}
    assert page.run("foam")["epoch"] == 8


def test_names_are_data_not_markup(page, root):
    finished(root, MARKUP, volume())
    assert MARKUP in page.runs()  # JSON; the browser's test sees that the page shows it as text
    assert MARKUP not in page.request("GET", f"/?token={TOKEN}").text


def test_a_folder_that_is_not_there():
    with pytest.raises(
        ConfigError, match="DIR: no folder 'nowhere'; name the output folder of a run, or a folder of runs"
    ):
        Library(["nowhere"])


def test_a_port_that_is_taken_is_said_and_avoided(root):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"--port: cannot listen at 127.0.0.1; found .*; choose another one"):
            Server([root], port=number)
    first, second = Server([root]), Server([root])
    assert first.address.startswith("http://127.0.0.1:") and first.address != second.address
    tokens = {address.partition("token=")[2] for address in (first.address, second.address)}
    assert len(tokens) == 2 and all(len(token) >= 32 for token in tokens)
    for server in (first, second):
        server.close()


def test_missing_libraries_are_named(monkeypatch):
    monkeypatch.setattr(beside, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"--watch: needs the optional library starlette and uvicorn; install it with"
    ):
        beside.Page(lambda address: None)


# -- processes -------------------------------------------------------------------------------------------------------
def test_the_page_beside_a_run_ends_with_it(root):
    told = []
    page = beside.Page(told.append)
    info = RunInfo("t", 1, 1, 1, output=root / "foam")
    page.on_start(info)
    (address,) = told
    assert httpx.get(address).status_code == 200
    page.on_end(info, None)
    with pytest.raises(httpx.TransportError):
        httpx.get(address)
    page.on_start(replace(info, rank=1))
    page.on_end(info, None)
    assert len(told) == 1


def test_the_command_serves_until_it_is_interrupted(root):
    command = [sys.executable, "-m", "adorym", "watch", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().removeprefix("Open: ").strip()
        hint = process.stdout.readline()  # `communicate` does not see what has been buffered with the first line
        for _ in range(600):
            try:
                assert httpx.get(address).status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=120)
    assert process.returncode == 0 and complaints == rest == "" and "token" in hint


# -- notebooks ---------------------------------------------------------------------------------------------------------
def test_a_result_shows_itself_in_a_notebook():
    text = scan()._repr_html_()
    assert text.count("data:image/png;base64,") == 2 and "polyline" in text and "real_imag object" in text
    assert "slice 15 of 28" in volume()._repr_html_()
    assert "&lt;b&gt;" in as_html(look_at(volume()), "<b>") and "<b>" not in as_html(look_at(volume()), "<b>")


def test_the_widget_sends_news_and_answers(root):
    pytest.importorskip("anywidget")
    from adorym.watch.widget import Watch

    going, sent = GoingOn(root / "new"), []
    going.advance()
    widget = Watch(root)
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    widget._heard(widget, {"path": "runs?", "have": ""}, [])
    content, (body,) = sent[-1]
    assert content == {"path": "runs?", "status": 200}
    key = next(row["key"] for row in json.loads(body)["runs"] if row["name"] == "new")
    for path in (f"run?key={key}", f"picture?key={key}&name=phase&axis=z&index=0"):
        widget._heard(widget, {"path": path, "have": ""}, [])
        assert sent[-1][0] == {"path": path, "status": 200} and len(sent[-1][1][0]) > 1000
    sent.clear()
    going.advance(factor=2)
    widget._news()  # what its thread does every second
    assert {content["path"] for content, _ in sent} >= {"runs?", f"run?key={key}", path}
    sent.clear()
    widget._news()
    assert not sent
    widget.close()
