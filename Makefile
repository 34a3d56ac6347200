# `make demo`, `make test` and `make check` need Python 3.11 or newer and nothing else.
# What they install stays in .venv (VENV=/another/folder to keep several).
#
#   make demo     the main job: notebooks 00 to 06, into runs/demo
#   make test     every test
#   make check    format, lint, types and unit tests, in about two minutes
#   make coverage what the unit tests reach of the code
#   make lint     format, lint and types alone
#   make docs     the documentation site, into site/
#   make study    the comparison over seeds, into results/study
#   make fuzz     2,000 damaged inputs, 400 of them media; SEED=N begins at another one
#
#   make test PYTHON=python3.13 PINS=none VENV=.venv313    newest releases on another Python
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
EXTRAS := audio,cluster,losses,onnx,studio,test,docs,tracker
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
# The first of these that runs, is new enough and can make environments.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c "$(SUITABLE)" 2>/dev/null && echo $$name && break; done)
# Where the versions come from: constraints.txt, or `none` for the newest releases.
PINS ?= constraints.txt
CONSTRAINTS := $(if $(filter none,$(PINS)),,-c $(PINS))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS)

# Processes that `make test` runs in, a core each. The largest test takes 6 GB of memory.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint check coverage docs study fuzz
demo: $(STAMP)
	$(BIN)/cdrl run --preset cpu --out runs/demo

test: $(STAMP)
	$(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff format --check cdrl tests scripts notebooks
	$(BIN)/ruff check cdrl tests scripts notebooks
	$(BIN)/mypy

UNIT := -m "not slow and not notebook and not browser and not gpu"

check: lint
	$(PYTEST) $(UNIT)

coverage: $(STAMP)
	$(PYTEST) $(UNIT) --cov --cov-report=term:skip-covered

docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet

study: $(STAMP)
	$(BIN)/cdrl study --out results/study --work runs/study

SEED ?= 0
fuzz: $(STAMP)
	CDRL_FUZZ=long CDRL_FUZZ_SEED=$(SEED) $(BIN)/python -m pytest tests/test_fuzz.py -p no:cacheprovider \
		--hypothesis-seed=$(SEED) --durations=9

# Free disk that a new environment needs, in GB (10^9 bytes); NEEDED_GB=0 tries with less.
NEEDED_GB ?= 9
FREE_GB := import pathlib, shutil; \
	place = next(each for each in pathlib.Path("$(VENV)").absolute().parents if each.exists()); \
	print(shutil.disk_usage(place).free // 10**9)

# Installs again only when the pins or the declared dependencies change.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv was found:" \
		"install one (Debian, Ubuntu: python3-venv) or name it, make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c "$(SUITABLE)" 2>/dev/null || { echo "make: $(PYTHON) does not run, is older than 3.11 or has no venv:" \
		"name another one, make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@free=$$($(PYTHON) -c '$(FREE_GB)'); test -e $(VENV) || test $$free -ge $(NEEDED_GB) || { echo "make: $$free GB are free where $(VENV) is to be," \
		"a new environment needs $(NEEDED_GB): make room, or try with less, make $(MAKECMDGOALS) NEEDED_GB=0" >&2; exit 1; }
	@echo "Installing into $(VENV) with $$($(PYTHON) --version) (tested: 3.11): once, 3 to 10 minutes without a further line; 6.5 GB on Linux, where PyPI's torch brings CUDA, and 9 while it installs."
	$(PYTHON) -m venv $(VENV)
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation -e ".[$(EXTRAS)]"
	@touch $(STAMP)
