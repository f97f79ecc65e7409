# Each target sets up what it needs: a fresh machine needs only Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Two test workers share the cores: one thread to a process.
test nightly: export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format nightly bench docs clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

setup: $(VENV)/.dev ## create .venv and install penjing with its development tools, once

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "penjing needs Python 3.11 or newer; $(PYTHON) is older: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) --editable '.[bench]'
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(INSTALL) --editable '.[docs]'
	@touch $@

demo: setup ## prune the shipped network to half its latency, and show before and after
	$(BIN)/penjing demo -o runs/demo

test: setup ## the whole test suite but for the tests marked slow
	$(BIN)/pytest -n 2 -q --durations=15

check: setup ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff write what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

nightly: setup ## every test, the slow ones too, with ten times the generated examples
	HYPOTHESIS_PROFILE=nightly $(BIN)/pytest -n 2 -q -m '' --durations=30

bench: $(VENV)/.bench ## every benchmark, each writing its JSON into benchmarks/results
	@set -e; for script in $(sort $(wildcard benchmarks/bench_*.py)); do echo "$$script"; $(BIN)/python $$script; done

docs: $(VENV)/.docs ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove everything that the targets made, runs aside
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
