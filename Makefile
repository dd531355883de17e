# make demo        everything from nothing: environment, simulated archive, pipeline, report
# make test        environment, lint, types, layers, tests
# make wheel-test  the wheel in an empty environment
# make fuzz        12,000 hostile and broken files through every reader (minutes)
# make catalogs    records of catalogs/simulated, after a change of results (minutes)
# make bench       speed, memory and accuracy figures (minutes)
# make faults      break things at random and compare the results (an hour)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test lint types layers unit wheel wheel-test bench faults catalogs fuzz reference clean

help:
	@sed -n 's/^# make/make/p' Makefile

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $(STAMP)

$(VENV)/.extras: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dtw,ocr,microscopes]'
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
	$(BIN)/python -m compileall -q nanoarray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

wheel: $(STAMP)
	rm -rf dist && $(BIN)/python -m build --outdir dist .


wheel-test: wheel
	rm -rf $(VENV)-wheel && $(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd $(VENV)-wheel && rm -rf try && mkdir try && cd try \
	  && ../bin/nanoarray simulate superlattice sim --images 2 \
	  && ../bin/nanoarray ingest sim s.zarr --tags sim/tags.csv \
	  && ../bin/nanoarray run superlattice s.zarr --workers 2 \
	  && ../bin/nanoarray report s.zarr --out report.html
	rm -rf $(VENV)-wheel

bench: $(VENV)/.extras
	$(BIN)/python -m benchmarks

faults: $(STAMP)
	$(BIN)/python -m benchmarks.faults

fuzz: $(VENV)/.extras
	PYTHONPATH=tests $(BIN)/python tests/fuzz_readers.py --cases 12000

catalogs: $(STAMP)
	$(BIN)/python catalogs/make_simulated.py

reference: $(STAMP)
	$(BIN)/python docs/make_reference.py

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
