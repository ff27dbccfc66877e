# The few commands; everything behind them is in orchestration/cli.py. Each sets up what is missing.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m orchestration

export SOURCE INPUT AS_OF

.PHONY: help setup refresh check-data source test exhaust dev sql profile backfill replay status prune verify rollback models tune bench manifest lint lock

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(BIN)/.installed

$(BIN)/.installed: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

refresh: setup ## the daily job up to publication (SOURCE=, INPUT=, AS_OF=)
	@$(RUN) refresh

check-data: setup ## what a refresh would find in the input, and windows that fit it (SOURCE=, INPUT=, AS_OF=)
	@$(RUN) check-data

source: setup ## lays out a source of your own from a worked example (NAME=)
	@$(RUN) source "$(NAME)"

# A process per core: threads of their libraries beside would wait for each other.
test exhaust: export OMP_NUM_THREADS = 1
test exhaust: export OMP_WAIT_POLICY = passive
test exhaust: export OPENBLAS_NUM_THREADS = 1

test: setup manifest ## all tests, file by file on all cores
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

exhaust: setup manifest ## what the tests only sample: kills at every boundary of a refresh, and what takes minutes
	EXHAUSTIVE=1 $(BIN)/python -m pytest tests/integration/test_refresh_under_faults.py
	EXHAUSTIVE=1 $(BIN)/python -m pytest -m exhaustive --numprocesses auto --dist loadfile --no-loadscope-reorder

dev: setup ## the Dagster UI with schedule and daemon, on loopback
	@$(RUN) dev

sql: setup ## a read-only SQL shell on the published marts (Q="select …" for one query)
	@$(RUN) sql "$(Q)"

backfill: setup ## past days for the history, oldest first (FROM=2017-07-01 TO=2017-12-16 EVERY=28)
	@$(RUN) backfill $(FROM) $(TO) $(EVERY)

replay: setup ## past days as if they were happening, in a folder of their own (FROM=2017-03-06 TO=2018-01-01 EVERY=7d)
	@$(RUN) replay $(FROM) $(TO) $(EVERY)

status: setup ## what readers have and how old it is, the last runs, what failed, the models
	@$(RUN) status

prune: setup ## old raw files, scores, runs, results and model versions go, as the settings say
	@$(RUN) prune

verify: setup ## every file that is kept is looked at
	@$(RUN) verify

profile: setup ## one customer's portrait (CUSTOMER=)
	@$(RUN) profile "$(CUSTOMER)"

rollback: setup ## the previous published version is current again (TO= another one)
	@$(RUN) rollback $(TO)

models: setup ## the models, their champions, how well they do
	@$(RUN) models

tune: setup ## searches a model's parameters on the newest refresh (MODEL=churn TRIALS=30 AS_OF=)
	@$(RUN) tune $(or $(MODEL),churn) $(or $(TRIALS),30)

bench: setup ## the benchmarks, each a ratio against a floor measured in the same run
	$(BIN)/python -m tests.benchmarks.refresh
	$(BIN)/python -m tests.benchmarks.landing
	$(BIN)/python -m tests.benchmarks.models
	$(BIN)/python -m tests.benchmarks.offers
	$(BIN)/python -m tests.benchmarks.databases
	$(BIN)/python -m tests.benchmarks.contract
	$(BIN)/python -m tests.benchmarks.growth
	$(BIN)/python -m tests.benchmarks.pages

manifest: setup ## parses the dbt project, where it has changed
	@$(RUN) manifest

lint: setup manifest ## style, SQL style, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	CUSTOMER360_WAREHOUSE=:memory: $(BIN)/sqlfluff lint --processes 2 dbt_project
	for config in dbt_project/*.sqlfluff; do CUSTOMER360_WAREHOUSE=:memory: $(BIN)/sqlfluff lint --processes 2 --config $$config \
		dbt_project/models/staging/$$(basename $$config .sqlfluff) || exit 1; done
	$(BIN)/mypy

lock: ## pins every version again, from the ranges in pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-header --no-annotate \
		--no-strip-extras --no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock pyproject.toml
