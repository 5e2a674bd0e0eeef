# Everything runs in .venv, made of the hash-pinned lock by tools/install.py. Whatever environment
# is active when make is called does not matter.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE := 1

PROFILE ?= quick

# the first interpreter that is new enough; a shim that answers with an error is passed over
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c '$(SUITABLE)' >/dev/null 2>&1; then echo $$python; break; fi; done)

# further sets of packages, each pinned in requirements-NAME.lock: GPU=1, EXTRAS="ray". With them
# everything runs in an environment of its own, .venv-gpu or .venv-gpu-ray
ADDED := $(sort $(if $(GPU),gpu) $(EXTRAS))
VENV := .venv$(subst $() ,,$(addprefix -,$(ADDED)))
INSTALL = $(or $(PYTHON),$(error Python 3.11 to 3.13 is needed and none was found; install one, or name it: make PYTHON=/path/to/python3.11)) tools/install.py
RADTRANSFER := $(VENV)/bin/python -m radtransfer

.DEFAULT_GOAL := help
.PHONY: help environment study test test-backends book pdf verify bench lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment:  ## make .venv from the hash-pinned lock, if it does not match
	@$(INSTALL) $(ADDED)

study: environment  ## run the study and build its book; PROFILE=quick by default, on a GPU with GPU=1
	@$(RADTRANSFER) study --profile $(PROFILE)

test: environment  ## lint, types, unit tests, then every notebook and the book on tiny data
	@$(VENV)/bin/python tools/check.py

test-backends:  ## networks and training on JAX, and on PyTorch where it is installed; in .venv-jax
	@$(INSTALL) jax
	@.venv-jax/bin/python tools/check_backends.py

book: environment  ## render the published results; executes nothing
	@$(RADTRANSFER) book

pdf: environment  ## the same as one PDF; needs Chromium or Chrome
	@$(RADTRANSFER) book --pdf

verify: environment  ## run the published study again and compare every number; ARGS=--from-predictions takes minutes
	@$(RADTRANSFER) verify $(ARGS)

bench: environment  ## benchmarks and long simulations
	@$(VENV)/bin/python -m pytest -m slow tests
	@for script in benchmarks/*.py; do echo "--- $$script"; $(VENV)/bin/python $$script || exit 1; done

lock: environment  ## pin the newest dependencies that fit pyproject.toml
	@$(VENV)/bin/python tools/lock.py

clean:  ## remove executed notebooks and books; keeps downloads, training runs and .venv
	rm -rf work/study work/test work/book .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
