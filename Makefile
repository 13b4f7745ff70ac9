# Two cores and Python 3.11+ are enough. Every target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a set-up depends on: when one of these changes, the packages are installed anew.
STAMP := $(VENV)/.installed

.PHONY: install demo test mutate check bench bench-gpu

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(wildcard src/singleshot/ssd/*.c)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps trackers supervision pyDeprecate  # they ask for a second OpenCV
	touch $(STAMP)

demo: install
	$(BIN)/ssd demo --out demo-output

# `make test ORDER_SEED=7` runs files, and the tests in each, in a random order that the seed repeats.
test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --order-seed=,$(ORDER_SEED))

# Single lines of src are changed, one at a time; a named test must fail. `make mutate ONLY=data` runs one room's list.
mutate: install
	$(BIN)/python scripts/mutate.py $(addprefix --only ,$(ONLY))

check: install
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python benchmarks/parts.py
	$(BIN)/ssd bench --limits --cold

bench-gpu: install
	$(BIN)/python benchmarks/gpu.py
