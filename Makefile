# `make quickstart` shows the whole system at work on a CPU; `make test` checks it. Both set everything up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# glibc returns large buffers to the kernel after every step by default; on a CPU that costs a sixth of training.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184

# Processes of `make test`: one more than there are cores, because many tests wait for processes of their own. More than five do
# not help: the longest group of tests takes a fifth of the time. `nproc` would obey OMP_NUM_THREADS.
TEST_PROCESSES ?= $(shell n=$$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 5)))
PYTEST_PARALLEL := --numprocesses $(TEST_PROCESSES) --no-loadscope-reorder --durations=25 --durations-min=10
# The tests of `make check`: no sandbox, no training, no language model.
FAST_TESTS := tests/test_layering.py tests/test_parsing.py tests/test_circuit_breaker.py tests/programs tests/grading \
    tests/rewards/test_shaping.py tests/instrumentation/test_marks.py tests/instrumentation/analysis \
    $(filter-out %_in_training.py %test_actions.py,$(wildcard tests/training/weighting/test_*.py))

.PHONY: help setup quickstart quickstart-agent check test test-slow lint types docs dist benchmark trl-suite clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## virtual environment with everything the other targets need

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trl_mle needs Python 3.11 or newer; set PYTHON=...")'
	@echo "Installing into $(VENV), once: about 2 GB, some minutes"
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

quickstart: setup  ## train the demo policy, then improve it by reinforcement learning (CPU, about 10 minutes)
	$(BIN)/trl-mle quickstart

quickstart-agent: setup  ## the same with an agent that runs up to three programs per rollout
	$(BIN)/trl-mle quickstart --agent

check: setup lint types  ## the inner loop, under a minute: lint, types and the fastest tests
	$(BIN)/python -m pytest $(FAST_TESTS)

test: setup lint types  ## lint, types and the default tests
	$(BIN)/python -m pytest $(PYTEST_PARALLEL)

test-slow: setup  ## the tests that take minutes, and property tests with new examples
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m "hypothesis and not slow" --hypothesis-profile search $(PYTEST_PARALLEL)

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy
	$(BIN)/mypy

# Not with --quiet: it would hide warnings, and count none of them.
docs: $(VENV)/.docs-installed  ## the documentation site in build/site: strict, links checked, no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

dist: setup  ## wheel and sdist in dist/, checked and tried in an empty environment
	PYTHON=$(abspath $(BIN)/python) bash .ci/check_wheel

benchmark: setup  ## the figures of the docs: three seeds of the quickstart, the sandbox against others
	$(BIN)/python benchmarks/quickstart.py --seeds 3
	$(BIN)/python benchmarks/readme_picture.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/ray_sandbox.py

trl-suite: setup  ## TRL's own tests with this trainer in place of TRL's: make trl-suite TRL=<checkout of TRL>
	@test -n "$(TRL)" || { echo "set TRL=<checkout of TRL's repository>"; exit 2; }
	$(BIN)/python benchmarks/trl_suite "$(TRL)" --variants none proportional overlap

clean:  ## remove the environment and caches, not runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
