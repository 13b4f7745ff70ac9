# Two cores and Python 3.11+ are enough. Every target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a set-up depends on: when one of these changes, the packages are installed anew.
STAMP := $(VENV)/.installed

.PHONY: install demo test mutate check docs bench bench-gpu soak verified-install hashes release

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(wildcard src/singleshot/ssd/*.c)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps trackers supervision pyDeprecate  # they ask for a second OpenCV
	touch $(STAMP)

# The same set-up, but pip takes nothing whose SHA-256 is not in hashes.txt, the tool that builds the package included.
verified-install:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement hashes.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: install
	$(BIN)/ssd demo --out demo-output

# `make test ORDER_SEED=7` runs files, and the tests in each, in a random order that the seed repeats.
test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --order-seed=,$(ORDER_SEED))

# Single lines of src are changed, one at a time; a named test must fail. `make mutate ONLY=data` runs one room's list.
mutate: install
	$(BIN)/python scripts/mutate.py $(addprefix --only ,$(ONLY))

# Every promise of docs/reliability.md in its full count; goes on where it was stopped. `make soak SOAK=--quick` takes small counts.
soak: install
	$(BIN)/python benchmarks/soak.py $(SOAK)

check: install
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site in site/: it asks no other host for anything and opens from a disk, too. Warnings are errors.
docs: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement docs-tools.txt
	$(BIN)/mkdocs build --strict

bench: install
	$(BIN)/python benchmarks/parts.py
	$(BIN)/ssd bench --limits --cold

bench-gpu: install
	$(BIN)/python benchmarks/gpu.py

# What makes a release; docs/release.md is the checklist.
RELEASE := .venv-release
TOOLS := $(RELEASE)/.installed

$(TOOLS): release-tools.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --require-hashes --no-deps --requirement release-tools.txt
	touch $(TOOLS)

# The files with hashes, for all platforms, of the versions in constraints.txt and of the newest tools.
COMPILE := $(RELEASE)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url
hashes: $(TOOLS)
	$(COMPILE) --universal --python-version 3.11 --extra dev --constraint constraints.txt --output-file hashes.txt pyproject.toml
	printf 'trackers\nsupervision\npyDeprecate\n' | $(COMPILE) --no-deps --constraint constraints.txt - >> hashes.txt
	$(COMPILE) --universal --python-version 3.11 --upgrade --output-file release-tools.txt release-tools.in

# A source distribution and a wheel for this machine, tried in an empty environment, and a list of what is in that.
release: $(TOOLS)
	rm -rf dist
	$(RELEASE)/bin/python -m build --outdir dist .
	$(PYTHON) -m venv --clear $(RELEASE)/empty
	$(RELEASE)/empty/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	$(RELEASE)/empty/bin/python scripts/check_wheel.py
	$(RELEASE)/bin/cyclonedx-py environment $(RELEASE)/empty --pyproject pyproject.toml --output-reproducible --output-file dist/singleshot.cdx.json
	cd dist && sha256sum singleshot* > SHA256SUMS
