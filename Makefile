# make demo       install, run six methods on real digits with two seeds, print the table      (about 6 minutes)
# make demo-all   the same for every method and freeze point
# make test       install what a developer needs, then lint, types and tests                   (about 25 minutes)
# make test-long  the tests that take longer than a minute each
#
# Tests of SLURM start a cluster of their own; as root on Debian its programs are installed, else: slurm/dev/install

PYTHON ?= python3
VENV ?= .venv
RESULTS ?= results/demo
JOBS ?= 2

PIP := $(VENV)/bin/python -m pip
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt
BENCH := $(VENV)/bin/bench
DEMO := -d digits -s 2 --preset quick --results $(RESULTS)
# A test gets one thread: bits differ between one and two. The tests themselves run beside one another.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest
BESIDE := -n $(JOBS) --dist worksteal
# None of these takes a minute: of one that stands still, the stacks of its threads.
STUCK := -o faulthandler_timeout=300

# With -j too lint ends before tests begin; those run beside one another by themselves.
.NOTPARALLEL:
.PHONY: demo demo-all test tests test-long lint install install-dev install-slurm clean

demo: install
	$(BENCH) run -m beta-vae,patchvae,patchvae-lw,bigan,supervised,random --probes conv1-5 $(DEMO)
	$(BENCH) report --results $(RESULTS)

demo-all: install
	$(BENCH) run -m all --probes all $(DEMO)
	$(BENCH) report --results $(RESULTS)

test: install-dev install-slurm lint tests

# Those of SLURM share one cluster and measure seconds: one after another, and nothing beside them.
tests: install-dev install-slurm
	$(PYTEST) $(BESIDE) $(STUCK) -m "not slow and not slurm"
	$(PYTEST) -m "slurm and not slow"

test-long: install-dev install-slurm
	$(PYTEST) $(BESIDE) -m "slow and not slurm"
	$(PYTEST) -m "slurm and slow"

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
TORCH = $(PIP) install $(PIP_FLAGS) $(shell grep -E '^(torch|torchvision)==' constraints.txt)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (about 90 seconds where the packages are at hand)"
	$(TORCH)
	$(PIP) install $(PIP_FLAGS) --editable .
	@touch $@

# All at once: what needs no more is installed with it.
$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) what a developer needs"
	$(TORCH)
	$(PIP) install $(PIP_FLAGS) --editable '.[dev]'
	@touch $(VENV)/installed $@

# Nobody's machine but a root's on Debian is changed; without the programs the tests skip and say so.
install-slurm:
	@[ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || slurm/dev/install || echo "the tests of SLURM will skip"

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
