"""What ``inspect`` says of projections, holograms and sinograms, and that its configuration runs."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from ruamel.yaml import YAML

from adorym.commands.draft import draft
from adorym.commands.inspect import inspect

N, ROWS, WIDTH, BEAM = 32, 3, 48, 5000.0


def integrals(theta):
    """``(n, x)`` chords of two discs that turn about the middle."""
    x, total = np.arange(WIDTH) - (WIDTH - 1) / 2, 0.0
    for density, a, b, radius in ((0.03, 2.0, -3.0, 14.0), (0.05, -5.0, 4.0, 4.0)):
        off = x - a * np.cos(theta)[:, None] - b * np.sin(theta)[:, None]
        total = total + 2 * density * np.sqrt(np.maximum(radius**2 - off**2, 0))
    return total


def counted(level, shape, seed=0):
    return np.random.default_rng(seed).poisson(np.broadcast_to(level, shape)).astype(np.uint16)


def series(folder, stem, stack):
    folder.mkdir(parents=True, exist_ok=True)
    for k, picture in enumerate(stack):
        tifffile.imwrite(folder / f"{stem}_{k}.tif", picture)


def projections(folder):
    one = BEAM * np.exp(-integrals(np.linspace(0, np.pi, N)))
    series(folder, "proj", counted(one[:, None], (N, ROWS, WIDTH)))
    series(folder, "flat", counted(BEAM, (5, ROWS, WIDTH), 1))


def planes(folder):
    """ESRF folders of two distances, with angles."""
    for k in (1, 2):
        projections(folder / f"ht_{k}_")
        info = f"TOMO_N= {N}\nScanRange= 180\nEnergy= 17.05\nPixelSize= 1.0\nDistance= {20 * k}\n"
        (folder / f"ht_{k}_" / f"ht_{k}_.info").write_text(info)


def holograms(folder):
    series(folder, "holo", counted(BEAM, (2, 40, WIDTH)))
    series(folder, "flat", counted(BEAM, (2, 40, WIDTH), 1))


def sinogram(folder, kind):
    folder.mkdir()
    exact = integrals(np.linspace(0, np.pi, N))
    values = exact.astype(np.float32) if kind == "integrals" else counted(BEAM * np.exp(-exact), exact.shape)
    tifffile.imwrite(folder / "sino.tif", values)


CASES = {
    "projections": (projections, {"theta_range"}, "tomography"),
    "two distances": (planes, set(), "holotomography"),
    "holograms": (holograms, {"propagation_distance", "energy", "pixel_size"}, "holography"),
    "a sinogram of counts": (lambda f: sinogram(f, "counts"), {"theta_range"}, "tomography"),
    "a sinogram of line integrals": (lambda f: sinogram(f, "integrals"), {"theta_range"}, "tomography"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_of_inspect_runs(tmp_path, name):
    make, lacking, model = CASES[name]
    make(tmp_path / "data")
    found = inspect(tmp_path / "data")
    config = YAML(typ="safe").load(found.configuration)
    made = config["forward_model"]
    assert (made if isinstance(made, str) else made["kind"]) == model and not found.problems
    assert set(found.missing[model]) == lacking
    assert len(found.configuration.splitlines()) <= 10
    (tmp_path / "config.yaml").write_text(found.configuration)
    problem = draft(tmp_path / "config.yaml", ("run.device=cpu",)).problem
    assert problem.model.kind == model
    if "sinogram" in name:
        assert problem.dataset.n_angles == N and problem.store.shape == (1, WIDTH, WIDTH)


def test_a_picture_that_is_no_sinogram(tmp_path):
    y, x = np.indices((60, 50))
    rings = 1000 * (1 + 0.3 * np.cos(0.02 * ((y - 30) ** 2 + (x - 20) ** 2)))
    tifffile.imwrite(tmp_path / "hologram.tif", counted(rings, rings.shape))
    assert "sinograms" not in inspect(tmp_path / "hologram.tif").configuration
    tifffile.imwrite(tmp_path / "rows.tif", np.tile(BEAM * np.exp(-integrals(np.zeros(1))), (N, 1)).astype(np.float32))
    assert "sinograms" not in inspect(tmp_path / "rows.tif").configuration
