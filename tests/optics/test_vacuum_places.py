"""Where a beam is looked at for vacuum, and the object's value there."""

import numpy as np
import pytest

from adorym.optics.vacuum import SQUARE, Passed, places


def test_a_wide_beam_is_looked_at_in_its_bright_squares():
    """Squares do not overlap, and together hold nearly all of the beam; dark ones are left out."""
    beam = np.zeros((5 * SQUARE + 3, 4 * SQUARE))
    beam[SQUARE : 4 * SQUARE, : 2 * SQUARE] = 1.0
    covered = np.zeros_like(beam)
    for square in places(beam):
        assert covered[square].shape == (SQUARE, SQUARE)
        covered[square] += 1
    np.testing.assert_array_equal(covered, beam)


def test_a_small_beam_is_looked_at_as_a_whole():
    assert places(np.pad(np.ones((4, 4)), 30)) == [(slice(None), slice(None))]


@pytest.mark.parametrize("ramped", [False, True])
def test_value_of_the_vacuum(ramped):
    """Its modulus from the power, its phase only where places agree on it."""
    phase = np.linspace(-3, 3, 40) if ramped else np.full(40, 0.8)
    found = Passed(np.full(40, 0.36), 0.6 * np.exp(1j * phase)).vacuum_value
    assert found == pytest.approx(0.6 if ramped else 0.6 * np.exp(0.8j))
