# Everything a developer or a curious person needs. Only Python 3.11 to 3.13 and make must be there.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
CONFIG_PATH ?= .
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help run demo dev build test coverage screenshots check clean deps lock migration docs docker-up docker-down docker-logs bench chaos soak fuzz conformance audit sbom

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed from the lock files, hashes checked; the marks tell make what is there. --no-deps: the locks are complete, and a
# pip that resolves anew stumbles over extras (coverage[toml]) as soon as there is a newer version than the locked one.
# --no-compile: Python compiles what is imported, and a first start need not wait for the rest.
INSTALL := $(PIP) install --no-compile --no-deps

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11, 3.12 or 3.13 is needed' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.mark: requirements/run.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/run.txt -r requirements/build.txt
	$(INSTALL) --no-build-isolation -e .
	@touch $@

$(VENV)/dev.mark: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/dev.txt
	$(INSTALL) --no-build-isolation -e .
	@touch $@ $(VENV)/run.mark

run: $(VENV)/run.mark ## Run a replica, with its own PostgreSQL and Valkey if none is configured (PORT=8081 make run: another)
	@exec $(BIN)/chatapp server start --config $(CONFIG_PATH)

demo: $(VENV)/run.mark ## Show it: two replicas, people, history and a bot; prints two links (ARGS="--ports 9000 9001")
	@exec $(BIN)/chatapp demo $(ARGS)

dev: $(VENV)/run.mark ## The same, started again whenever the code changes
	@exec $(BIN)/chatapp server start --config $(CONFIG_PATH) --reload

test: $(VENV)/dev.mark ## Run the tests (ARGS="-k room" for some of them)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not alone" $(ARGS)
	$(BIN)/python -m pytest -n 3 --dist loadfile -m alone $(ARGS)

screenshots: $(VENV)/dev.mark ## Take the pictures in docs/screenshots anew (needs Chromium)
	CHATAPP_SCREENSHOTS=$(CURDIR)/docs/screenshots $(BIN)/python -m pytest -q tests/web -k screenshots

coverage: $(VENV)/dev.mark ## What the tests that run in one process reach
	$(BIN)/python -m pytest -n 2 -m "not alone" --cov=chatapp --cov-report=term:skip-covered $(ARGS)

check: $(VENV)/dev.mark ## Format, lint, types, layers, generated documents, complete locks
	$(PIP) check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r src migrations docs
	$(BIN)/python docs/generate.py --check

audit: $(VENV)/dev.mark ## Ask for known vulnerabilities of what is locked (needs the network)
	@deploy/audit.sh $(BIN)/pip-audit

sbom: $(VENV)/dev.mark ## Write dist/chatapp.cdx.json: what the image contains, in CycloneDX
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements/prod.txt --pyproject pyproject.toml --mc-type application --output-reproducible --of JSON -o dist/chatapp.cdx.json

docs: $(VENV)/dev.mark ## Write the generated documents anew
	$(BIN)/python docs/generate.py

build: $(VENV)/dev.mark ## Build the wheel into dist/
	$(BIN)/python -m pip --disable-pip-version-check -q wheel --no-deps --no-build-isolation -w dist .

deps: $(VENV)/dev.mark ## Install everything for development

lock: ## Compile the lock files anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --extra embedded --extra tracing --extra dev -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --extra embedded -c requirements/dev.txt -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --extra tracing -c requirements/dev.txt -o requirements/prod.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --extra bench -c requirements/dev.txt -o requirements/bench.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" requirements/build.in -c requirements/dev.txt -o requirements/build.txt

migration: $(VENV)/dev.mark ## Draft a migration from the tables: DATABASE_URL=… make migration NAME="add x"
	$(BIN)/chatapp system draft-migration "$(NAME)"

$(VENV)/bench.mark: requirements/bench.txt | $(VENV)/dev.mark
	$(INSTALL) --require-hashes -r requirements/bench.txt
	@touch $@

bench: $(VENV)/bench.mark ## Measure, and write docs/benchmarks.md: ROUNDS=5, ARGS="--only fanout" (about 25 minutes)
	$(BIN)/python -m bench --rounds $(or $(ROUNDS),5) $(ARGS)

chaos: $(VENV)/dev.mark ## Break things for SECONDS (60) and prove that nothing was lost: make chaos SECONDS=600 SEED=1 REDIS=cluster
	$(BIN)/python -m tests.chaos.run --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) --redis $(or $(REDIS),single)

soak: $(VENV)/bench.mark ## Load, churn and hostile clients together, and does anything grow: make soak MINUTES=20 (or HOURS=0.5), writes docs/soak.md
	$(BIN)/python -m tests.soak.run --minutes $(or $(MINUTES),0) --hours $(or $(HOURS),0) --output docs/soak --page docs/soak.md

fuzz: $(VENV)/dev.mark ## Try what nobody thought of for SECONDS (60), and tell how long others waited for a pong
	$(BIN)/python -m tests.security.fuzz --seconds $(or $(SECONDS),60)

conformance: $(VENV)/dev.mark ## Run the Autobahn cases against the sockets' protocol, directly and through HAProxy
	$(BIN)/python -m tests.conformance.report

# REDIS=sentinel or cluster: every docker command then takes that file's settings too.
ifneq ($(filter docker-%,$(MAKECMDGOALS)),)
ifdef REDIS
export COMPOSE_ENV_FILES := .env,deploy/redis/$(REDIS).env
endif
endif

docker-up: ## PostgreSQL, Redis, replicas and HAProxy in containers (API=3 replicas, REDIS=sentinel or cluster)
	@deploy/make-env.sh
	docker compose up -d --build --scale api=$(or $(API),2)

docker-down: ## Stop the containers; the data stays
	docker compose down

docker-logs: ## Follow the containers' logs
	docker compose logs -f

clean: ## Remove what was built and installed here; .chatapp/ (the data) stays
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
