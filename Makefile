# All set-up, then the work. `make race` and `make test` need Python 3.11+ and a network.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup race test test-all check golden parity exam docs clean

setup: .venv/ready

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "netglot needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing netglot into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

race: setup
	$(BIN)/netglot race mnist-cnn --repeats 3 $(ARGS)

test: check
	$(BIN)/pytest -m "not text and not thorough" --numprocesses 2 --dist loadgroup $(ARGS)

test-all: check
	$(BIN)/pytest -m "not text" --numprocesses 2 --dist loadgroup $(ARGS)

check: setup
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/pytest -q -m text --numprocesses 2

golden: setup
	NETGLOT_GOLDEN=write $(BIN)/pytest -q -m text tests/test_programs.py

parity: setup
	$(BIN)/python benchmarks/parity.py $(ARGS)

exam: setup
	PYTHONPATH=tests $(BIN)/python -m exam $(ARGS)

docs: setup
	$(BIN)/netglot frameworks all --write docs/frameworks

clean:
	rm -rf .venv build races
