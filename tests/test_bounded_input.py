"""Configurations and quantities that would take all time or memory are refused at once."""

from __future__ import annotations

import time

import pytest

from adorym import units
from adorym.config_file import load
from adorym.errors import ConfigError

QUANTITIES = [
    "9**9**9**9 eV", "(9**9)**9 eV", "10**10**10", "1e99999 m", "eV**999999", "__import__('os')", "1 m" + " m" * 50,
    "m" * 99,
]  # fmt: skip
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_common_units_need_no_library_and_mean_what_it_says(monkeypatch):
    asked = units._registry()
    expected = {name: asked.Quantity(f"7.3 {name}").to(held).magnitude for name, (held, _) in units._COMMON.items()}
    monkeypatch.setattr(units, "_registry", None)
    for name, (held, _) in units._COMMON.items():
        for text in (f"7.3 {name}", f"7.3{name}", f" 7.3  {name} "):
            assert units.parse(text, held) == pytest.approx(expected[name], rel=1e-14), text


@pytest.mark.parametrize("text", QUANTITIES)
def test_only_plain_quantities_are_evaluated(text):
    began = time.monotonic()
    with pytest.raises(ValueError, match="cannot read"):
        units.parse(text, "eV")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("12 nm", "m", 12e-9), ("1.5e-3 um", "m", 1.5e-9), ("8.8keV", "eV", 8800.0), ("2 µm", "m", 2e-6),
        ("3 Å", "m", 3e-10), ("90°", "rad", 1.5707963), ("2 GiB", "B", 2.0**31), ("5 m/s*s", "m", 5.0),
        ("2 mm^2/mm", "m", 2e-3), ("-0.5 deg", "rad", -0.00872665), (".5 px", "px", 0.5), ("4 %", "", 0.04),
        ("3 angstrom", "m", 3e-10), ("1 1/mm*mm*m", "m", None),
    ],
)  # fmt: skip
def test_quantities_of_instruments_are_read(text, unit, value):
    if value is None:
        with pytest.raises(ValueError, match="cannot read"):
            units.parse(text, unit)
    else:
        assert units.parse(text, unit) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("text", [BOMB, "[" * 3000 + "]" * 3000], ids=["aliases", "nested"])
def test_configurations_that_grow_without_bound_are_refused(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(ConfigError):
        load(path)
    assert time.monotonic() - began < 20
