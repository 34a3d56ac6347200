# `make demo` and `make test` need Python 3.11 or newer and nothing else; what they install stays in .venv.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
EXTRAS := audio,studio,test
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
# The first of these that runs, is new enough and can make environments. Another: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c "$(SUITABLE)" 2>/dev/null && echo $$name && break; done)

# Processes that `make test` runs in, a core each; the largest test takes 6 GB of memory.
JOBS ?= 2

.PHONY: demo test study
demo: $(STAMP)
	$(BIN)/cdrl run --preset cpu --out runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

study: $(STAMP)
	$(BIN)/cdrl study --out results/study --work runs/study

# Installs again only when the pins or the declared dependencies change.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv was found:" \
		"install one (Debian, Ubuntu: python3-venv) or name it, make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing into $(VENV) with $$($(PYTHON) --version) (tested: 3.11): once, some 6 GB on Linux, where PyPI's torch brings CUDA."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $(STAMP)
