"""``python -m adorym`` is the command ``adorym``, for where scripts are not on the path."""

from adorym.cli import main

main()
