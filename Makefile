# make demo       install, run six methods on real digits with two seeds, print the table      (about 5 minutes)
# make demo-all   the same for every method and freeze point
# make test       install what a developer needs, then lint, types and tests                   (about 8 minutes)
# make test-long  the tests that take longer than a minute each

PYTHON ?= python3
VENV ?= .venv
RESULTS ?= results/demo
JOBS ?= 2

PIP := $(VENV)/bin/python -m pip
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt
BENCH := $(VENV)/bin/bench
DEMO := -d digits -s 2 --preset quick --results $(RESULTS)
# A test gets one thread: bits differ between one and two. The tests themselves run beside one another.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo demo-all test test-long lint install install-dev clean

demo: install
	$(BENCH) run -m beta-vae,patchvae,patchvae-lw,bigan,supervised,random --probes conv1-5 $(DEMO)
	$(BENCH) report --results $(RESULTS)

demo-all: install
	$(BENCH) run -m all --probes all $(DEMO)
	$(BENCH) report --results $(RESULTS)

test: install-dev lint
	$(PYTEST) -m "not slow"

test-long: install-dev
	$(PYTEST) -m slow

lint: install-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("bench needs Python 3.11 or later, not " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact version, so that a wheel at hand is taken before any index is asked for a newer one.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (about 90 seconds where the packages are at hand)"
	$(PIP) install $(PIP_FLAGS) $(shell grep -E '^(torch|torchvision)==' constraints.txt)
	$(PIP) install $(PIP_FLAGS) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
