"""``python -m adorym.watch DIR``: serve until standard input is closed, as it is when the run beside it ends."""

from __future__ import annotations

import sys
import threading

from adorym.watch.server import Server


def main(folders: list[str]) -> None:
    """Print the address, then serve ``folders``."""
    server = Server(folders)
    sys.stdout.write(server.address + "\n")
    sys.stdout.flush()

    def wait() -> None:
        sys.stdin.read()
        server.stop()

    threading.Thread(target=wait, daemon=True).start()
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
