# `make` alone prints the targets. Every target that runs Python makes .venv first, from a hash-pinned lock.

.DEFAULT_GOAL := help
.PHONY: help demo dev test check format lint types imports bench bench-proofs faults kill-points overload replicas soak simulate corpus conformance names opa differential mutants lock clean set-up-run set-up-dev

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -n 2
CODE := gateway policies invariants tool_registry proofs admin deploy tests

help: ## print these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: set-up-run ## the whole story on a database of its own; ends by itself
	@$(PYTHON) -m deploy.demo

dev: set-up-run ## a seeded gateway that keeps running on loopback; writes build/dev.json
	@$(PYTHON) -m deploy.demo.dev

test: set-up-dev ## all tests, against a real database, and a short form of every campaign
	@$(PYTEST)

check: format lint types imports test ## what must pass before every push: format, lint, types, imports, tests

format: set-up-dev ## is the code formatted (ruff)
	@$(PYTHON) -m ruff format --check $(CODE)

lint: set-up-dev ## lint (ruff)
	@$(PYTHON) -m ruff check $(CODE)

types: set-up-dev ## types (mypy, strict)
	@$(PYTHON) -m mypy

imports: set-up-dev ## the import contract (import-linter)
	@$(PYTHON) -c 'import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())'

bench: set-up-dev ## measure; prints a table and writes build/bench.json
	@$(PYTHON) -m tests.load.bench

bench-proofs: set-up-dev ## what proofs cost: the gate, a large bundle, a re-check, the call path; writes build/bench-proofs.json
	@$(PYTHON) -m tests.load.proofs

faults: set-up-dev ## every campaign of kills, faults and attacks, resumable; prints a table and writes build/faults.json
	@$(PYTHON) -m tests.campaigns

kill-points: set-up-dev ## kill -9 before and after every stage and around COMMIT, ROUNDS=50 times each; writes build/kill-points.json
	@$(PYTHON) -m tests.campaigns.kill_points --rounds $(or $(ROUNDS),50)

replicas: set-up-dev ## a primary lost under load, its standby promoted, the old one back; writes build/replicas.json
	@$(PYTHON) -m tests.load.replicas

soak: export SOAK_MINUTES ?= 1440
soak: set-up-dev ## a steady load with faults of the business for a day (SOAK_MINUTES): memory, and what stays reserved; writes build/soak.json
	@$(PYTHON) -m tests.load.soak --minutes $(SOAK_MINUTES)

simulate: export SIMULATED_CALLS ?= 1000000
simulate: set-up-dev ## calls over a model of the ledger in virtual time, with faults from seeds; writes build/simulation.json
	@$(PYTHON) -m tests.simulation --calls $(SIMULATED_CALLS)

overload: set-up-dev ## ten minutes of five times the capacity (SECONDS=600), and a tenant beside a flood; writes build/overload.json
	@$(PYTHON) -m tests.campaigns.overload --seconds $(or $(SECONDS),600)

corpus: set-up-dev ## published Cedar cases against engine, closures and solver (CORPUS=FILE for another archive)
	@$(PYTHON) -m tests.load.corpus $(CORPUS)

conformance: export LOCKGATE_REQUIRE_OPA = 1
conformance: export CONFORMANCE_DECISIONS ?= 10000
conformance: set-up-dev opa ## the Rego engines and the reference: same bundle, same questions, same answers; writes build/conformance.json
	@$(PYTHON) -m pytest -q tests/conformance
	@$(PYTHON) -m tests.load.conformance --decisions $(CONFORMANCE_DECISIONS)

names: set-up-dev ## install the word lists of the optional name detector (LOCKGATE_NAME_DETECTOR)
	@$(PYTHON) -m pip install --quiet --no-deps --require-hashes --requirement requirements/names.txt

opa: ## install the OPA server that tests run against, into build/tools (needs Go)
	@deploy/opa/install.sh

differential: set-up-dev ## random Cedar: engine, closures, both solvers, until 10,000 obligations are settled
	@$(PYTHON) -m tests.load.differential

mutants: set-up-dev ## small mistakes in every rule of the base bundle: which proof or case notices; writes build/mutants.json
	@$(PYTHON) -m tests.load.mutants

lock: ## resolve requirements/*.in anew (needs uv)
	@for lock in run dev; do uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
		--python-version 3.11 requirements/$$lock.in -o requirements/$$lock.txt || exit 1; done
	@uv pip compile --quiet --no-deps --generate-hashes --no-header --upgrade --python-version 3.11 \
		requirements/names.in -o requirements/names.txt

clean: ## remove .venv, build/ and caches
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

set-up-run set-up-dev: set-up-%:
	@command -v python3 >/dev/null || { echo "set-up: no python3 on PATH; install Python 3.11 or later" >&2; exit 1; }
	@python3 deploy/bootstrap.py $*
