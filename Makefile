# `make fit` runs the main job and `make test` the tests; each makes the environment it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# Threads that spin long while they wait are many times slower on a machine that does anything else.
export GOMP_SPINCOUNT ?= 3000

.PHONY: fit test lint clean

fit: $(STAMP)
	$(BIN)/python experiments/fit.py --guide topdown --num-particles 50

# A process for each of two cores, one thread in each: the tensors of the tests are small.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(BIN)/python -m pytest -q --numprocesses 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(STAMP): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
