"""The page beside a run: a server in a process of its own, which ends with the run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

from adorym.callbacks.base import Callback, RunInfo
from adorym.comm import SWITCH
from adorym.data.result import Result
from adorym.errors import ConfigError

NEEDED = ("starlette", "uvicorn")
ENDS_WITHIN_S = 5.0


def check_installed(where: str) -> None:
    """Check that the libraries of the server are there.

    Raises:
        ConfigError: One is not.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"needs the optional library {' and '.join(missing)}"
        raise ConfigError(where, what, remedy="install it with 'pip install adorym[watch]'")


class Page(Callback):
    """Serves the output folder of a run while it lasts.

    Args:
        tell: Is given the address to open.

    Raises:
        ConfigError: The libraries of the server are not installed.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        check_installed("--watch")
        self._tell = tell
        self._process: subprocess.Popen[str] | None = None

    def on_start(self, run: RunInfo) -> None:
        if run.rank != 0 or run.output is None:
            return
        run.output.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "adorym.watch", str(run.output)],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {SWITCH: "0"},
            start_new_session=True,  # Ctrl-C is for the run
        )
        assert self._process.stdout is not None
        address = self._process.stdout.readline().strip()
        if address:
            self._tell(address)

    def on_end(self, run: RunInfo, result: Result | None) -> None:
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None
