# make demo   everything from nothing: environment, simulated archive, pipeline, report
# make test   environment, lint, types, layers, tests
# make bench  speed, memory and accuracy figures (minutes)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test lint types layers unit wheel bench clean

help:
	@sed -n 's/^# //p' Makefile

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $(STAMP)

$(VENV)/.extras: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dtw,torch]'
	@touch $@

demo: $(STAMP)
	$(BIN)/nanoarray demo --out demo

test: lint types layers unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

unit: $(VENV)/.extras
	$(BIN)/python -m pytest -n 2

wheel: $(STAMP)
	$(BIN)/python -m build --outdir dist .

bench: $(VENV)/.extras
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
