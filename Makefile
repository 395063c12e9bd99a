# make run        install into .venv (pinned, hashes checked), migrate, start the node
# make test       the tests                          make lint      ruff, mypy --strict, layers
# make bench      against the peers; ONLY=ingest     make soak      the long forms of the tests
# make fuzz       mutated input, an hour each (SECONDS=3600)
# make install    a service under /opt/dicom-node    make lock      resolve the dependencies anew
# make wheel      dist/*.whl                         make clean     everything that was made here

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
ARGS ?=
ONLY ?=
SECONDS ?= 3600

.PHONY: run test lint format bench soak fuzz install lock wheel demo clean
.DEFAULT_GOAL := run

run: $(VENV)/.run
	@exec $(BIN)/dicom-node run $(ARGS)

demo: $(VENV)/.run
	@exec $(BIN)/dicom-node demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/.dev
	@$(BIN)/python -m pytest -m soak --timeout=0 $(ARGS)

fuzz: $(VENV)/.dev
	@for file in tests/fuzz/[a-z]*.py; do name=$$(basename $$file .py); echo "fuzzing $$name for $(SECONDS) s"; \
	    $(BIN)/python -m tests.fuzz.$$name --seconds $(SECONDS) || exit 1; done

bench: $(VENV)/.dev
	@$(BIN)/python -m bench $(ONLY) $(ARGS)

# All of them run, so that one look shows everything.
lint: $(VENV)/.dev
	@code=0; for check in "ruff check ." "ruff format --check --quiet ." "mypy" "lint-imports"; do \
	    $(BIN)/$$check || code=1; done; exit $$code

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

wheel: $(VENV)/.run
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

install:
	@PYTHON="$(PYTHON)" systemd/install

lock: $(VENV)/.dev
	@$(PIP) install uv
	@$(BIN)/python -m uv pip compile pyproject.toml --group build --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet --upgrade \
	    --custom-compile-command "make lock" -o requirements.lock
	@$(BIN)/python -m uv pip compile pyproject.toml --group build --extra dev --extra postgres \
	    -c requirements.lock --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet --upgrade \
	    --custom-compile-command "make lock" -o requirements-dev.lock

# The stamps keep pip away when nothing changed: a second start takes no time for it.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is too old, 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no virtual environment: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the pinned packages into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing the pinned packages and tools into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) dist build bench/corpora .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
