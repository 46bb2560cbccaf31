# One command for each thing, the same here and in CI. Every target sets up what it needs.
SEEDS ?= 100
SEED ?=
JOBS ?= 4
QUICK := not kafka and not registry and not chaos and not slow

.DEFAULT_GOAL := help
.PHONY: help setup compile plain fmt check test test-quick coverage sim bench bench-salesforce bench-peers demo docs lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s%s\n", $$1, $$2 }' Makefile

setup: ## make .venv with the locked dependencies (with uv if installed, else with pip)
	@scripts/setup

compile: setup ## compile the hot path in place (needs a C compiler and Python's headers)
	@.venv/bin/python hatch_build.py compile

plain: setup ## back to plain Python: remove what make compile has made
	@.venv/bin/python hatch_build.py plain

fmt: setup ## format the code and fix what can be fixed by itself
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

check: setup ## formatting, lint, types, and the project's rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -q tests/test_tidy.py

test: setup ## all tests, JOBS at once, then what compiles (what needs Java, Maven or Go is skipped where they are missing)
	@.venv/bin/python -m tests.support.forecast
	.venv/bin/python -m pytest -n $(JOBS) --dist loadgroup -m "not alone" && .venv/bin/python -m pytest -m alone

test-quick: setup ## those that need no Java and no patience: a minute or two
	@.venv/bin/python -m tests.support.forecast --quick
	SIM_SEEDS=$(or $(SIM_SEEDS),50) .venv/bin/python -m pytest -n auto -m "$(QUICK)"

coverage: plain ## the core's tests alone, which must reach every branch of the core
	.venv/bin/python -m pytest -q tests/core --cov=processor.core --cov-branch --cov-fail-under=100

sim: setup ## the simulation: SEEDS=n for that many seeds, SEED=n for that one
	SIM_SEEDS=$(SEEDS) SIM_SEED=$(SEED) .venv/bin/python -m pytest -q tests/simulation

bench: compile ## the throughput benchmark, on a real Apache Kafka (needs Java and Maven)
	.venv/bin/python -m benchmarks.throughput

bench-salesforce: compile ## CPU per row from owed to confirmed, with the writer of Salesforce and HTTP
	.venv/bin/python -m benchmarks.salesforce

bench-peers: compile ## the worker beside a bare loop and Kafka Streams (needs a JDK and Maven)
	.venv/bin/python -m benchmarks.peers --publish

demo: setup ## the whole job in one process: a broker, an org and traffic, nothing to install
	.venv/bin/processor demo

docs: setup ## write docs/settings.md and docs/metrics.md from the code
	.venv/bin/python -m scripts.reference

lock: ## renew uv.lock and requirements/*.txt (needs uv)
	scripts/lock
