"""A source of events that a test gives, and an intake of them."""

import time

import numpy as np

from adorym.stream.intake import Intake
from adorym.stream.policy import policy_of


class Given:
    """A source that gives ``events``, in groups between which it is silent."""

    def __init__(self, *groups):
        self.groups = groups

    def events(self):
        for group in self.groups:
            yield from group
            yield None


def taken_in(path, *groups, policy="newest:100000", waiting=100000, resume=False, quiet_s=5.0):
    """The intake of ``groups`` of events, after its end, and the frames that were ready for the picture."""
    intake = Intake(Given(*groups), path, policy_of(policy), waiting=waiting, quiet_s=quiet_s, resume=resume)
    intake.start()
    ready = []
    while not intake.over or len(ready) != len(ready := ready + intake.take()):
        time.sleep(1e-3)
    intake.join()
    return intake, ready


def image(number, shape=(3, 4), dtype=np.uint16):
    """A frame that no other number has."""
    return (np.arange(shape[0] * shape[1]).reshape(shape) + 20 * number).astype(dtype)
