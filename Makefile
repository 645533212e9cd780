# One verb each; `make help` lists them. All set up what they need.

PYTHON ?= python3
BIN := .venv/bin
DISTRIBUTIONS := proto client embedded media users

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench proofs proto migrate pins clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: .venv/ready ## Make .venv with everything in it (the other targets call it)

.venv/ready: requirements/dev.txt $(DISTRIBUTIONS:%=%/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mediad needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index $(DISTRIBUTIONS:%=-e ./%)
	@touch $@

run: setup ## Run both services on embedded defaults, with an account to try them with
	@$(BIN)/python scripts/run.py

test: setup ## Run every test, with real servers that the tests start
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## Format, lint, types, import contracts, contract of the API
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	for tests in */tests; do $(BIN)/mypy $$tests || exit; done  # each has a conftest of its own
	$(BIN)/lint-imports
	$(BIN)/buf lint proto

bench: setup ## Measure what the README claims; a table, and benchmarks/results/*.json
	$(BIN)/python -m benchmarks $(ARGS)

proofs: setup ## Break the real service in every way we know and count what is lost (ARGS=NAME)
	$(BIN)/python -m proofs $(ARGS)

proto: setup ## Generate the Python code of the contract
	$(BIN)/python proto/generate.py

migrate: setup ## Bring the database in MEDIAD_DATABASE_URL (or the embedded one) up to date
	$(BIN)/mediad migrate

pins: setup ## Pin the newest versions that requirements/*.in allow
	cd requirements && for name in run dev; do \
	  ../$(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header \
	    --no-annotate --output-file $$name.txt $$name.in; done

clean: ## Remove the environment and caches (never data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
