"""The photon energy, from the many places and units in which files keep it.

CXI's ``source_1/energy`` is the photons' energy in joule; the same name in NeXus is the electrons' in the storage ring.
Without a unit the size of the number decides between them.
"""

from __future__ import annotations

import h5py

from adorym.data.hdf5 import find, quantity, single, unit_of
from adorym.units import energy_ev

JOULE_PER_EV = 1.602176634e-19
PHOTON_EV = (1.0, 1e6)  # anything that is imaged with; machine energies are above

SOURCE = ("instrument_1/source_1", "instrument_1/source", "instrument/source_1", "instrument/source")
BEAM = (
    "instrument_1/beam_1",
    "instrument_1/beam",
    "instrument/beam_1",
    "instrument/beam",
    "sample_1/beam_1",
    "sample/beam",
)
ENERGY = ("incident_beam_energy", "incident_energy", "energy")
WAVELENGTH = ("incident_wavelength", "wavelength")


def photon_energy(entry: h5py.Group, source_first: bool, notes: list[str]) -> float | None:
    """Photon energy in electronvolt, ``None`` where the entry names none.

    Args:
        entry: The entry.
        source_first: Whether ``source_1`` comes before ``beam_1``, as in CXI.
        notes: Receives what was used and what was passed over.
    """
    for group in (*SOURCE, *BEAM) if source_first else (*BEAM, *SOURCE):
        for name in (*ENERGY, *WAVELENGTH):
            dataset = find(entry, [f"{group}/{name}"])
            if dataset is None:
                continue
            value = _from_wavelength(dataset) if name in WAVELENGTH else _from_energy(dataset)
            if value is not None and PHOTON_EV[0] <= value <= PHOTON_EV[1]:
                notes.append(f"energy {value:.6g} eV from {dataset.name} in {unit_of(dataset) or _guessed(name)}")
                return value
            notes.append(f"{dataset.name}: not a photon energy, passed over")
    return None


def _from_wavelength(dataset: h5py.Dataset) -> float | None:
    length = single(quantity(dataset, "m"))
    return None if length is None else energy_ev(length)


def _from_energy(dataset: h5py.Dataset) -> float | None:
    """Electronvolt; a number without unit below 1e-6 can only be joule."""
    value = single(quantity(dataset, "eV", "eV"))
    if value is not None and unit_of(dataset) is None and value < 1e-6:
        return value / JOULE_PER_EV
    return value


def _guessed(name: str) -> str:
    return "m (not said)" if name in WAVELENGTH else "a unit judged by its size"
