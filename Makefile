# Two commands do everything on a machine with Python 3.11 or newer, pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := uv==0.13.9
STAMP  := $(VENV)/.installed

.PHONY: demo test lint types imports generated contracts unit services prove bench generate install clean help

help:            ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

install: $(STAMP) ## the exact versions of uv.lock into .venv

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit("Handoff needs Python 3.11 to 3.13; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if not (3, 11) <= sys.version_info[:2] < (3, 14) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	UV_PROJECT_ENVIRONMENT=$(VENV) UV_COMPILE_BYTECODE=1 UV_PYTHON=$(BIN)/python $(BIN)/uv sync --locked --inexact --quiet
	$(BIN)/python -m orchestration.prebuild
	@touch $(STAMP)

demo: $(STAMP)   ## the whole flow on a simulated company
	@$(BIN)/handoff demo

test: lint types imports generated contracts unit ## everything CI checks
	@echo "all checks passed"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/sqlfluff lint dbt_project/models --processes 2 --disable-progress-bar

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports --no-logo

generated: $(STAMP) ## fails when something derived is stale
	$(BIN)/python -m ingestion.contracts.generate --check
	$(BIN)/python -m ingestion.errors.generate --check
	$(BIN)/python -m models.policies.generate --check

contracts: $(STAMP) ## fails when a published contract was edited, or breaks its senders; needs no git
	$(BIN)/handoff contracts check

generate: $(STAMP) ## derive it anew
	$(BIN)/python -m ingestion.contracts.generate
	$(BIN)/python -m ingestion.errors.generate
	$(BIN)/python -m models.policies.generate

# In the order of their names: sorted by their number of tests, the longest files of all, which have few, would come last.
unit: $(STAMP) services
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# Servers that tests run against for real and PyPI does not have. Who is not root installs them by hand, or their tests are skipped.
services:        ## redis-server, PostgreSQL and Chromium, by apt where we may
	@command -v redis-server > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server > /dev/null; } \
	  || echo "redis-server is not installed: the tests that need it are skipped"
	@command -v initdb > /dev/null || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql > /dev/null; } \
	  || echo "PostgreSQL is not installed: the tests that need it are skipped"
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium > /dev/null; } \
	  || echo "Chromium is not installed: the tests that need it are skipped"

prove: $(STAMP)  ## the long proofs: many runs, many crashes
	$(BIN)/pytest -q -m prove --timeout 3600

bench: $(STAMP)  ## benchmarks, each beside its floor; see benchmarks/README.md
	UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON=$(BIN)/python $(BIN)/uv sync --locked --inexact --quiet --group bench
	$(BIN)/python -m benchmarks

clean:           ## state and environment
	rm -rf $(VENV) .handoff
