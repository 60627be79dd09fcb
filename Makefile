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

test: $(STAMP)
	$(BIN)/python -m pytest -q

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
