# Every target does its own set-up in .venv; only Python (3.10 or newer), make and a package
# index are needed.
PYTHON ?= python3
comma := ,
VENV := .venv
BIN := $(VENV)/bin
OUT ?= edgeseq-demo
# Tests of different files that run side by side; 0 for one after the other.
JOBS ?= 2

.PHONY: demo test lint types docs unit package test-devices test-emulated test-fuzz test-faults clean

demo: $(VENV)/.demo
	$(BIN)/edgeseq demo --out $(OUT)

test: lint types docs unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

# The site, into build/site; a broken link or anchor is an error.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not emulated and not sshd and not adb and not wheel and not fuzz and not faults" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The wheel and the sdist, into dist, checked as an upload would check them (a test does the same).
package: $(VENV)/.dev
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

# Boards over ssh, phones over adb, and the device half from its own wheel; Debian, as root: apt install openssh-server adb
test-devices: $(VENV)/.dev
	$(BIN)/python -m pytest -m "sshd or adb or wheel" tests/benchmarks tests/edgeseq $(PYTEST_ARGS)

# A 64-bit ARM board in QEMU; Debian, as root: apt install mmdebstrap qemu-system-arm e2fsprogs
test-emulated: $(VENV)/.dev
	$(BIN)/python -m pytest -m emulated -s tests/emulated $(PYTEST_ARGS)

# The native runner's readers under clang's libFuzzer, EDGESEQ_FUZZ_SECONDS each, and those in Python
# under atheris, a sixth of that each; Debian: apt install clang
test-fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest -m fuzz -n $(JOBS) tests/native tests/fuzz $(PYTEST_ARGS)

# Kills, full disks, clocks that jump, cut connections: no file is lost, none is left behind
test-faults: $(VENV)/.dev
	$(BIN)/python -m pytest -m faults -n $(JOBS) --dist loadgroup tests/faults tests/benchmarks/devices/test_cut_connections.py $(PYTEST_ARGS)

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

# A C compiler for the native runner comes with the demo where the system has none.
$(VENV)/.demo: pyproject.toml | $(VENV)/.python
	$(BIN)/python -m pip install --quiet -e '.[convert,report$(if $(shell command -v cc),,$(comma)native)]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.python
	$(BIN)/python -m pip install --quiet -e '.[convert,report,native,docs,dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
