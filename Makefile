# Everything lives in .venv; the first target that needs it installs it.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-backends v1-clients fuzz sim fuzz-deep lint bench build clean

help:
	@echo "make demo           start a lattice with an example on http://127.0.0.1:8000 (Ctrl-C stops it)"
	@echo "make test           the test suite: needs Python, make and a package registry"
	@echo "make test-backends  suites that need servers of the system (docker-registry)"
	@echo "make v1-clients     the real clients of wasmCloud v1 against a host: needs cargo"
	@echo "make faults         break machines and networks under load, as root; the figures against their bounds"
	@echo "make faults-short   the same in less than a minute"
	@echo "make fuzz           the property tests alone, with many more examples"
	@echo "make fuzz-deep      every decoder, fed for FUZZ_SECONDS each (default 30), led by coverage"
	@echo "make sim            a thousand simulated lattices under faults (RUNS=, SEED=)"
	@echo "make lint           ruff, mypy and the import contracts"
	@echo "make bench          the benchmarks, as a table and benchmarks/results.json"
	@echo "make build          build every example into build/"
	@echo "make clean          remove .venv and build/"

.venv/demo.stamp: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Trellis needs Python 3.11 or newer; .venv has $$($(BIN)/python --version). Remove .venv and run make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing Trellis into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

.venv/dev.stamp: .venv/demo.stamp pyproject.toml
	@echo "Installing the development tools into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,guests,bench,dev]'
	@touch $@

demo: .venv/demo.stamp
	@$(BIN)/python -m tools.build kv-counter
	@$(BIN)/trellis up --wadm-manifest wadm-manifests/kv-counter.yaml || [ $$? -eq 130 ]

build: .venv/dev.stamp
	$(BIN)/python -m tools.build

test: .venv/dev.stamp
	$(BIN)/pytest -m "not backends and not v1"

# The real clients of wasmCloud v1, and its wadm, against hosts: cargo builds them (three minutes on two cores), here only.
v1-clients: .venv/dev.stamp
	cd tests/v1 && nice -n 19 cargo build --locked --quiet -j2
	$(BIN)/pytest -m v1 tests/v1

test-backends: .venv/dev.stamp
	$(BIN)/pytest -m backends

# Hosts in network namespaces: needs root, and nftables, which Debian's apt brings where it is missing.
faults: .venv/dev.stamp
	@command -v nft >/dev/null || { apt-get update -q && apt-get install -q -y nftables; }
	$(BIN)/python -m tests.faults

faults-short: .venv/dev.stamp
	@command -v nft >/dev/null || { apt-get update -q && apt-get install -q -y nftables; }
	$(BIN)/python -m tests.faults --short

# The property tests alone, with many more examples.
fuzz: .venv/dev.stamp
	$(BIN)/pytest --hypothesis-profile=campaign -m hypothesis -o timeout=3600

# Coverage-led fuzzing of everything that reads foreign bytes; build/fuzz keeps what it learns and finds.
FUZZ_SECONDS ?= 30
fuzz-deep: .venv/dev.stamp
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.campaign --seconds $(FUZZ_SECONDS)

# Random applications, faults and weather on a virtual clock; a violated property prints its seed and what came before.
sim: .venv/dev.stamp
	$(BIN)/python -m trellis_sim $(or $(RUNS),1000) $(or $(SEED),0)

lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build
