# The table of contents of the project: `make` alone lists what there is to do.
# A fresh clone needs nothing but make and Python 3.11 or newer; everything else goes into .venv, held to the hashes in requirements/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

# The Python that makes .venv, e.g. `make test PYTHON=python3.13`.
PYTHON ?= python3
# Test processes that run at once: one more than the two cores of a small machine, as tests often wait.
JOBS ?= 3
# More words for pytest, e.g. `make test ARGS='-k retry -x'`.
ARGS ?=

BIN := .venv/bin

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nSettings are environment variables, e.g. `PORT=8001 make run`; .env.example lists them.\n'

##@ Run the stack

.PHONY: run up down logs
run: .venv-run ## Run it here without Docker, until Ctrl-C (PORT, DATA_DIR, WORKERS, WORKER_POOL, ...)
	@exec $(BIN)/python -m backroom.local

up: ## Run it in Docker: build, start, wait until healthy
	COMPOSE_PARALLEL_LIMIT=1 docker compose build
	docker compose up --detach --wait

down: ## Stop the containers; the jobs stay in their volume
	docker compose down

logs: ## Follow the containers' logs
	docker compose logs --follow --tail 100

##@ Prove it

.PHONY: test check browser compose-test bench soak
# In their order, not the largest files first: those that take long have few tests, and stand before the unit tests.
test: .venv-dev ## Unit, integration and Celery tests, three at a time (JOBS, ARGS)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not browser and not compose and not slow' $(ARGS)

check: .venv-dev ## Lint, format, types, and who may import whom
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command as main; main()'

browser: .venv-dev ## Tests that drive a real browser (Chromium on PATH): none yet
	$(BIN)/python -m pytest -m browser $(ARGS)

compose-test: .venv-dev ## Tests of the containers, on the Docker engine of this machine
	$(BIN)/python -m pytest -m compose $(ARGS)

bench: .venv-dev ## Throughput and latency, against stock Celery in the same run
	$(BIN)/python -m benchmarks $(ARGS)

soak: .venv-dev ## Load and trouble for minutes, then a reckoning (ARGS="--seconds 600 --seed 7")
	$(BIN)/python -m benchmarks.soak $(ARGS)

##@ Keep it

.PHONY: format lock clean
format: .venv-dev ## Format the code and mend what the linter can mend
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# Universal: one file for Linux and macOS and every Python from 3.11 on. run and dev keep to the versions of runtime.
COMPILE = $(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml
lock: .venv-dev ## Lock the newest allowed packages anew, with hashes
	$(COMPILE) --upgrade --output-file requirements/runtime.txt
	$(COMPILE) --upgrade --output-file requirements/run.txt --constraint requirements/runtime.txt --group build --extra local --extra client
	$(COMPILE) --upgrade --output-file requirements/dev.txt --constraint requirements/runtime.txt --group build --all-extras

clean: ## Remove .venv, caches and what tests left; DATA_DIR (the jobs) stays
	rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- the environment

.PHONY: .venv-run .venv-dev
.venv-run .venv-dev:
	@$(PYTHON) tools/environment.py $(@:.venv-%=%)
