"""A virtual environment for the peers, apart from the project's own; part of ``peers.py``.

What pip would do is asked first: a peer that would replace PyTorch by another build is left out, and so is one that
does not install. The outcome is kept in the environment's folder, so that it is asked once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from figures import Figure

FOLDER = Path(os.environ.get("ADORYM_PEERS", Path.home() / ".cache" / "adorym" / "peers"))
PYTHON = FOLDER / "bin" / "python"
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
ALL_NEED = (f"torch=={torch.__version__.partition('+')[0]}", "numpy", "scipy", "h5py", "matplotlib", "tqdm")
STAND_IN = '''"""A stand-in: its wheels load with one build of PyTorch only. Nothing that is measured calls it."""


class GaussianBlur:
    def __init__(self, *arguments, **settings):
        raise NotImplementedError("a stand-in")
'''


@dataclass(frozen=True)
class Peer:
    """A package of the registry.

    Attributes:
        requirement: What pip is asked for.
        instead: Installed in place of what the package asks for, where that would replace PyTorch.
    """

    requirement: str
    instead: tuple[str, ...] = ()


PEERS = {
    "pty_chi": Peer("ptychi==2.2.0", ("pandas", "pydantic", "scikit-image", "scikit-learn")),
    "cdtools": Peer("cdtools-py==0.3.2"),
    "ptylab": Peer("ptylab==0.3.7"),
    "astra": Peer("astra-toolbox==2.5.0"),
    "cohere": Peer("cohere-core==4.5.4"),
    "hotopy": Peer("hotopy==0.26"),
    "ptyrad": Peer("ptyrad==1.0.0"),
}


class AbsentError(Exception):
    """A peer is not there; the message says why."""


@cache
def python_with(name: str) -> str:
    """The interpreter that has the peer, which is installed first where it is not.

    Raises:
        AbsentError: It does not install, or would replace PyTorch.
    """
    kept, peer = FOLDER / f"{name}.json", PEERS[name]
    outcome = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if outcome.get("requirement") != peer.requirement:
        _make()
        outcome = {"requirement": peer.requirement, "reason": _installed(peer)}
        kept.write_text(json.dumps(outcome), encoding="utf-8")
    if outcome["reason"]:
        raise AbsentError(f"{name}: {outcome['reason']}")
    return str(PYTHON)


def installed() -> Iterator[Figure]:
    """Whether a package installs without another build of PyTorch: 1, or 0."""
    for name in PEERS:
        try:
            python_with(name)
        except AbsentError as error:
            print(f"  {error}", file=sys.stderr)
            yield Figure(f"installed.{name}", 0)
        else:
            yield Figure(f"installed.{name}", 1)


def _make() -> None:
    """The environment with what all peers need."""
    if not PYTHON.is_file():
        print(f"making {FOLDER} ...", file=sys.stderr)
        venv.create(FOLDER, with_pip=True)
        done = _pip(*ALL_NEED)
        if done.returncode:
            raise AbsentError(f"the environment: {_last(done)}")


def _installed(peer: Peer) -> str:
    """Why the peer could not be installed; nothing if it was."""
    print(f"installing {peer.requirement} ...", file=sys.stderr)
    wanted = ("--no-deps", peer.requirement) if peer.instead else (peer.requirement,)
    plan = _pip("--dry-run", "--report", "-", *wanted)
    if plan.returncode:
        return _last(plan)
    names = {entry["metadata"]["name"].lower() for entry in json.loads(plan.stdout)["install"]}
    if names & {"torch", "torchvision"}:
        return f"would bring another build of {' and '.join(sorted(names & {'torch', 'torchvision'}))}"
    for each in (peer.instead, wanted):
        done = _pip(*each) if each else None
        if done is not None and done.returncode:
            return _last(done)
    if peer.instead:
        _stand_in()
    return ""


def _stand_in() -> None:
    """A ``torchvision`` for pty-chi, which imports one blur from it."""
    command = [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    folder = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    package = Path(folder) / "torchvision"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "transforms.py").write_text(STAND_IN, encoding="utf-8")


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _last(done: subprocess.CompletedProcess[Any]) -> str:
    lines = [line for line in done.stderr.strip().splitlines() if "WARNING" not in line and "notice" not in line]
    return lines[-1] if lines else f"pip ended with status {done.returncode}"
