# Needs python3 (3.11 or later, with venv) and git. The plain commands are in README.

PYTHON ?= python3
BIN := .venv/bin
# All tests, on every core; the tests of a file stay in one process, since they share servers.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check check-postgres style types docs dist lock bench soak rolling fuzz

help:
	@echo "make run    start everything on http://localhost:8000/ (another port: PORT=9000 make run)"
	@echo "make test   run the tests (some of them: make test ARGS=tests/delivery)"
	@echo "make check  run style, types and test"
	@echo "make check-postgres  run the database tests on a PostgreSQL and a redis-server started for them"
	@echo "make style  check the style with ruff, and look for unused names with vulture"
	@echo "make types  check the types with mypy"
	@echo "make docs   build the documentation as a site in var/site, warnings are errors"
	@echo "make dist   build the wheel and the sdist in var/dist, and check them"
	@echo "make bench  compare this project with others in about ten minutes (a short look: ARGS=--quick)"
	@echo "            or measure how its costs grow (ARGS=curves; what it can do: ARGS='curves --help')"
	@echo "make soak   run everything for twenty minutes while its servers fail (shorter: ARGS='--minutes 3')"
	@echo "make fuzz   send random requests to every operation of the REST API, and random bytes to a server (more: ARGS=200)"
	@echo "make rolling  restart two servers behind nginx while updates go on, and count these at each client"
	@echo "make lock   write requirements.lock and requirements-dev.lock with uv (newer packages: ARGS=--upgrade)"

run: .venv/installed
	@$(BIN)/python manage.py up

test: .venv/installed-dev
	$(BIN)/python -m pytest $(or $(ARGS),$(PARALLEL))

check: style types test

check-postgres: .venv/installed-dev
	$(BIN)/python -m tests.postgres $(or $(ARGS),$(PARALLEL))

style: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m vulture

types: .venv/installed-dev
	$(BIN)/python -m mypy

docs: .venv/installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict && echo "var/site/index.html"

dist: .venv/installed-dev
	@rm -rf var/dist && $(BIN)/python -m build --no-isolation --outdir var/dist
	@$(BIN)/python -m twine check --strict var/dist/*

bench: .venv/installed-dev
	@$(BIN)/python -m tests.bench $(ARGS)

soak: .venv/installed-dev
	@$(BIN)/python -m tests.soak $(ARGS)

fuzz: .venv/installed-dev
	FUZZ_EXAMPLES=$(or $(ARGS),50) FUZZ_SEED=$$(date +%s) $(BIN)/python -m pytest tests/api/test_random_requests.py tests/delivery/test_random_bytes.py $(PARALLEL)

rolling: .venv/installed-dev
	@PYTHONPATH=clients/python $(BIN)/python -m tests.soak.rolling $(ARGS)

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	$(COMPILE) requirements.txt --output-file requirements.lock
	$(COMPILE) requirements-dev.txt --constraints requirements.lock --output-file requirements-dev.lock

# From PyPI only, for every platform, whichever indexes this machine has configured.
COMPILE = env -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS uv pip compile --quiet --no-config \
	--default-index https://pypi.org/simple --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

# pip would compile on one core, after installing everything: this uses every core. Some packages
# contain files that do not compile, which pip ignores as well.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-compile
BYTECODE = $(BIN)/python -m compileall -qq -j 0 .venv/lib || true

# With the stamps a second run starts at once, and a changed lock is installed.
.venv/installed: requirements.lock | .venv/bin/pip
	@echo "Installing the packages of $<; the first time takes a minute or two."
	@$(INSTALL) -r $<
	@$(BYTECODE)
	@touch $@

.venv/installed-dev: requirements-dev.lock | .venv/bin/pip
	@echo "Installing the packages of $<; the first time takes a minute or two."
	@$(INSTALL) -r $<
	@$(BYTECODE)
	@touch $@

.venv/bin/pip:
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) is not installed; ARA Realtime needs Python 3.11 or later." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "ARA Realtime needs Python 3.11 or later, and $(PYTHON) is `$(PYTHON) -V`." >&2; \
		echo "Name another one: PYTHON=python3.12 make run" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv module is incomplete." >&2; \
		echo "On Debian and Ubuntu install it with: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
