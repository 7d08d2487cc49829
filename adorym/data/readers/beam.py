"""The photon energy, from the many places and units in which files keep it.

CXI's ``source_1/energy`` is the photons' energy in joule; the same name in NeXus is the electrons' in the storage ring.
Without a unit the size of the number decides between them.
"""

from __future__ import annotations

import h5py

from adorym.data.hdf5 import JOULE_PER_EV, find, quantity, single, unit_of
from adorym.units import energy_ev

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
            unit, is_length = unit_of(dataset), name in WAVELENGTH
            value = single(quantity(dataset, "m" if is_length else "eV"))
            if value is not None and is_length:
                value = energy_ev(value) if value > 0 else 0.0
            elif value is not None and unit is None and value < 1e-6:  # then it can only be joule
                value /= JOULE_PER_EV
            if value is not None and PHOTON_EV[0] <= value <= PHOTON_EV[1]:
                guessed = "m (not said)" if is_length else "a unit judged by its size"
                notes.append(f"energy {value:.6g} eV from {dataset.name} in {unit or guessed}")
                return value
            notes.append(f"{dataset.name}: not a photon energy, passed over")
    return None
