# `make help` lists the targets. Everything is installed into .venv, once: a stamp file remembers for which setup.py.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install --constraint constraints.txt
PACKAGED := setup.py constraints.txt adorym/_version.py
CORE := $(VENV)/.installed
DEVELOP := $(VENV)/.installed-develop
CORES := $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs examples unit fuzz clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(CORE) ## simulate a fly scan of a Siemens star, reconstruct it and write its report
	@mkdir -p demo
	$(BIN)/adorym simulate siemens_star_fly_scan -o demo/siemens.h5
	$(BIN)/adorym run examples/demo/config.yaml --set "data.path=$(CURDIR)/demo/siemens.h5" --output demo/out
	@echo "Open the report: $(CURDIR)/demo/out/report.html"

test: $(DEVELOP) ## everything that must pass: lint, documentation, examples, tests
	$(MAKE) --no-print-directory --jobs=2 lint docs
	$(MAKE) --no-print-directory examples unit

lint: $(DEVELOP) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: $(DEVELOP) ## build the documentation into docs/_build; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build
	@echo "Documentation: docs/_build/index.html"

examples: $(DEVELOP) ## run every example, small
	$(BIN)/python examples/run_all.py --quick --jobs $(CORES)

unit: $(DEVELOP) ## the tests
	$(BIN)/python -m pytest -m "not mpi" -n auto
	$(BIN)/python -m pytest -m mpi $$(grep --recursive --files-with-matches --include='*.py' 'mark\.mpi' tests)

fuzz: $(DEVELOP) ## thousands of damaged files and configurations; FIRST=0 SEEDS=3000 says which
	ADORYM_FUZZ_FIRST=$(or $(FIRST),0) ADORYM_FUZZ_SEEDS=$(or $(SEEDS),3000) \
		$(BIN)/python -m pytest -n auto --timeout 0 tests/fuzz

clean: ## remove what the other targets wrote, but keep .venv
	rm -rf build dist demo docs/_build docs/_generated .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Small arrays gain nothing from threads, and ranks that share the cores lose much.
test lint docs examples unit fuzz: export OMP_NUM_THREADS = 1
# Hundreds of processes start, and each would compile the whole package anew, where bytecode may not be kept.
export PYTHONDONTWRITEBYTECODE :=

$(CORE): $(PACKAGED)
	@echo "Installing into $(VENV) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(DEVELOP): $(CORE)
	$(PIP) --editable '.[docs,formats,jax,live,mpi,onnx,test,tomography,tune,watch]'
	@touch $@
