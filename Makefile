# sftpgate: `make run` to see it work, `make test` to test it, `make help` for the rest.
#
# Everything is installed into .venv, from the lock files and nothing else. The files .venv/.runtime and .venv/.dev
# are stamps: delete .venv to start afresh.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first Python ≥ 3.11 of the machine, or the one given as `make PYTHON=…`. For `make runtime` as root it is one that every user can
# execute, the distribution's first: the service's user cannot enter /root, where a Python of root's own usually lies.
FOR_ALL := import os, pathlib, sys; file = pathlib.Path(sys.executable).resolve(); \
	sys.exit(not all(os.stat(path).st_mode & 1 for path in [file, *file.parents]))
CANDIDATES = python3 python3.14 python3.13 python3.12 python3.11
SUITS = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && $$p -c '$(SUITS)' 2>/dev/null && { echo $$p; break; }; done)

BIN := .venv/bin
WORKERS ?= 2
FUZZ_SECONDS ?= 300
say = @printf '==> %s\n'

# $(call install,LOCK): the packages of a lock file, one line each, then sftpgate itself from this checkout.
define install
$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r $(1) \
	| sed -un 's/^Collecting \([^ ]*\).*/    \1/p; s/^Installing collected packages.*/    … unpacking/p'
$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
endef

.PHONY: help
help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST)

# -- set-up ----------------------------------------------------------------------------------------------------------

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "sftpgate needs Python 3.11 or newer$(WHOSE): apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	$(say) "creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(say) "installing $$(grep -c '==' requirements.lock) locked packages: what sftpgate runs on"
	@$(call install,requirements.lock)
	@touch $@

.venv/.dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(say) "installing $$(grep -c '==' requirements-dev.lock) locked packages: what sftpgate runs on, and its tests and checks"
	@$(call install,requirements-dev.lock)
	@touch $@ .venv/.runtime

.PHONY: runtime
ifeq ($(shell id -u),0)
runtime: CANDIDATES = /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11
runtime: SUITS = $(FOR_ALL)
runtime: WHOSE = , in a place that the service's user can enter (or name one: make runtime PYTHON=…)
endif
runtime: .venv/.runtime  ## virtual environment with what the server needs, and no more
	@[ "$$(id -u)" != 0 ] || $(BIN)/python -c '$(FOR_ALL)' || { \
		echo "$$(readlink -f $(BIN)/python) can be executed by root alone, and the service cannot start:" \
			"rm -rf .venv, then make runtime again" >&2; exit 1; }

.PHONY: setup
setup: .venv/.dev  ## virtual environment with everything for development

# -- use -------------------------------------------------------------------------------------------------------------

.PHONY: run
run: CANDIDATES = /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11
run: .venv/.runtime  ## set everything up, prove it with a sample file, and serve on 127.0.0.1:2222 until Ctrl-C
	@exec $(BIN)/sftpgate quickstart

# -- tests -----------------------------------------------------------------------------------------------------------

.PHONY: test
test: .venv/.dev  ## the quick tests: a few minutes
	@$(BIN)/python -m compileall -q sftpgate  # the tests start servers and commands many times
	$(BIN)/python -m pytest -n $(WORKERS)

.PHONY: interpreters
interpreters: .venv/.dev  ## the tests of the command line, each command in a new interpreter, as people start it
	$(BIN)/python -m pytest -n $(WORKERS) --new-interpreters tests/acceptance

.PHONY: confined
confined: .venv/.dev  ## the protocol tests, with servers that the kernel keeps to their directories: two minutes
	$(BIN)/python -m pytest -n $(WORKERS) --confined tests/protocol

.PHONY: crash
crash: .venv/.dev  ## stop at every disk operation: killed process, power cut; ONLY='-k killed' for a part
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 600 $(ONLY) tests/crash --ignore tests/crash/test_real_kills.py

.PHONY: kills
kills: .venv/.dev  ## SIGKILL real servers and clients at random, for SFTPGATE_KILL_SECONDS
	$(BIN)/python -m pytest --timeout 600 tests/crash/test_real_kills.py

.PHONY: faults
faults: .venv/.dev  ## full and broken disks, broken clients and connections
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 300 tests/faults

.PHONY: fuzz
fuzz: .venv/.dev  ## fuzz each target for FUZZ_SECONDS; 0: a bounded number of inputs
	SFTPGATE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -n $(WORKERS) --timeout 600 tests/fuzz

.PHONY: runners
runners: .venv/.dev  ## runners killed between any two steps; two that race for a thousand files: some minutes
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 900 tests/runners

.PHONY: load
load: .venv/.dev  ## hundreds of sessions at a time, ten thousand failed logins, a million records: minutes
	$(BIN)/python -m pytest --timeout 300 -m "not long" tests/load

.PHONY: large
large: .venv/.dev  ## files of gigabytes that are made to hurt, each judged by its contract: ten minutes
	$(BIN)/python -m pytest --timeout 600 -m long tests/load

.PHONY: installation
installation: .venv/.dev  ## the wheel, and the service on a machine with systemd: needs root, some minutes
	$(BIN)/python -m pytest --timeout 300 tests/installation

.PHONY: upgrade
upgrade: .venv/.dev  ## gates that earlier versions have left, opened by this one: half a minute
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 120 tests/upgrade

.PHONY: clients
clients: .venv/.dev  ## real SFTP clients; those that are not installed are skipped, and said
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 300 tests/clients

.PHONY: bench bench-quick profile
bench: .venv/.dev  ## compare with other servers, in less than ten minutes; writes docs/benchmarks.md
	@$(BIN)/python -m compileall -q sftpgate  # an installed command has its bytecode
	$(BIN)/python -m tests.bench

bench-quick: .venv/.dev  ## the same with less data, in less than three; writes nothing into docs
	@$(BIN)/python -m compileall -q sftpgate
	$(BIN)/python -m tests.bench --quick

WORKLOAD ?= upload
profile: .venv/.dev  ## a flame graph of WORKLOAD (upload, download, small_files, connect), in .make/
	$(BIN)/python -m tests.bench.profile $(WORKLOAD)

# -- checks ----------------------------------------------------------------------------------------------------------

# `make -k check` goes on after the first kind of finding.
CHECKS = check-format check-lint check-types check-imports check-documents
.PHONY: check $(CHECKS)
check: $(CHECKS)  ## what CI checks: format, lint, types, import direction, generated documents

check-format: .venv/.dev
	$(say) "format"
	@$(BIN)/ruff format --check .

check-lint: .venv/.dev
	$(say) "lint"
	@$(BIN)/ruff check .

check-types: .venv/.dev
	$(say) "types"
	@$(BIN)/mypy

check-imports: .venv/.dev
	$(say) "imports"
	@$(BIN)/lint-imports --no-logo

check-documents: .venv/.dev
	$(say) "generated documents"
	@$(BIN)/python -m pytest -q tests/unit/test_documents.py tests/unit/test_architecture_document.py tests/unit/test_promises.py tests/unit/test_english.py

.PHONY: format
format: .venv/.dev  ## put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: .venv/.dev  ## write the generated parts of docs/ anew
	$(BIN)/python -m docs.generate

# -- maintenance -----------------------------------------------------------------------------------------------------

UV_COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --extra console --custom-compile-command "make lock" $(LOCK_FLAGS)

.PHONY: lock
lock: .venv/.dev  ## resolve the lock files anew, as far as pyproject.toml demands; LOCK_FLAGS=--upgrade for all
	$(UV_COMPILE) --group dev --output-file requirements-dev.lock
	$(UV_COMPILE) --group build --constraints requirements-dev.lock --output-file requirements.lock

DIST ?= dist
.PHONY: dist
dist: .venv/.dev  ## sdist and wheel, in dist/
	@trap 'rm -f sftpgate/commit.txt' EXIT; \
	git describe --always --dirty=+ --match= > sftpgate/commit.txt; \
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir $(DIST)

.PHONY: clean
clean:  ## remove what make has made; data/ and keys/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
