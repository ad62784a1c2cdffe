# `make quickstart` shows the whole system at work on a CPU; `make test` checks it. Both set everything up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# glibc returns large buffers to the kernel after every step by default; on a CPU that costs a sixth of training.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184

.PHONY: help setup quickstart test test-slow lint types benchmark clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## virtual environment with everything the other targets need

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trl_mle needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

quickstart: setup  ## train the demo policy, then improve it by reinforcement learning (CPU, about 10 minutes)
	$(BIN)/trl-mle quickstart

test: setup lint types  ## lint, types and the default tests
	$(BIN)/python -m pytest

test-slow: setup  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy
	$(BIN)/mypy

benchmark: setup  ## the figures of the docs: three seeds of the quickstart, the sandbox against others
	$(BIN)/python benchmarks/quickstart.py --seeds 3
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/ray_sandbox.py

clean:  ## remove the environment and caches, not runs/
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
