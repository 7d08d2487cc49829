"""The view of `adorym watch` in a notebook: ``adorym.Watch("out")``."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import anywidget

from adorym.watch.answers import Answer, Answers
from adorym.watch.assets import assets
from adorym.watch.folders import Library

EVERY_S = 1.0
REMEMBERED = 40  # addresses that the view has asked for lately


class Watch(anywidget.AnyWidget):
    """Shows runs in a notebook, while they go on or when they are finished; it only reads their folders.

    A thread sends what has changed, so that the view also moves while the kernel runs the reconstruction itself.

    Args:
        folders: Output folders of runs, or folders that hold such folders.

    Raises:
        ConfigError: One of them is no folder.
    """

    _esm = "\n".join(assets()[name] for name in ("draw.js", "view.js", "widget.js"))
    _css = assets()["view.css"]

    def __init__(self, *folders: str | Path) -> None:
        self._answers = Answers(Library(folders))
        self._asked: OrderedDict[str, str] = OrderedDict()  # addresses, and the version that the view has
        self._guard, self._over = threading.Lock(), threading.Event()
        super().__init__()
        self.on_msg(self._heard)
        threading.Thread(target=self._follow, name="adorym-watch", daemon=True).start()

    def close(self) -> None:
        """End the view."""
        self._over.set()
        super().close()

    def _heard(self, widget: object, content: Mapping[str, Any], buffers: object) -> None:
        self._tell(str(content.get("path", "")), str(content.get("have", "")))

    def _follow(self) -> None:
        """Send news without being asked: a kernel that computes hears no questions."""
        for path in self._first():
            self._asked[path] = ""
        while not self._over.wait(EVERY_S):
            self._news()

    def _news(self) -> None:
        for path, have in list(self._asked.items()):
            if path.startswith(("run?", "runs?")):
                self._tell(path, have, news_only=True)

    def _first(self) -> list[str]:
        """What a view asks for at first."""
        rows = json.loads(self._answers("runs", {}).body)["runs"]
        return ["runs?", *(f"run?{urlencode({'key': row['key']})}" for row in rows[:1])]

    def _tell(self, path: str, have: str, news_only: bool = False) -> None:
        with self._guard:
            answer = self._at(path, have)
            if news_only and answer.status != 200:
                return
            self._post(path, answer)
            if path.startswith("run?") and answer.status == 200 and news_only:
                for picture in [each for each in self._asked if each.startswith("picture?")]:
                    self._post(picture, self._at(picture, ""))
            version = json.loads(answer.body)["version"] if path.startswith("run") and answer.status == 200 else have
            self._asked[path] = version
            self._asked.move_to_end(path)
            while len(self._asked) > REMEMBERED:
                self._asked.popitem(last=False)

    def _at(self, path: str, have: str) -> Answer:
        parts = urlsplit(path)
        return self._answers(parts.path, dict(parse_qsl(parts.query)) | ({"have": have} if have else {}))

    def _post(self, path: str, answer: Answer) -> None:
        self.send({"path": path, "status": answer.status}, [answer.body])
