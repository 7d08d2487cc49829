"""A measured data set and its geometry.

Every reader returns a `Dataset`, whatever the file format: patterns in the frame of the file (zero frequency at the
center of a far-field pattern), positions in object pixels, everything else in SI units. Patterns of several angles are
numbered consecutively; ``angle_index`` gives the angle of each pattern.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adorym.errors import DataError
from adorym.optics.geometry import Patterns as Patterns


@dataclass(frozen=True)
class ArrayPatterns:
    """Patterns that are in memory: ``array`` ``(n, y, x)``."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    def read(self, index: np.ndarray) -> np.ndarray:
        return np.asarray(self.array[index], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Measured patterns and their metadata.

    Attributes:
        patterns: ``(n, y, x)`` in photon counts (``measured="intensity"``) or their square root (``"amplitude"``).
        probe_positions_px: ``(n, 2)`` float64, (y, x) of the probe window's corner in object pixels; ``None`` without
            a scan.
        angle_index: ``(n,)`` int, index into ``theta_rad`` for every pattern.
        theta_rad: ``(n_angles,)`` rotation angles.
        energy_ev: Photon energy.
        voltage_v: Acceleration voltage of electrons; ``energy_ev`` is then that of photons of their wavelength.
        pixel_size_m: (y, x) pixel size in the object plane.
        detector_pixel_size_m: (y, x) pixel pitch of the detector.
        distance_m: Sample to detector distance.
        source_distance_m: Focus to sample distance (cone beam), ``None`` for a parallel beam.
        propagation_distance_m: ``(n_distances,)`` effective near-field distances, ``None`` for the far field.
        magnification: ``(n_distances,)`` magnification at each distance of a cone beam, ``None`` for a parallel one;
            the pixel size is that of the largest.
        slice_positions_m: ``(slices,)`` positions along the beam of the slices of a thick object; ``None`` if unknown.
        open_beam_counts: Counts per pixel without a sample, after flat-field correction; ``None`` if unknown.
        rotation_center_px: x of the rotation axis from the middle of the detector; ``None`` if unknown.
        arm_px: (y, x) pixel that the arm of the detector points at, for a Bragg peak; ``None`` if unknown.
        mask: ``(y, x)`` or ``(n, y, x)`` bool, True for good pixels; ``None`` if all are good.
        weights: Weight of each pixel in the loss, in addition to the mask: ``(y, x)``, ``(n, 1, 1)`` or ``(n, y, x)``,
            not negative; ``None`` if all weights are equal.
        start_probe: ``(modes, y, x)`` complex start probe from the data file, or ``(scans, modes, y, x)``.
        tile_corners_px: ``(t, 2)`` int, first pixel of each tile of divided images: the patterns are then all images at
            the first tile, all at the second, ...; ``None`` if each pattern is a whole image.
        picture_px: (y, x) size of a whole image; that of a pattern if not given.
        positions_zero_px: (y, x) in object pixels that was subtracted from positions in a length.
        computed: Which of ``pixel_size_m`` and ``probe_positions_px`` follow from the distance of the detector.
        pattern_numbers: ``(n,)`` int, number in the file of each pattern, before any choice; 0, 1, ... if not given.
        angle_numbers: ``(n_angles,)`` int, likewise of each angle.
        saturation_counts: Counts at and above which a pixel is only a lower bound; ``None`` without such pixels.
        growing: Further patterns may come.
        upsampling: Pixels of the patterns along each axis that stand for one of the detector; only the first of them
            is valid (`adorym.data.upsampling`).
        extra: Arrays that one forward model needs, by name: ``references`` of speckle tracking, ``leds_m`` or
            ``leds_px`` of Fourier ptychography, ``times`` of an object that changes.
        truth: Ground truth of a simulation: ``object``, ``probe``, ``probe_positions_px``, ...
        notes: Decisions of the reader: keys used, axes flipped, units assumed.
        doubts: What is doubtful about the data, and what was repaired: the user should see it before a run.
    """

    patterns: Patterns
    probe_positions_px: np.ndarray | None = None
    angle_index: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    theta_rad: np.ndarray = field(default_factory=lambda: np.zeros(1))
    measured: str = "intensity"
    energy_ev: float | None = None
    voltage_v: float | None = None
    pixel_size_m: tuple[float, float] | None = None
    detector_pixel_size_m: tuple[float, float] | None = None
    distance_m: float | None = None
    source_distance_m: float | None = None
    propagation_distance_m: np.ndarray | None = None
    magnification: np.ndarray | None = None
    slice_positions_m: np.ndarray | None = None
    open_beam_counts: float | None = None
    rotation_center_px: float | None = None
    arm_px: tuple[float, float] | None = None
    mask: np.ndarray | None = None
    weights: np.ndarray | None = None
    start_probe: np.ndarray | None = None
    tile_corners_px: np.ndarray | None = None
    picture_px: tuple[int, int] = (0, 0)
    positions_zero_px: tuple[float, float] = (0.0, 0.0)
    computed: tuple[str, ...] = ()
    pattern_numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    angle_numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    saturation_counts: float | None = None
    growing: bool = False
    upsampling: int = 1
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    format: str = ""
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.patterns.shape
        if len(shape) != 3 or 0 in shape:
            raise DataError(
                self.path, "patterns have the wrong shape", expected="(n, y, x), none of them 0", found=shape
            )
        if self.angle_index.size == 0:
            object.__setattr__(self, "angle_index", np.zeros(shape[0], int))
        for name, n in (("pattern_numbers", shape[0]), ("angle_numbers", self.n_angles)):
            if len(getattr(self, name)) != n:
                object.__setattr__(self, name, np.arange(n))
        if self.tile_corners_px is None:
            object.__setattr__(self, "picture_px", shape[1:])
        self._check_positions()
        if self.mask is not None and self.mask.shape[-2:] != shape[1:]:
            raise DataError(self.path, "the mask does not fit the patterns", expected=shape[1:], found=self.mask.shape)
        self._check_weights()
        if self.measured not in ("intensity", "amplitude"):
            raise DataError(self.path, "measured", expected="'intensity' or 'amplitude'", found=repr(self.measured))

    def __repr__(self) -> str:
        ny, nx = self.window_px
        known = [f"{self.n_patterns} patterns of {ny} x {nx}"]
        known += [f"{self.n_angles} angles"] if self.n_angles > 1 else []
        beam = f"{self.voltage_v / 1e3:.4g} kV" if self.voltage_v else f"{(self.energy_ev or 0) / 1e3:.4g} keV"
        known += [beam] if self.energy_ev else []
        known += [f"pixel {self.pixel_size_m[0]:.3g} m"] if self.pixel_size_m else []
        return f"Dataset({', '.join([*known, *filter(None, (self.format, self.path))])})"

    def _check_weights(self) -> None:
        if self.weights is None:
            return
        n, *window = self.patterns.shape
        if self.weights.shape not in (tuple(window), (n, 1, 1), (n, *window)):
            expected = f"{tuple(window)}, {(n, 1, 1)} or {(n, *window)}"
            raise DataError(self.path, "weights do not fit the patterns", expected=expected, found=self.weights.shape)
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all() and self.weights.any()):
            raise DataError(self.path, "weights must be finite and not negative, and not all of them zero")

    def _check_positions(self) -> None:
        positions, n = self.probe_positions_px, self.patterns.shape[0]
        if positions is None:
            return
        if positions.ndim != 2 or positions.shape[1] != 2:
            raise DataError(
                self.path, "probe positions have the wrong shape", expected=f"({n}, 2)", found=positions.shape
            )
        if len(positions) != n:
            raise DataError(
                self.path,
                "the number of probe positions differs from the number of patterns",
                expected=f"{n} positions",
                found=f"{len(positions)}",
                remedy="leave out the surplus patterns or supply the missing positions",
            )
        if not np.isfinite(positions).all():
            bad = int(np.flatnonzero(~np.isfinite(positions).all(1))[0])
            raise DataError(self.path, f"probe position {bad} is not a finite number", found=positions[bad].tolist())

    @property
    def n_patterns(self) -> int:
        """Number of patterns over all angles."""
        return self.patterns.shape[0]

    @property
    def window_px(self) -> tuple[int, int]:
        """(y, x) size of one pattern."""
        return self.patterns.shape[1:]

    @property
    def n_pictures(self) -> int:
        """Number of whole images."""
        return self.n_patterns // (1 if self.tile_corners_px is None else len(self.tile_corners_px))

    @property
    def n_angles(self) -> int:
        """Number of rotation angles."""
        return len(self.theta_rad)

    def with_(self, **changes: Any) -> Dataset:
        """A copy with some fields replaced."""
        return replace(self, **changes)
