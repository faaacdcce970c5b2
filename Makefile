# One word a job. What is installed is pinned by hash in the two lock files, and installed again
# only when one of them changes.

PYTHON ?= python3
CONFIG ?= config/relayer.yaml
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench run image screens lock clean

key = $(shell cat $(1) | cksum | tr -d ' ')
VENV_STAMP := .venv/.locked-$(call key,requirements-dev.lock)
SELF_STAMP := .venv/.linked-$(call key,pyproject.toml requirements-dev.lock)
NPM_STAMP := node_modules/.locked-$(call key,package-lock.json .npmrc)

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(SELF_STAMP) $(NPM_STAMP) ## install everything into .venv and node_modules

demo: setup ## three local chains with the real contracts, and messages between them
	@.venv/bin/relayer demo $(DEMO_ARGS)

test: setup ## every test; starts local chains and Redis servers by itself
	@# one more than there are cores: half the time tests wait for blocks
	@.venv/bin/pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1))

check: setup ## format, lint, types, import arrows, dead code
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/vulture

bench: setup ## speed and latency on local chains
	@.venv/bin/python -m bench

run: setup ## the service, with CONFIG=config/relayer.yaml
	@.venv/bin/relayer --config $(CONFIG) run

image: ## the container image, called relayer; PYTHON_IMAGE=python@sha256:... pins its base by digest
	docker build --tag relayer $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) ).

screens: setup ## pictures of the page, by a real browser, into build/screens and the README
	@.venv/bin/pytest -q tests/browser/test_show.py
	@cp build/screens/desktop.png docs/images/page.png

LOCK := build/lock/bin/uv pip compile pyproject.toml --quiet --universal --all-extras \
	--generate-hashes --no-emit-index-url --no-header

lock: ## pin the packages of pyproject.toml anew; keeps the versions that still fit
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/pip install -qq --disable-pip-version-check uv
	@$(LOCK) -o requirements.lock
	@$(LOCK) --group dev -o requirements-dev.lock

clean: ## remove what make installed and what tools cached; keeps data/
	rm -rf .venv node_modules build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find relayer tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_STAMP): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11; say make PYTHON=python3.12 or the like"; exit 1; }
	@echo "setup: Python packages into .venv"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes \
		-r requirements-dev.lock
	@rm -f .venv/.locked-* && touch $@

$(SELF_STAMP): $(VENV_STAMP)
	@echo "setup: the relayer itself, linked into .venv"
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	@rm -f .venv/.linked-* && touch $@

$(NPM_STAMP):
	@command -v npm >/dev/null \
		|| { echo "setup: npm (Node 20 or newer) is needed for the local chains"; exit 1; }
	@echo "setup: anvil and the contracts into node_modules"
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
