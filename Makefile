# The commands of the project. `make demo` and `make test` need Python 3.11 and make, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
# How often a test that failed is run again; each is listed as RERUN. CI takes 1: one busy moment of a shared machine is no regression.
RERUNS ?= 0

.PHONY: help demo run test judges check format lint types contracts schemas generate bench bench-peers coverage lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Everything comes from the hash-locked files; the project itself is installed without fetching anything more.
$(VENV)/run.stamp: requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medmesh needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medmesh needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run.stamp

demo: $(VENV)/run.stamp ## run a small hospital: EMR, HIS, archive, live view
	$(BIN)/medmesh demo

run: $(VENV)/run.stamp ## medmesh up with ./mesh.toml
	$(BIN)/medmesh up

test: $(VENV)/dev.stamp ## run all tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not alone" --reruns $(RERUNS) $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m alone --reruns $(RERUNS) $(ARGS) || [ $$? -eq 5 ]

judges: ## install the independent judges of FHIR, AsyncAPI and the console, and FHIR clients (npm); without them their tests are skipped
	bash tests/judges/install.sh
	bash tests/judges/asyncapi/install.sh
	bash tests/judges/fhir_clients/install.sh
	bash tests/judges/console/install.sh

check: format lint types contracts schemas test ## the one gate: format, lint, types, contracts, schemas, tests

format: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

contracts: $(VENV)/dev.stamp
	$(BIN)/lint-imports

schemas: $(VENV)/dev.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/generate.py --check
	PYTHONPATH=. $(BIN)/python scripts/document_configuration.py --check
	PYTHONPATH=. $(BIN)/python scripts/generate_structures.py --check
	PYTHONPATH=. $(BIN)/python scripts/train_dictionaries.py --check
	PYTHONPATH=. $(BIN)/python scripts/generate_fhir.py --check
	PYTHONPATH=. $(BIN)/python scripts/generate_search.py --check
	cd schemas/proto && ../../$(BIN)/buf lint && ../../$(BIN)/buf breaking --against baseline.binpb
	cd schemas/fhir/proto && ../../../$(BIN)/buf lint && ../../../$(BIN)/buf breaking --against baseline.binpb.zst

generate: $(VENV)/dev.stamp ## write schemas/generated from schemas/proto
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/generate.py
	PYTHONPATH=. $(BIN)/python scripts/document_configuration.py

coverage: $(VENV)/dev.stamp ## tests with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -p no:xdist $(ARGS)
	$(BIN)/coverage combine && $(BIN)/coverage report

bench-peers: $(VENV)/dev.stamp ## install what only benchmarks/calls.py needs: Envoy and gRPC
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt

bench: $(VENV)/dev.stamp ## print every ratio of DESIGN section 11 that is built
	$(BIN)/python -m benchmarks $(ARGS)

# Locks name versions and hashes only, never where they come from.
LOCK = uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --universal --quiet pyproject.toml --extra server --group build
lock: ## resolve the requirements files again (needs uv)
	$(LOCK) -o requirements/run.txt
	$(LOCK) --group dev -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) --group dev --group bench -c requirements/dev.txt -o requirements/bench.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
