"""Run one component of one's own of every kind, each from a file beside this one, and then ten of them together.

Usage: python run.py [--output DIR] [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import adorym
from adorym.commands.score import score
from adorym.commands.simulate import simulate
from adorym.data.dataset import ArrayPatterns, Dataset
from adorym.data.native_write import write_native

HERE = Path(__file__).resolve().parent
BLUR_PX, TOLERANCE = 1.5, 0.1
SPECIMEN = {
    "window_px": [48, 40],
    "object_px": [112, 104],
    "phantom": {"kind": "pictures"},
    "noise": {"poisson": False},  # photons are counted after the blur
}
KINDS = {
    "forward_model": ["forward_model.kind=forward_model.py:ThinObject"],
    "parameter": ["data.path=blurred.h5", "forward_model.kind=parameter.py:BlurredPtychography"],
    "loss": ["loss.kind=loss.py:Cauchy"],
    "regularizer": ["regularizers=[{kind: 'regularizer.py:Scatterers', weight: 0.01}]"],
    "constraint": ["constraints=[{kind: 'constraint.py:VacuumAbove', rows: 4}]"],
    "optimizer": ["parameters.object.optimizer.kind=optimizer.py:AdaGrad"],
    "solver": ["solver.kind=solver.py:BarzilaiBorwein"],
    "initializer": ["parameters.object.initial.kind=initializer.py:DifferentialPhase"],
    "reader": ["data.path=scan.raw", "data.format=reader.py:RawScan"],
    "data_source": ["data.path=scan.events", "data.format=data_source.py:Events"],
    "backend": ["run.backend=backend.py:Counting"],
}


def simulate_blurred(path: Path, blur_px: float = BLUR_PX, seed: int = 1, photons: float = 1e6) -> Dataset:
    """Write patterns that were blurred by a Gaussian before their photons were counted."""
    sharp = simulate("ptychography", path, SPECIMEN | {"photons": photons}, seed=seed)
    expected = sharp.patterns.read(np.arange(sharp.n_patterns)).astype(float)
    blurred = gaussian_filter(expected, (0, blur_px, blur_px), mode="wrap")
    counts = np.random.default_rng(seed).poisson(blurred)
    made = sharp.with_(patterns=ArrayPatterns(counts))
    write_native(made, path)
    return made


def write_others(dataset: Dataset, folder: Path) -> None:
    """The same counts as raw integers, ``scan.raw``, and as a list of photons, ``scan.events``."""
    counts = dataset.patterns.read(np.arange(dataset.n_patterns)).astype(int)
    positions_m = dataset.probe_positions_px * np.array(dataset.pixel_size_m)
    header = " ".join(map(str, (*counts.shape, dataset.energy_ev, *dataset.pixel_size_m)))
    text = "".join(f"{y:.12g} {x:.12g}\n" for y, x in positions_m)
    (folder / "scan.raw").write_bytes(f"RAWSCAN {header}\n{text}".encode() + counts.astype("<u2").tobytes())
    frame, pixel = np.nonzero(counts.reshape(len(counts), -1))
    times = counts.reshape(len(counts), -1)[frame, pixel]
    events = np.stack([np.repeat(frame, times), np.repeat(pixel, times)], axis=1).astype("<u4")
    (folder / "scan.events").write_bytes(f"EVENTS {header}\n{text}".encode() + events.tobytes())


def overrides(kind: str, data: Path) -> list[str]:
    """``key=value`` assignments of `KINDS`: data lie in ``data``, components beside this file."""
    found = [f"data.path={data / 'scan.h5'}", "output.report=false"]
    for assignment in KINDS[kind]:
        key, value = assignment.split("=", 1)
        folder = data if key == "data.path" else HERE
        for name in [f"{each}.py:" for each in KINDS] if folder is HERE else [value]:
            value = value.replace(name, f"{folder / name}")
        found.append(f"{key}={value}")
    return found


def together(data: Path) -> list[str]:
    """All kinds in one run, but that a solver moves everything, where an optimizer moves the object."""
    kinds = [kind for kind in KINDS if kind not in ("forward_model", "solver", "reader", "data_source", "parameter")]
    chosen = ["parameter", "data_source", *kinds]
    return [each for kind in chosen for each in overrides(kind, data)[2:]]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for data and results")
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    arguments = parser.parse_args()

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    simulate_blurred(folder / "blurred.h5")
    write_others(simulate_blurred(folder / "scan.h5", blur_px=0.0, photons=2e4), folder)

    for kind in KINDS:
        config = adorym.load_config(HERE / "config.yaml", overrides(kind, folder), quick=arguments.quick)
        result = adorym.reconstruct(config, output=folder / kind)
        error = score(folder / kind, folder / "scan.h5")["object_nrmse"]
        print(f"{kind}: loss {result.history['loss'][-1]:.4g}, object error {error:.3f}")

    found = float(adorym.read_result(folder / "parameter").parameters["blur_px"].value)
    print(f"blur {found:.2f} px, true {BLUR_PX} px")
    if not arguments.quick and abs(found / BLUR_PX - 1) > TOLERANCE:
        raise SystemExit(f"the blur is not found to {100 * TOLERANCE:.0f} %")
    adorym.reconstruct(adorym.load_config(HERE / "config.yaml", together(folder), quick=True), output=folder)


if __name__ == "__main__":
    main()
