"""From what a file says to a `Dataset`: one way for every format.

A reader fills in `Raw`, in the file's own terms; `assemble` applies the user's overrides, finds the pixel size, turns
meters into object pixels and corrects the counts. Hence every format understands every override.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from adorym.data.containers import read_mask
from adorym.data.dataset import Dataset, Patterns
from adorym.data.flat_fields import Drift, DriftingPatterns, beam_of, moments_of, one_each, robust_mean
from adorym.data.frames import Frames
from adorym.data.gaps import find_gaps
from adorym.data.lengths import LENGTHS, Lengths, check_particles
from adorym.data.overrides import Overrides
from adorym.data.patterns import CorrectedPatterns, MaskedPatterns, Orientation, OrientedPatterns, Transmissions, select
from adorym.data.picture_roles import moments_in
from adorym.data.pictures import field_files, hot_pixels
from adorym.data.positions import Recorded, own_positions, placed, recorded_in
from adorym.data.projections import chosen_rows, clipping, in_rows, own_fields, repaired_projections
from adorym.data.rotation_angles import check_angles, chosen_angles
from adorym.data.selection import Selection, chosen_mask, positions_of, selection
from adorym.data.selection import choose as choose
from adorym.errors import DataError
from adorym.extension import check_kind, check_returned, is_foreign, user_code

# Patterns that hot pixels are looked for in.
HOT_PIXEL_SAMPLE = 64


@dataclass(frozen=True)
class Raw:
    """What a file says, in the order and orientation of the file.

    Attributes:
        patterns: ``(n, y, x)``.
        positions_px: ``(n, 2)`` (y, x) of the probe in object pixels, or ``None``.
        positions_m: The same in meters, where the file has meters.
        recorded: Positions in any unit, in place of these two.
        scan_shape: Leading axes of the array of patterns; two of them are rows and columns of a raster.
        angle_index: ``(n,)``, or ``None`` for a single angle.
        theta_rad: ``(n_angles,)``.
        measured: ``"intensity"``, ``"amplitude"`` or ``"line_integrals"``.
        lengths: Lengths and energy.
        mask: True where good, ``(y, x)`` or ``(n, y, x)``.
        dark: Dark counts ``(y, x)``.
        flat: Counts without sample, dark subtracted, ``(y, x)``.
        drift: How the beam changes during the scan.
        orientation: Turn that brings patterns, mask, dark and flat into this package's frame.
        open_beam_counts: Mean counts in a pixel without the sample; those of ``flat`` if there is one.
        start_probe: ``(modes, y, x)``, or ``(scans, modes, y, x)``.
        rotation_center_px: x of the rotation axis from the detector's middle.
        arm_px: (y, x) pixel that the arm of the detector points at.
        computed: As `adorym.data.dataset.Dataset` has it.
        extra: Arrays that one forward model needs, by name.
        truth: What a simulation knows.
        notes: What the reader decided.
        doubts: What is doubtful about the file.
    """

    patterns: Patterns
    positions_px: np.ndarray | None = None
    positions_m: np.ndarray | None = None
    recorded: Recorded | None = None
    scan_shape: tuple[int, ...] | None = None
    angle_index: np.ndarray | None = None
    theta_rad: np.ndarray = field(default_factory=lambda: np.zeros(1))
    measured: str = "intensity"
    lengths: Lengths = field(default_factory=Lengths)
    mask: np.ndarray | None = None
    dark: np.ndarray | None = None
    flat: np.ndarray | None = None
    drift: Drift | None = None
    orientation: Orientation = field(default_factory=Orientation)
    open_beam_counts: float | None = None
    start_probe: np.ndarray | None = None
    rotation_center_px: float | None = None
    arm_px: tuple[float, float] | None = None
    computed: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def scanned(self) -> bool:
        """Whether there are positions of a probe; an empty array holds none."""
        recorded = None if self.recorded is None else self.recorded.values
        return any(each is not None and len(each) > 0 for each in (recorded, self.positions_px, self.positions_m))


class Reader(ABC):
    """Reads one file format; register it in the group ``reader``."""

    kind: str

    @abstractmethod
    def recognizes(self, path: Path) -> bool:
        """Whether the content of ``path`` (never its name) is of this format; exactly one reader may say so."""

    def is_certain(self, path: Path) -> bool:
        """Whether the recognized ``path`` says itself what it is; a guess gives way to a reader that knows."""
        return True

    @abstractmethod
    def extract(self, path: Path, overrides: Overrides) -> Raw:
        """What the file says. Patterns stay in the file; everything else is small and is read.

        Raises:
            DataError: Something needed is missing or has the wrong shape.
        """

    def raw(self, path: Path, overrides: Overrides) -> Raw:
        """What `extract` returns, once it is known to be what it should be, without lengths that are none."""
        raw = self.extract(path, overrides)
        _look_at(raw, self)
        lengths, void = raw.lengths.stated()
        return replace(raw, lengths=lengths, notes=(*raw.notes, *void)) if void else raw

    def read(self, path: Path, overrides: Overrides) -> Dataset:
        """The data set in ``path`` with ``overrides`` applied; counts are not checked, patterns not loaded."""
        return replace(assemble(self.raw(path, overrides), overrides, str(path)), format=self.kind)


def _look_at(raw: Raw, reader: Reader) -> None:
    """Raise unless what somebody's own reader returned has the shapes of a `Raw`, and patterns that can be read."""
    if not is_foreign(reader):
        return
    check_kind(raw, Raw, reader, "extract")
    patterns, n = raw.patterns, raw.patterns.shape[0]
    shape = patterns.shape if len(patterns.shape) == 3 else ("n", "y", "x")
    check_returned(None, getattr(patterns, "array", patterns), shape, reader, "extract", real=True)
    for positions in (raw.positions_px, raw.positions_m):
        if positions is not None:
            check_returned(None, positions, (n, 2), reader, "extract", real=True)
    with user_code(patterns, reader, method="read"):
        check_returned(None, patterns.read(np.arange(min(n, 2))), (min(n, 2), *shape[1:]), patterns, "read", real=True)


def assemble(raw: Raw, overrides: Overrides, path: str) -> Dataset:
    """The `Dataset` that follows from a file and the user's overrides.

    Patterns are chosen, and pixels without counts left out, before anything is checked.

    Raises:
        DataError: Arrays do not fit each other, or positions in meters cannot be turned into pixels.
        ConfigError: An override chooses what is not there.
    """
    notes, doubts = list(raw.notes), list[str]()
    raw = _with_own(_in_rows(raw, overrides), overrides, notes, path)
    chosen = selection(overrides, raw.patterns.shape[0], raw.angle_index, len(raw.theta_rad), notes)
    raw = with_fields(raw, overrides, notes, doubts, path)
    measured, mask = overrides.measured or raw.measured, _mask(raw, overrides, notes, path)
    mask = _without_gaps(replace(raw, measured=measured), mask, chosen, overrides, doubts)
    patterns = corrected(replace(raw, measured=measured), mask, notes, path)
    if measured == "line_integrals":
        patterns, measured, raw = Transmissions(patterns), "intensity", replace(raw, open_beam_counts=1.0)
        notes.append("measured: line integrals -log(I/I0), made transmissions again")
    lengths = raw.lengths.overridden(overrides).propagated(overrides.propagation_distance, patterns.shape[1:], notes)
    for turn in (raw.orientation, overrides.orientation(keep_center=lengths.propagation_distance_m is None)):
        if not turn.is_identity:
            patterns, mask = OrientedPatterns(patterns, turn), None if mask is None else turn.apply(mask)
            if turn.transpose and lengths.detector_pixel_size_m is not None:  # the object's pixel stays
                lengths = replace(lengths, detector_pixel_size_m=lengths.detector_pixel_size_m[::-1])
            raw = replace(raw, arm_px=raw.arm_px and turn.place(raw.arm_px, patterns.shape[1:]))
            notes.append(f"patterns: {turn.describe()}")
    frames = _frames(replace(raw, patterns=patterns, mask=mask, measured=measured, lengths=lengths), chosen)
    frames = frames.windowed(overrides, chosen, notes)
    given = frames.lengths.pixel_size_m
    lengths = frames.lengths.completed(frames.patterns.shape[1:], notes, scanned=raw.scanned)
    check_particles(lengths, overrides, path)
    used = replace(raw, patterns=frames.patterns, lengths=lengths)
    positions, of_length, zero = _positions(used, overrides, np.array(frames.scale), notes, doubts, path)
    dataset = Dataset(
        patterns=frames.patterns,
        probe_positions_px=frames.placed(positions_of(positions, chosen, notes, path)),
        angle_index=chosen.angle_index,
        theta_rad=np.asarray(raw.theta_rad, np.float64)[chosen.angles],
        measured=measured,
        mask=frames.mask,
        weights=frames.weights,
        start_probe=_of_scans(frames.start_probe, chosen.angles),
        extra={} if frames.cut else chosen.extra(raw.extra),
        truth={} if frames.cut else chosen.truth(raw.truth),  # it is on other pixels
        path=path,
        positions_zero_px=zero,
        notes=tuple(dict.fromkeys(notes)),
        computed=_computed(raw, overrides, of_length, given is None and lengths.pixel_size_m is not None),
        doubts=(*raw.doubts, *doubts),
        pattern_numbers=chosen.patterns,
        angle_numbers=chosen.angles,
        open_beam_counts=frames.open_beam_counts,
        rotation_center_px=frames.rotation_center_px,
        arm_px=frames.arm_px,
        **{q.field: getattr(lengths, q.field) for q in LENGTHS},
    )
    check_angles(dataset)
    return repaired_projections(dataset, overrides)


def _of_scans(probe: np.ndarray | None, scans: np.ndarray) -> np.ndarray | None:
    """The start probes of the chosen scans, where each has its own."""
    if probe is None or probe.ndim == 3:
        return probe
    return probe[scans] if len(scans) > 1 else probe[scans[0]]


def _computed(raw: Raw, overrides: Overrides, positions: bool, pixel_size: bool) -> tuple[str, ...]:
    """Names of what follows from the distance of the detector."""
    known = set(raw.computed) | ({"probe_positions_px"} if positions else set())
    known -= {"pixel_size_m"} if overrides.pixel_size is not None else set()
    return tuple(sorted(known | ({"pixel_size_m"} if pixel_size else set())))


def _in_rows(raw: Raw, overrides: Overrides) -> Raw:
    """With the rows of the detector that the user chooses, of projections even if the file has sinograms."""
    patterns = chosen_rows(raw.patterns, overrides)
    height, drift, fields = patterns.shape[1], raw.drift, (raw.mask, raw.dark, raw.flat)
    mask, dark, flat = (None if each is None else in_rows(each, overrides, height) for each in fields)
    drift = None if drift is None else replace(drift, ratio=in_rows(drift.ratio, overrides, height))
    return replace(raw, patterns=patterns, mask=mask, dark=dark, flat=flat, drift=drift)


def _with_own(raw: Raw, overrides: Overrides, notes: list[str], path: str) -> Raw:
    """With the positions and angles that the user gives."""
    own = own_positions(overrides, raw.scan_shape, raw.patterns.shape[0], notes, path)
    raw = raw if own is None else replace(raw, recorded=own)
    found = chosen_angles(overrides, raw.patterns.shape[0], len(raw.theta_rad), scanned=raw.scanned)
    if found is None:
        return raw
    theta, index, doubts = found
    index = raw.angle_index if index is None else index
    return replace(raw, theta_rad=theta, angle_index=index, doubts=(*raw.doubts, *doubts))


def with_fields(raw: Raw, overrides: Overrides, notes: list[str], doubts: list[str], path: str) -> Raw:
    """With the user's flat and dark fields, and the mask of hot pixels if it is asked for."""
    window, dark = raw.patterns.shape[1:], raw.dark
    if overrides.dark is not None:
        dark = robust_mean(own_fields(overrides.dark, "dark", overrides, window), "dark", notes)
    flat, drift, n = raw.flat, raw.drift, raw.patterns.shape[0]
    if overrides.white is not None:
        flats = own_fields(overrides.white, "flat", overrides, window)
        turned = len(raw.theta_rad) > 1 or overrides.theta is not None or overrides.theta_range is not None
        kind = overrides.white_fields or one_each(len(flats), n, raw.scanned or turned, notes)
        when = moments_of(kind, len(flats), moments_in(field_files(overrides.white)), np.arange(n, dtype=float), path)
        flat, drift = beam_of(flats, dark, when, notes)
        doubts += clipping(raw.patterns, flats)
    elif overrides.dark is not None and flat is not None:  # another dark field than that of the file
        flats = (flat[None] if drift is None else drift.flats(flat)) + (0.0 if raw.dark is None else raw.dark)
        flat, drift = beam_of(flats, dark, None if drift is None else (np.arange(len(flats)), drift.moment), notes)
    raw = replace(raw, dark=dark, flat=flat, drift=drift)
    if overrides.hot_pixels is None:
        return raw
    mean = raw.patterns.read(np.arange(min(n, HOT_PIXEL_SAMPLE))).mean(axis=0, dtype=np.float64)
    hot = hot_pixels(mean, overrides.hot_pixels)
    if flat is not None and flat.shape == mean.shape:
        hot |= hot_pixels(flat, overrides.hot_pixels)
    notes.append(f"hot pixels: {int(hot.sum())} masked")
    return replace(raw, mask=~hot if raw.mask is None else np.asarray(raw.mask, bool) & ~hot)


def _without_gaps(
    raw: Raw, mask: np.ndarray | None, chosen: Selection, overrides: Overrides, doubts: list[str]
) -> np.ndarray | None:
    """The mask with the pixels left out that hold a detector's mark instead of counts."""
    patterns = raw.patterns if chosen.is_all else select(raw.patterns, chosen.patterns)
    silent = raw.scanned and overrides.mask is None  # who gives a mask knows the detector
    signed = raw.measured == "line_integrals"
    gaps = find_gaps(patterns, chosen_mask(mask, chosen), signed=signed, silent=silent)
    if gaps is None:
        return mask
    doubts.append(f"mask: pixels without counts are left out: {', '.join(gaps.found)} of nearly all patterns")
    return ~gaps.bad if mask is None else mask & ~gaps.bad


def _mask(raw: Raw, overrides: Overrides, notes: list[str], path: str) -> np.ndarray | None:
    mask = raw.mask
    if raw.flat is not None and raw.flat.shape == raw.patterns.shape[1:]:
        lit = _lit(raw.flat)
        if lit.any() and not lit.all():  # what counts no light tells nothing
            mask = lit if mask is None else mask & lit
    if overrides.mask is not None:
        mask, origin = read_mask(overrides.mask)
        mask = in_rows(mask, overrides, raw.patterns.shape[1])
        notes.append(f"mask: {origin}")
    if mask is None:
        return None
    mask = np.asarray(mask, dtype=bool)
    n, *window = raw.patterns.shape
    if mask.shape not in (tuple(window), (n, *window)):
        expected = f"{tuple(window)} or {(n, *window)}"
        raise DataError(path, "the mask does not fit the patterns", expected=expected, found=mask.shape)
    if overrides.invert_mask:
        mask = ~mask
    if not mask.any():
        raise DataError(
            path, "the mask leaves no good pixel", remedy="set data.invert_mask if it marks good pixels with 0"
        )
    share = 1 - float(mask.mean())
    doubt = "; if this is the wrong way round, set data.invert_mask" if share > 0.5 else ""
    notes.append(f"mask: {100 * share:.3g} % of the pixels are bad{doubt}")
    return mask


def corrected(raw: Raw, mask: np.ndarray | None, notes: list[str], path: str) -> Patterns:
    """Patterns with dark, flat and bad pixels taken care of."""
    patterns, window = raw.patterns, raw.patterns.shape[1:]
    for name, field_ in (("dark", raw.dark), ("flat", raw.flat)):
        if field_ is not None and field_.shape != window:
            raise DataError(path, f"the {name} field does not fit the patterns", expected=window, found=field_.shape)
    if raw.dark is not None or raw.flat is not None:
        if raw.measured != "intensity":
            what = raw.measured.replace("_", " ").removesuffix("s") + "s"
            raise DataError(path, f"dark and flat fields are counts, the patterns are {what}",
                            remedy="store intensities, or take the fields out of the file")  # fmt: skip
        gain = None
        if raw.flat is not None:
            lit = _lit(raw.flat)
            if not lit.any():
                raise DataError(path, "the flat field is nowhere brighter than the dark field")
            mean = float(raw.flat[lit].mean())
            gain = np.where(lit, mean / np.where(lit, raw.flat, 1.0), 0.0)
            notes.append(
                f"flat field divided out, its mean of {mean:.6g} counts kept; {int((~lit).sum())} pixels had none"
            )
        if raw.dark is not None:
            notes.append("dark field subtracted; counts below it are set to 0")
        patterns = CorrectedPatterns(patterns, raw.dark, gain)
    if raw.drift is not None:
        patterns = DriftingPatterns(patterns, raw.drift)
        notes.append(f"flat fields of {len(raw.drift.ratio)} moments, interpolated linearly in between")
    return patterns if mask is None else MaskedPatterns(patterns, mask)


def _lit(flat: np.ndarray) -> np.ndarray:
    return (flat > 0) & np.isfinite(flat)


def lit_mean(flat: np.ndarray | None) -> float | None:
    """Mean of the flat field where it has light: the counts of the open beam."""
    return None if flat is None else float(flat[_lit(flat)].mean())


def _positions(
    raw: Raw, overrides: Overrides, scale: np.ndarray, notes: list[str], doubts: list[str], path: str
) -> tuple[np.ndarray | None, bool, tuple[float, float]]:
    """What `placed` makes of all positions, those of the user or those of the file; doubts about them are added."""
    found = raw.recorded or recorded_in(raw.positions_px, raw.positions_m) if raw.scanned else None
    window = raw.patterns.shape[1:], scale
    return (
        (None, False, (0.0, 0.0))
        if found is None
        else placed(found, overrides, raw.lengths, window, (notes, doubts), path)
    )


def _frames(raw: Raw, chosen: Selection) -> Frames:
    """The chosen ones of the corrected and turned patterns, and what goes with them."""
    return Frames(
        patterns=raw.patterns if chosen.is_all else select(raw.patterns, chosen.patterns),
        mask=chosen_mask(raw.mask, chosen),
        lengths=raw.lengths,
        scanned=raw.scanned,
        amplitude=raw.measured == "amplitude",
        start_probe=raw.start_probe,
        rotation_center_px=raw.rotation_center_px,
        arm_px=raw.arm_px,
        open_beam_counts=raw.open_beam_counts if raw.flat is None else lit_mean(raw.flat),
    )
