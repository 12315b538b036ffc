# Everything on a fresh machine with Python >= 3.11: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= .ci/constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
DEMO ?= demo-run
BENCHMARKS ?= startup fecl metrics sliding_window uncertainty loader step

.PHONY: demo test check pytest test-slow bench engine environment clean
.DEFAULT_GOAL := demo

engine: $(VENV)/.installed  ## the environment with the engine and what it needs
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

environment: $(VENV)/.ready  ## the same with all that tests and benchmarks need
$(VENV)/.ready: $(VENV)/.installed
	$(PIP) -e '.[test,tensorboard]'
	touch $@

demo: engine  ## phantom scans -> DyCON and supervised training -> segmentation -> report
	$(BIN)/python -m dycon_engine.demo --output $(DEMO)

test: check pytest  ## style, types, layers and all tests that CI runs

check: environment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: environment
	$(BIN)/python -m pytest -q -m 'not slow' -n auto --dist loadfile

test-slow: environment  ## the long versions of the fault batteries, minutes to an hour
	$(BIN)/python -m pytest -q -m slow

bench: environment  ## every side-by-side measurement, one table each
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
