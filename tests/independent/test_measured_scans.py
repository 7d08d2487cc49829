"""Ptychography and multislice against sums over plane waves; a flipped sign must show."""

from __future__ import annotations

from dataclasses import replace

import adapter
import numpy as np
import physics
import pytest
from cases import full_scan
from laws import relative_error
from tiny_multislice import ThickScan, slice_at
from tiny_scan import ENERGY_EV, PIXEL_M, REGIMES, object_at

from adorym.forward.multislice import Multislice
from adorym.forward.object import ObjectSettings
from adorym.forward.probe import ProbeSettings
from adorym.forward.ptychography import Ptychography
from adorym.optics.probes import GaussianProbe

WINDOW, LAM = (24, 28), physics.wavelength_m(ENERGY_EV)
DEFOCUS_M = 4e-5
# The probe hardly reaches the rim of its window; what a wrong sign changes, at least, of the brightest pixel.
TOLERANCE, CLEAR = 1e-4, 2e-3


def thin(y, x):
    return object_at(y, x)


def thick(depth):
    return [lambda y, x, z=z: slice_at(z, y, x) for z in range(depth)]


def scan_of(regime, modes, kind=None):
    more = {"size_px": 2.3, "defocus_m": DEFOCUS_M, "distance_m": 2e-4}
    return full_scan(regime, modes, *([kind] if kind else []), window=WINDOW, **more)


def counted(scan, slices, places, binning=1, **flips):
    """Independent counts of a whole scan."""
    bench = physics.Bench(PIXEL_M, LAM, scan.regime, scan.distance_m, scan.defocus_m, binning)
    bench = replace(bench, **{k: v for k, v in flips.items() if k in ("distance", "defocus")})
    sign = flips.get("offset", 1)
    at = flips.get("positions", scan.positions) + sign * scan.offset_px[scan.scan_index]
    each = np.array([physics.scanned(bench, slices, places, scan.probe(), p) for p in at])
    return scan.scale[:, None, None] * each + scan.background


def predicted(model, scan, obj, **more):
    """By the package, all parameters off their start values."""
    names = ["probe_positions", "probe_offset", "probe_defocus", "intensity_scale", "background"]
    if scan.regime != "far_field":
        names.append("propagation_distance")
    settings = {name: model.refinable[name].settings() for name in names}
    settings["probe"] = ProbeSettings(initial=GaussianProbe(fwhm="4 px"), modes=scan.modes, per="run")
    settings["object"] = ObjectSettings(margin_px=4)
    data = scan.dataset(propagation_distance_m=None if scan.regime == "far_field" else np.array([scan.distance_m]))
    if "slices" in more:
        data = data.with_(slice_positions_m=more["slices"])
    problem = adapter.ready(model, data, settings).problem
    y, x = (np.arange(n) - o for n, o in zip(problem.store.shape[:2], problem.bound.origin_px, strict=True))
    values = {
        "object": obj(y[:, None], x[None, :]), "probe": scan.probe(), "probe_offset": scan.offset_px,
        "probe_defocus": np.array([scan.defocus_m]), "intensity_scale": scan.scale[:, None],
        "background": problem.bound.to_model_frame(np.asarray(scan.background)[None]),
    }  # fmt: skip
    return adapter.inserted(problem, values)


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("regime", REGIMES)
def test_ptychography(regime, modes):
    scan, places = scan_of(regime, modes), np.zeros(1)
    found = predicted(Ptychography(propagation=regime), scan, thin)
    assert relative_error(found, counted(scan, [thin], places)) < TOLERANCE
    flips = {"offset": {"offset": -1}, "defocus": {"defocus": -scan.defocus_m}}
    if regime != "far_field":
        flips["distance"] = {"distance": -scan.distance_m}
    for name, flip in flips.items():
        assert relative_error(found, counted(scan, [thin], places, **flip)) > CLEAR, name
    mirrored = {
        "conjugate": [lambda y, x: thin(y, x).conj()],
        "y of positions": [lambda y, x: thin(-y, x)],
        "x of positions": [lambda y, x: thin(y, -x)],
        "axes": [lambda y, x: thin(x, y)],
    }
    for name, other in mirrored.items():
        assert relative_error(found, counted(scan, other, places)) > 10 * CLEAR, name


BINNED = (0.0, 2e-6, 5e-6, 9e-6, 10e-6, 17e-6, 20e-6)


@pytest.mark.parametrize("regime", ["far_field", "fresnel"])
@pytest.mark.parametrize(
    ("places", "binning"),
    [((0.0, 2e-6, 5e-6), 1), (BINNED, 2), (BINNED, 3), (tuple(3e-6 * np.arange(5)), 2)],
    ids=["uneven", "uneven-by-two", "uneven-by-three", "even-by-two"],
)
def test_multislice(regime, places, binning):
    """Slices at uneven places, one by one and several at once; what is binned acts at the first of its places."""
    scan, at = scan_of(regime, 1, ThickScan), 5 * np.array(places)
    even = np.ptp(np.diff(at)) < 1e-9
    given = {"slices": len(at), "spacing": at[1]} if even else {}
    model = Multislice(propagation=regime, binning=binning, **given)
    slices = thick(len(at))
    found = predicted(
        model, scan, lambda y, x: np.stack([s(y, x) for s in slices], -1), **({} if even else {"slices": at})
    )
    exact = counted(scan, slices, at, binning)
    error = relative_error(found, exact)
    assert error < TOLERANCE
    wrong = {
        "order": counted(scan, slices[::-1], at, binning),
        "direction": counted(scan, slices, -at, binning),
        "one spacing instead of several": counted(scan, slices, at / binning, binning),
        "conjugate": counted(scan, [lambda y, x, s=s: s(y, x).conj() for s in slices], at, binning),
    }
    for name, other in wrong.items():
        if name != "one spacing instead of several" or binning > 1:
            assert relative_error(found, other) > CLEAR, name
