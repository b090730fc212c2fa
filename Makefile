# The table of contents of the project: `make` alone lists what there is to do.
# A fresh clone needs nothing but make and Python 3.11 or newer; everything else goes into .venv, held to the hashes in requirements/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

# The Python that makes .venv, e.g. `make test PYTHON=python3.13`.
PYTHON ?= python3
# Test processes that run at once.
JOBS ?= 2
# More words for pytest, e.g. `make test ARGS='-k retry -x'`.
ARGS ?=

BIN := .venv/bin
# What an environment was made for: this folder, this Python, these locked packages. A stamp that says anything else
# (a changed lock file, a checkout that was copied or moved) does not count, whatever its time stamp is.
made-for = $(shell { pwd -P; $(PYTHON) -c 'import sys; print(sys.version, sys.base_prefix)'; cat requirements/$(1).txt; } 2>&1 | cksum | tr ' ' '-')
RUN_STAMP := .venv/.run-$(call made-for,run)
DEV_STAMP := .venv/.dev-$(call made-for,dev)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nSettings are environment variables, e.g. `PORT=8001 make run`; .env.example lists them.\n'

##@ Run the stack

.PHONY: run up down logs
run: $(RUN_STAMP) ## Run it here without Docker, until Ctrl-C (PORT, DATA_DIR, WORKERS, WORKER_POOL, ...)
	@exec $(BIN)/python -m backroom.local

up: ## Run it in Docker: build, start, wait until healthy
	docker compose up --build --detach --wait

down: ## Stop the containers; the jobs stay in their volume
	docker compose down

logs: ## Follow the containers' logs
	docker compose logs --follow --tail 100

##@ Prove it

.PHONY: test check browser compose-test bench
test: $(DEV_STAMP) ## Unit, integration and Celery tests, two at a time (JOBS, ARGS)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not browser and not compose and not slow' $(ARGS)

check: $(DEV_STAMP) ## Lint, format, types, and who may import whom
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command as main; main()'

browser: $(DEV_STAMP) ## Tests that drive a real browser (Chromium on PATH)
	$(BIN)/python -m pytest -m browser $(ARGS)

compose-test: $(DEV_STAMP) ## Tests of the containers, on the Docker engine of this machine
	$(BIN)/python -m pytest -m compose $(ARGS)

bench: $(DEV_STAMP) ## Throughput and latency, against stock Celery in the same run
	$(BIN)/python -m benchmarks $(ARGS)

##@ Keep it

.PHONY: format lock clean
format: $(DEV_STAMP) ## Format the code and mend what the linter can mend
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# Universal: one file for Linux and macOS and every Python from 3.11 on. run and dev keep to the versions of runtime.
COMPILE = $(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml
lock: $(DEV_STAMP) ## Lock the newest allowed packages anew, with hashes
	$(COMPILE) --upgrade --output-file requirements/runtime.txt
	$(COMPILE) --upgrade --output-file requirements/run.txt --constraint requirements/runtime.txt --extra local
	$(COMPILE) --upgrade --output-file requirements/dev.txt --constraint requirements/runtime.txt --all-extras

clean: ## Remove .venv, caches and what tests left; DATA_DIR (the jobs) stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- the environment

.venv/.run-%: ; $(call make-environment,run,$@)
.venv/.dev-%: ; $(call make-environment,dev,$@)

# An environment that does not work here (copied from elsewhere, its Python gone or another) is made anew; one that
# does is brought to the locked versions.
define make-environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Backroom needs Python 3.11 or newer; this is " + sys.version + ": name another one, e.g. make PYTHON=python3.13")'
	@echo "Setting up .venv from requirements/$(1).txt ..."
	@rm -f .venv/.run-* .venv/.dev-*
	@$(BIN)/python -c 'import os, sys; sys.exit(sys.base_prefix != "$(shell $(PYTHON) -c "import sys; print(sys.base_prefix)")" or not os.path.samefile(sys.prefix, ".venv"))' 2>/dev/null \
	  || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/$(1).txt
	@touch $(2)
endef
