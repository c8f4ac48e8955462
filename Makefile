# Commands of the project. `make reproduce` runs everything, `make test` checks everything.

PYTHON ?= python3.11
BIN := .venv/bin
RUN := $(BIN)/python
# Experiments of `make findings` at once.
JOBS ?= 2

# The commands in dvc.yaml say `python`: it must be the one of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_OFFLINE ?= 1
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export TOKENIZERS_PARALLELISM := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS ?= 120
export PREFECT_HOME ?= $(CURDIR)/.scratch/prefect

.PHONY: help env reproduce test lint test-slow test-attacks findings controls ui lock-check clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: .venv/.stamp ## make .venv with the committed versions

# A .venv that holds everything needs no network, which the first try shows. Else torch first and
# alone: it decides what the rest must fit.
.venv/.stamp: pyproject.toml constraints.txt
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	@if $(RUN) -m pip install -q --no-index --no-build-isolation -c constraints.txt \
		-e '.[dev]' 2>/dev/null; then echo ".venv holds everything"; \
	else echo "installing the committed versions; this takes minutes" && \
		$(RUN) -m pip install -q -c constraints.txt torch==2.13.0 && \
		$(RUN) -m pip install -q -c constraints.txt -e '.[dev]'; fi
	@touch $@

reproduce: env ## run every stage that is out of date, then show scores and seconds
	@git rev-parse --git-dir >/dev/null 2>&1 || { \
		echo "no git repository here: DVC needs one."; \
		echo "  fix: clone the project, or run: git init && git add -A && git commit -m start"; \
		exit 1; }
	$(RUN) -m stages check
	$(RUN) -m dvc repro
	$(RUN) -m stages summary

test: env lint ## lint, then the fast tests
	$(RUN) -m pytest -q -n 2

lint: env ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# pytest exits 5 when nothing is collected; that is no failure here, but it must be seen.
test-slow: env ## tests that take longer than ten seconds each
	@$(RUN) -m pytest -q -m 'slow and not gpu and not network and not live'; status=$$?; \
	if [ $$status -eq 5 ]; then echo "no slow test was collected"; \
	elif [ $$status -ne 0 ]; then exit $$status; fi

test-attacks: env ## every attack on the sandbox, four ways; minutes
	AGENTIC_ATTACKS=all $(RUN) -m pytest -q -m slow tests/attacks

findings: env ## control runs of the trained model, if there is one; then the experiment over several seeds
	@test ! -f models/rl/card.json || $(MAKE) controls
	$(RUN) -m flows.findings --jobs $(JOBS)

controls: env ## the trained model with tools, without, and under every change of tools; minutes
	$(RUN) -m agentic_vlm.evaluation controls pocket data/suites/pocket --limit 210 \
		--out .scratch/controls

ui: env ## Prefect with the deployments of prefect.yaml, on http://127.0.0.1:4200
	$(RUN) -m flows.ui

lock-check: env ## name the stages that dvc.lock does not describe; runs nothing
	$(RUN) -m flows.lock_check

clean: ## remove caches and scratch work; data, models and .venv stay
	rm -rf .scratch .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache logs build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
