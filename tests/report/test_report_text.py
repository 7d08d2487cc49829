"""Numbers as people read them."""

from __future__ import annotations

import numpy as np
import pytest

from adorym.report.text import counted, duration, number, quantity, title_of, values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (42.0, "42"), (-1.5, "−1.5"), (0.123456, "0.1235"), (12345.6, "1.235×10⁴"), (-1.5e-5, "−1.500×10⁻⁵"),
        (123456.0, "123456"), (3e7, "3.000×10⁷"),
        (float("nan"), "not a number"), (float("inf"), "∞"), (float("-inf"), "−∞"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.32e-8, "m", "13.2 nm"), (1e-6, "m", "1 µm"), (999e-9, "m", "999 nm"), (8800, "eV", "8.8 keV"),
        (-2e-3, "rad", "−2 mrad"), (0.0, "m", "0 m"), (0.5, "px", "0.5 px"), (3, "", "3"),
        (1e-30, "m", "1.000×10⁻¹⁵ fm"),
    ],
)  # fmt: skip
def test_quantity(value, unit, text):
    assert quantity(value, unit) == text


def test_values_share_one_unit():
    assert values(np.array(1.3e-8), "m") == "13 nm"
    assert values(np.array([1e-8, 2e-6]), "m") == "0.01, 2 µm"
    assert values(np.full((3, 2), 1e-5), "m") == "10 µm"
    assert values(np.arange(6) - 2, "px") == "−2 … 3 px"
    assert values(np.array([3 + 4j]), "") == "5"
    assert values(np.zeros(0), "m") == "none"
    assert values(np.full(6, np.nan), "m") == "not a number m"
    assert values(np.array([1.0, np.nan, 2, 3, 4]), "px") == "1 … 4 px"


def test_durations():
    assert [duration(s) for s in (0.0123, 12.34, 245, 7980)] == ["12.3 ms", "12.3 s", "4 min 05 s", "2 h 13 min"]
    assert duration(float("nan")) == "not known"


def test_titles():
    assert title_of("probe_positions") == "Probe positions"
    assert title_of("bragg_cdi") == "Bragg CDI"


def test_plurals():
    assert [counted(1, "batch"), counted(5, "batch"), counted(0, "epoch"), counted(1, "epoch")] == [
        "1 batch", "5 batches", "0 epochs", "1 epoch",
    ]  # fmt: skip
