"""The command ``adorym``, also as ``python -m adorym`` where scripts are not on the path."""

import signal


def main() -> None:
    """Start the command line, protected from its first moment on: importing it takes a while."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # batch systems send it before a job's end
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the process without a traceback
    from adorym.cli import main as command

    command()


if __name__ == "__main__":
    main()
