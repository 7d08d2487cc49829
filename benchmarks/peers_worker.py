"""One solver in a process of its own, for `peers.py`: an epoch whenever a line comes on standard input.

Usage: python peers_worker.py SOLVER FOLDER SETTINGS

FOLDER holds ``data.npz``: ``patterns`` (n, y, x) with zero frequency at the center, ``positions`` (n, 2) of the
windows' corners in pixels, and ``probe`` (y, x) to start from; Adorym reads ``data.h5`` beside it. SETTINGS is JSON.
Every line of input is a file name or empty. The answer is a line of JSON: seconds of the epoch, and the peak of memory
so far; object and positions are written to the file that was named.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import functools
import json
import logging
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

WAVELENGTH_M, PIXEL_M = 1.24e-10, 1e-8
MARGIN = 8  # pixels of a peer's object around the frame of the true one


class Solver(Protocol):
    """What the loop below needs of a solver."""

    def epoch(self) -> None:
        """Use every pattern once."""

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Object ``(y, x)``, in the frame that positions count from, and positions ``(n, 2)`` px."""


class Adorym:
    """This package, with its defaults."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import adorym

        parameters = {"probe": {"modes": settings["modes"]}}
        if settings["positions"]:
            parameters["probe_positions"] = {}
        run = {"epochs": settings["epochs"], "threads": 1}
        config = {"forward_model": "ptychography", "parameters": parameters, "run": run}
        self.size = 4 * np.load(folder / "data.npz")["probe"].shape[-1]
        self.prepared = adorym.prepare({"data": str(folder / "data.h5"), **config})
        self.epochs = self.prepared.epochs()

    def epoch(self) -> None:
        next(self.epochs)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        import adorym
        from adorym.commands.score import in_frame

        result = adorym.outcome(self.prepared)
        refined = result.parameters.get("probe_positions")
        framed = in_frame(result.transmission, result.origin_px, (self.size, self.size))[0]
        return framed, np.zeros((0, 2)) if refined is None else refined.value


class PtyChi:
    """pty-chi: its engines LSQML, rPIE and automatic differentiation with Adam."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import ptychi.api as api
        import torch
        from ptychi.api.task import PtychographyTask
        from ptychi.utils import orthogonalize_initial_probe

        torch.set_num_threads(1)
        data, self.size = np.load(folder / "data.npz"), 4 * np.load(folder / "data.npz")["probe"].shape[-1]
        engines = {"lsqml": api.LSQMLOptions, "rpie": api.RPIEOptions, "ad": api.AutodiffPtychographyOptions}
        options = engines[settings["engine"]]()
        solver = options.reconstructor_options
        solver.batch_size, solver.num_epochs, solver.random_seed = settings["batch"], 1000, 0
        solver.default_device = api.Devices.CPU
        parts = {
            "object": options.object_options,
            "probe": options.probe_options,
            "positions": options.probe_position_options,
        }
        for part, values in settings["parameters"].items():
            parts[part].optimizable = True
            for name, value in values.items():
                setattr(parts[part], name, value)
        if "positions" in settings["parameters"]:
            for name, value in settings["correction"].items():
                setattr(parts["positions"].correction_options, name, value)
        probe = np.zeros((1, settings["modes"], *data["probe"].shape), np.complex64)
        probe[0, 0] = data["probe"]
        start = torch.from_numpy(probe)
        if settings["modes"] > 1:
            start = orthogonalize_initial_probe(start, secondary_mode_energy=0.05)
        # Positions count from the middle of the object.
        places = (data["positions"] - 3 * self.size / 8).astype(np.float32)
        self.task = PtychographyTask(
            options,
            diffraction_data=data["patterns"],
            object_data=torch.ones(1, *[self.size + 2 * MARGIN] * 2, dtype=torch.complex64),
            probe_data=start,
            probe_position_x_px=places[:, 1].copy(),
            probe_position_y_px=places[:, 0].copy(),
        )

    def epoch(self) -> None:
        self.task.run(1)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        frame = slice(MARGIN, MARGIN + self.size)
        found, positions = (self.task.get_data_to_cpu(name, as_numpy=True) for name in ("object", "probe_positions"))
        return found[0, frame, frame], positions


class CdTools:
    """CDTools: ``FancyPtycho`` with Adam; the first mode starts from the given probe, the others as it makes them."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import torch
        from cdtools.datasets import Ptycho2DDataset
        from cdtools.models import FancyPtycho
        from cdtools.reconstructors import AdamReconstructor

        torch.set_num_threads(1)
        torch.manual_seed(0)
        data, self.batch = np.load(folder / "data.npz"), settings["batch"]
        self.size, self.start = 4 * data["probe"].shape[-1], data["positions"].min(axis=0)
        # Rows run against y and columns against x, as in the package's own files.
        places = np.column_stack([-data["positions"][:, ::-1] * PIXEL_M, np.zeros(len(data["positions"]))])
        step = WAVELENGTH_M / (data["probe"].shape[-1] * PIXEL_M)  # of the detector's pixels, 1 m away
        geometry = {
            "distance": 1.0,
            "basis": np.array([[0, -step], [-step, 0], [0, 0]], np.float32),
            "corner": None,
        }
        dataset = Ptycho2DDataset(
            places.astype(np.float32), data["patterns"], wavelength=WAVELENGTH_M, detector_geometry=geometry
        )
        self.model = FancyPtycho.from_dataset(dataset, n_modes=settings["modes"], obj_padding=2 * MARGIN)
        self.model.probe.data[0] = torch.from_numpy(data["probe"]) / self.model.probe_norm
        self.model.weights.requires_grad = False
        self.model.translation_offsets.requires_grad = settings["positions"]
        factors = {"translation_offsets": settings["position_factor"]} if settings["positions"] else {}
        self.solver = AdamReconstructor(self.model, dataset, lr_factors=factors)
        self.solver.adjust_optimizer(lr=settings["rate"])
        self.solver.setup_dataloader(self.batch)
        self.solver.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.solver.optimizer, factor=0.2, patience=2, threshold=settings["threshold"]
        )
        self.recorded = data["positions"]

    def epoch(self) -> None:
        self.solver.run_epoch(calculation_width=self.batch)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.rint(2 * MARGIN - self.start).astype(int)
        offsets = self.model.translation_offsets.detach().numpy() * float(self.model.translation_scale)
        frame = self.model.obj.detach().numpy()[y : y + self.size, x : x + self.size]
        return frame, self.recorded + offsets


class PtyLab:
    """PtyLab: the engine mPIE, which works on whole pixels; an epoch ends where it would show a picture."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import PtyLab

        data, self.size = np.load(folder / "data.npz"), 4 * np.load(folder / "data.npz")["probe"].shape[-1]
        measured = PtyLab.ExperimentalData(operationMode="CPM")
        measured.ptychogram, measured.wavelength, measured.zo = data["patterns"], WAVELENGTH_M, 1.0
        measured.dxd = WAVELENGTH_M / (data["probe"].shape[-1] * PIXEL_M)
        measured.encoder = (data["positions"] - 3 * self.size / 8) * PIXEL_M
        measured.entrancePupilDiameter = measured.spectralDensity = measured.theta = measured.emptyBeam = None
        measured._setData()
        parameters = PtyLab.Params()
        parameters.gpuSwitch = False
        parameters.positionCorrectionSwitch = settings["positions"]
        parameters.orthogonalizationSwitch = settings["modes"] > 1
        self.made = PtyLab.Reconstruction(measured, parameters)
        self.made.npsm = settings["modes"]
        self.made.initializeObjectProbe()
        self.made.probe[..., 0, 0, :, :] = data["probe"]
        largest = abs(data["probe"]).max()
        for mode in range(1, settings["modes"]):
            other = self.made.probe[..., mode, 0, :, :]
            other *= 0.3 * largest / abs(other).max()
        engine = PtyLab.Engines.mPIE(self.made, measured, parameters, PtyLab.DummyMonitor())
        engine.numIterations, engine.betaObject, engine.betaProbe = 10_000, settings["beta"], settings["beta"]
        self.asked, self.done = threading.Semaphore(0), threading.Semaphore(0)

        def wait(*_: Any) -> None:
            self.done.release()
            self.asked.acquire()

        def work() -> None:
            self.asked.acquire()
            engine.reconstruct(vis_after_each_iteration=wait)

        threading.Thread(target=work, daemon=True).start()

    def epoch(self) -> None:
        self.asked.release()
        self.done.acquire()

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        first = int(self.made.No) // 2 - int(self.made.Np) // 2 - round(3 * self.size / 8)
        object_ = np.asarray(self.made.object)[0, 0, 0, 0]
        framed = np.ones((self.size, self.size), complex)
        low = max(0, -first)
        part = object_[first + low : first + self.size, first + low : first + self.size]
        framed[low : low + part.shape[0], low : low + part.shape[1]] = part
        return framed, np.asarray(self.made.encoder_corrected) / PIXEL_M


class Astra:
    """ASTRA's linear projector on the CPU: an epoch is projection and back-projection of some slices."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import astra

        data = np.load(folder / "data.npz")
        picture, theta = np.ascontiguousarray(data["picture"].T), data["theta"]
        size = picture.shape[0]
        # Its angles run the other way, and its second axis is our first.
        poses = astra.create_proj_geom("parallel", 1.0, size, -theta)
        space = astra.create_vol_geom(size, size)
        self.projector, self.slices = astra.create_projector("linear", poses, space), settings["slices"]
        self.sinogram = astra.data2d.create("-sino", poses)
        volume, back = astra.data2d.create("-vol", space, picture), astra.data2d.create("-vol", space)
        forward, adjoint = astra.astra_dict("FP"), astra.astra_dict("BP")
        forward |= {"ProjectorId": self.projector, "VolumeDataId": volume, "ProjectionDataId": self.sinogram}
        adjoint |= {"ProjectorId": self.projector, "ReconstructionDataId": back, "ProjectionDataId": self.sinogram}
        self.work = [astra.algorithm.create(each) for each in (forward, adjoint)]

    def epoch(self) -> None:
        import astra

        for _ in range(self.slices):
            for each in self.work:
                astra.algorithm.run(each)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        import astra

        return astra.data2d.get(self.sinogram), np.zeros((0, 2))


class Hotopy:
    """hotopy: its nonlinear Tikhonov method with a known delta / beta; an epoch is a whole reconstruction."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import torch
        from hotopy.holo import Tikhonov

        torch.set_num_threads(1)
        data = np.load(folder / "data.npz")
        self.holograms, self.result = data["holograms"], np.zeros(data["holograms"].shape[1:])
        self.make = functools.partial(
            Tikhonov, self.result.shape, data["fresnel"], betadelta=settings["betadelta"], alpha=settings["alpha"]
        )

    def epoch(self) -> None:
        self.result = self.make()(self.holograms).detach().numpy()

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        return self.result, np.zeros((0, 2))


SOLVERS: dict[str, Callable[[Path, dict[str, Any]], Solver]] = {
    "adorym": Adorym,
    "pty_chi": PtyChi,
    "cdtools": CdTools,
    "ptylab": PtyLab,
    "astra": Astra,
    "hotopy": Hotopy,
}


def main(solver: str, folder: Path, settings: dict[str, Any]) -> None:
    """Answer every line of standard input with an epoch; peers print what they like, it goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.disable(logging.WARNING)
    made = SOLVERS[solver](folder, settings)
    print("{}", file=answers)
    for line in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        made.epoch()
        seconds = {"processor_s": time.process_time() - processor, "wall_s": time.perf_counter() - wall}
        if line.strip():
            found, positions = made.found()
            np.savez(line.strip(), object=found, positions=positions)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**seconds, "peak_mib": peak}), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
