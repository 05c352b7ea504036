# What everybody types. `make` alone prints the list.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

# Stamps of what the virtual environment holds; older than pyproject.toml means install again.
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(RUN_READY) ## Map over every Python file of the standard library, on this machine
	@$(BIN)/cloudfn run examples/source_stats.py $(ARGS)

.PHONY: test
test: $(DEV_READY) ## Run the static checks and every test, once
	@status=0; \
	$(MAKE) check || { status=1; echo "make check failed (see above); the tests run all the same." >&2; }; \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS) || status=1; \
	exit $$status

.PHONY: check
check: $(DEV_READY) ## Format, lint, types, import floors; changes nothing
	@status=0; \
	$(BIN)/ruff format --check --quiet . || status=1; \
	$(BIN)/ruff check --quiet . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	exit $$status

.PHONY: format
format: $(DEV_READY) ## Let ruff format and fix what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: soak
soak: $(DEV_READY) ## Run the long kill and chaos campaigns (not part of make test)
	@$(BIN)/python -m pytest -m soak -o "python_files=test_*.py soak_*.py" --timeout=0 $(ARGS)

.PHONY: gpu-check
gpu-check: $(DEV_READY) ## Run kernels in containers, on this machine's NVIDIA GPUs
	@$(BIN)/python -m pytest -m gpu tests/gpu $(ARGS)

.PHONY: verify-boot
verify-boot: $(DEV_READY) ## Boot a virtual machine with the user-data of infra/terraform, for minutes
	@$(BIN)/python -m pytest -m qemu tests/qemu $(ARGS)

.PHONY: verify-aws
verify-aws: $(DEV_READY) ## Try an environment on AWS that exists; it bills a few machines for minutes
	@$(BIN)/python -m pytest -m aws tests/verify $(ARGS)

.PHONY: bench
bench: $(RUN_READY) ## Measure cloudfn beside its peers (they get an environment of their own)
	@$(BIN)/python bench/run.py $(ARGS)

.PHONY: bench-aws
bench-aws: $(DEV_READY) ## Count what cloudfn asks of AWS (ARGS=paper|count|decide|run, on fakes; or rehearsal, which needs root)
	@$(BIN)/python -m benchmarks.aws $(ARGS)

.PHONY: bundle-lock
bundle-lock: $(DEV_READY) ## Lock the newest wheels for the bundle of machines and planner
	@$(BIN)/python infra/lock_bundle.py

.PHONY: setup
setup: $(DEV_READY) ## Only create the virtual environment, with everything to develop

.PHONY: clean
clean: ## Remove the virtual environments, caches and build results
	rm -rf $(VENV) .bench-venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_READY): pyproject.toml $(BIN)/python
	@echo "Installing cloudfn into $(VENV) ..."
	@$(PIP_INSTALL) --editable .
	@touch $@

$(DEV_READY): pyproject.toml $(BIN)/python
	@echo "Installing cloudfn and its development tools into $(VENV) ..."
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $(RUN_READY) $@

# A link to a Python that is gone counts as missing, so that the environment is made anew.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "cloudfn needs Python 3.11 or newer; '$(PYTHON)' is older, broken or missing." >&2; \
	  echo "Name another, for example: make $(firstword $(MAKECMDGOALS) test) PYTHON=/usr/bin/python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Could not create $(VENV). On Debian and Ubuntu, 'apt install python3-venv' adds what is missing." >&2; \
	  exit 1; }
