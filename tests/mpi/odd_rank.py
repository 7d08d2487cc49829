"""Under mpirun: a run in which rank 1 does something that it should not.

Usage: odd_rank.py CONFIG WHAT, with WHAT "raise", "leave", "stop", "alike" or "hang".
"""

from __future__ import annotations

import sys
import time

import adorym
from adorym.callbacks.base import Callback
from adorym.comm import communicator


class Odd(Callback):
    def on_epoch(self, run, record):
        if record.epoch != 2:
            return
        if sys.argv[2] == "alike":
            raise ZeroDivisionError("the same everywhere")
        if run.rank == 1:
            if sys.argv[2] == "raise":
                raise ZeroDivisionError("only here")
            if sys.argv[2] == "stop":
                self.reconstruction.stop("rank 1 has had enough")
            if sys.argv[2] == "leave":
                sys.exit(0)
            if sys.argv[2] == "hang":
                time.sleep(1000)


made = adorym.prepare(sys.argv[1])
odd = Odd()
odd.reconstruction = made
info = type("Info", (), {"rank": communicator().rank})
for record in made.epochs():
    odd.on_epoch(info, record)
sys.stdout.write(f"rank {communicator().rank} ended after epoch {made.progress.epoch}: {made.stop_reason}\n")
