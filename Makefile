# `make fit` runs the main job, `make test` the tests, `make site` builds the documentation's site and
# `make pages` runs the blocks of its pages; each makes the environment it needs.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
SITE := $(VENV)/installed-docs

# Threads that spin long while they wait are many times slower on a machine that does anything else.
export GOMP_SPINCOUNT ?= 3000

.PHONY: fit test quick newest coverage faults fuzz lint site pages clean

fit: $(STAMP)
	$(BIN)/python experiments/fit.py --guide topdown --num-particles 50

# A process for each of two cores, one thread in each: the tensors of the tests are small.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(BIN)/python -m pytest -q --numprocesses 2 --dist worksteal

# The tests that are not marked slow.
quick: export OMP_NUM_THREADS ?= 1
quick: $(STAMP)
	$(BIN)/python -m pytest -q --numprocesses 2 --dist worksteal -m "not slow"

# The same tests with the newest versions of everything; another PYTHON is a word away (CONTRIBUTING.md).
newest:
	$(MAKE) test PYTHON=python3.13 VENV=.venv-newest CONSTRAINTS=constraints-newest.txt

# Kills, full disks and other shortages, counted (docs/reliability.md); KILLS of each job.
KILLS ?= 50
faults: $(STAMP)
	$(BIN)/python -m tests.faults --kills $(KILLS)

# Changed files for every reader, and random command lines.
MINUTES ?= 10
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Lines of the library that the tests run, and errors that they raise, for each room.
coverage: export OMP_NUM_THREADS ?= 1
coverage: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[test,dev]"
	$(BIN)/python -m pytest -q --numprocesses 2 --dist worksteal \
		--cov=pyro_vae --cov-report=json:build/coverage.json --cov-report=
	$(BIN)/python docs/tools/coverage_table.py build/coverage.json --raises

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into build/site; a broken link or an unknown name in the reference is an error. Not with --quiet, which
# drops the warnings before they are counted, and with them all strictness.
site: $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# About half an hour; docs/logs/pages.md says what ran, and what only a larger machine should run.
pages: $(STAMP)
	$(BIN)/python docs/tools/run_pages.py --log docs/logs/pages.md

$(STAMP): setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[test]"
	touch $@

$(SITE): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-newest build *.egg-info
