# One command an intent. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full test-failed lint docs bench lock wheel-test clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | expand -t 14

setup: $(STAMP) ## make .venv with everything (the other targets do it by themselves)

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Bascule needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. Run: apt-get install python3-venv"; exit 1; }
	@command -v git >/dev/null || { echo "git is missing. Run: apt-get install git"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the requirements into $(VENV) (about 250 MB to download, once) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m bridge.commands.missing
	@touch $(STAMP)

demo: setup ## a terminal chat with the real CLI and a scripted model; no token needed
	@$(BIN)/bascule demo

test: setup ## the tests, in under 8 minutes
	@command -v tmux >/dev/null || { echo "The tests need tmux. Run: apt-get install tmux"; exit 1; }
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || \
	  { echo "The tests need PostgreSQL. Run: apt-get install postgresql"; exit 1; }
	@for tool in chromium nginx caddy; do PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || \
	  { echo "The tests need $$tool. Run: apt-get install $$tool"; exit 1; }; done
	@$(BIN)/python -m pytest -m "not full" -n 3 --dist loadfile

test-full: setup ## the tests with the issues' full counts
	@PATH=/usr/local/bin:/usr/bin:/bin command -v npm >/dev/null || \
	  { echo "The full tests need npm, where a sandbox shows it. Run: apt-get install npm"; exit 1; }
	@$(BIN)/python -m pytest -m full -n 2 --dist loadfile

test-failed: setup ## once more what failed in the last run, one test at a time
	@$(BIN)/python -m pytest --last-failed --last-failed-no-failures none -n 0 -v

lint: setup ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: setup ## write docs/settings.md from the settings themselves
	@cd docs && env -i PATH="$$PATH" HOME="$$HOME" ../$(BIN)/bascule config --markdown > settings.md

bench: setup ## measure; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks.run --write

wheel-test: setup ## build the wheel, install it elsewhere, ask it something
	@$(BIN)/python -m tests.wheel_elsewhere

lock: ## renew requirements/*.lock after a change of pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-header pyproject.toml -o requirements/runtime.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-header --group dev pyproject.toml -o requirements/dev.lock

clean: ## remove what was built; never touches ./data
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
