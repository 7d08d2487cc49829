"""The web server: one page and three addresses that only read, on this machine and for who has the token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adorym.errors import ConfigError
from adorym.watch.answers import Answers
from adorym.watch.assets import assets
from adorym.watch.folders import Library

PORT = 8765
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@lru_cache(maxsize=1)
def page() -> tuple[bytes, str]:
    """The page, which contains all it needs, and the policy that allows exactly that."""
    files = assets()
    script, style = f"\n{files['draw.js']}\n{files['view.js']}\n{files['page.js']}\n", f"\n{files['view.css']}\n"
    text = files["page.html"].replace("/*style*/", style).replace("/*script*/", script)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text.encode(), policy


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def application(folders: Sequence[str | Path], token: str) -> Starlette:
    """The server's application.

    Args:
        folders: Runs, or folders of runs; nothing outside them can be reached.
        token: What an address must carry: ``?token=`` for the page, a header ``Authorization: Bearer`` for the rest.
    """
    answers = Answers(Library(folders))

    def allowed(given: str) -> bool:
        return hmac.compare_digest(given.encode(), token.encode())

    async def show(request: Request) -> Response:
        if not allowed(request.query_params.get("token", "")):
            text = "This page needs the token: open the whole address that 'adorym watch' printed.\n"
            return Response(text, 403, HEADERS, "text/plain")
        content, policy = page()
        return Response(content, 200, HEADERS | {"Content-Security-Policy": policy}, "text/html")

    async def answer(request: Request) -> Response:
        if not allowed(request.headers.get("Authorization", "").removeprefix("Bearer ")):
            return Response("wrong token\n", 403, HEADERS, "text/plain")
        found = await run_in_threadpool(answers, request.path_params["what"], dict(request.query_params))
        return Response(found.body, found.status, HEADERS, found.kind)

    return Starlette(routes=[Route("/", show), Route("/api/{what}", answer)])


class Server:
    """A server that listens, and serves when told to.

    Args:
        folders: Runs, or folders of runs.
        host: Address to listen at; only this machine by default.
        port: Port; if absent `PORT`, or any other that is free.

    Attributes:
        address: What to open in a browser, token included.

    Raises:
        ConfigError: A folder does not exist, or the port cannot be used.
    """

    def __init__(self, folders: Sequence[str | Path], host: str = "127.0.0.1", port: int | None = None) -> None:
        token = secrets.token_urlsafe(24)
        made = application(folders, token)
        self._socket = _listen(host, port)
        config = uvicorn.Config(made, log_level="error", access_log=False, lifespan="off", server_header=False)
        self._server = uvicorn.Server(config)
        name = f"[{host}]" if ":" in host else host
        self.address = f"http://{name}:{self._socket.getsockname()[1]}/?token={token}"

    def serve(self) -> None:
        """Serve until `stop`, or a signal."""
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Stop listening, where `serve` was never called."""
        self._socket.close()

    def stop(self) -> None:
        """End `serve` soon; from any thread."""
        self._server.should_exit = True


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = ""
    for number in (PORT, 0) if port is None else (port,):
        try:
            return socket.create_server((host, number), family=family)
        except OSError as error:
            reason = error.strerror or str(error)
    where = "--host" if port is None else "--port"
    raise ConfigError(where, f"cannot listen at {host}", found=reason, remedy="choose another one")
