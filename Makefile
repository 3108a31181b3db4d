# Everything runs in one virtual environment, made on first use and kept in $(VENV).
# Needs Python 3.11 or later, pip and make; downloads packages and nothing else.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= auto
BENCH_ARGS ?=

BIN := $(VENV)/bin
DEVICE_PYTHON = $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt $(PIP_ARGS)
NEEDS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu check format bench examples hooks clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PYTHON=python3.12     the interpreter the environment is made with ($(PYTHON))"
	@echo "  VENV=DIR              where the environment lives ($(VENV))"
	@echo "  PIP_ARGS=...          passed to pip, for example an index with the CPU or CUDA build of torch you want"
	@echo "  PYTEST_ARGS=...       passed to pytest, BENCH_ARGS=... to gnnlib bench"
	@echo "  WORKERS=N             processes that run the tests ($(WORKERS): one for each core)"

demo: $(VENV)/.installed ## install, then train on the bundled data
	$(BIN)/gnnlib train

test: $(VENV)/.installed-test ## install with the test tools, then run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-gpu: ## the tests of the GPU kernels on a CUDA device, with the packages that are there: nothing is installed
	$(DEVICE_PYTHON) -m pytest -o addopts="-ra --strict-markers" tests/gpu -m gpu $(PYTEST_ARGS)

check: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-test ## the tests of the ops, then the benchmark against PyG
	$(BIN)/python -m pytest -q tests/sparse
	THP_MEM_ALLOC_ENABLE=1 $(BIN)/gnnlib bench $(BENCH_ARGS)

examples: $(VENV)/.installed ## run each script in examples/
	@for script in examples/*.py; do \
	  echo "== $$script"; THP_MEM_ALLOC_ENABLE=1 $(BIN)/python $$script || exit 1; \
	done

hooks: $(VENV)/.installed-dev ## let git run `make check` before each commit
	$(BIN)/pre-commit install

clean: ## remove the environment, caches and runs
	rm -rf $(VENV) runs bench-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find gnnlib tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of packages: a second call installs nothing. A larger set brings the smaller ones up to date.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gnnlib needs Python 3.11 or later; '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo not found). Name one that is: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(NEEDS)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created $(NEEDS)
	$(PIP) -e '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-dev: $(VENV)/.created $(NEEDS)
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.installed $(VENV)/.installed-test $@
