# `make verify` checks the claims, `make test` checks this project. Both make .venv by themselves,
# make it again when it is broken, and start at once when it is ready. `make help` lists the rest.

# A Python 3.11 or newer for .venv: the first of these that will do, or the one you name.
PYTHON ?= python3.13 python3.12 python3.11 python3
# Passed on, e.g. make verify ARGS="--quick --claims 2", make test ARGS="-k fold".
ARGS ?=

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported, once. Compiling all that is installed doubles the set-up.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
export PYTHONDONTWRITEBYTECODE :=
TOOLS := nn,export,hf,dask,proofs,dev,site
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help verify prove test lint types contracts format bench docs site notebooks clean core tools

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1: /p' Makefile | awk -F: '{ printf "%-18s%s\n", $$1, $$2 }'

verify: core ## check every claim of the theory (core only, without torch)
	@$(BIN)/rps verify $(ARGS)

prove: tools ## prove the claims: enumeration, SymPy, Z3
	@$(BIN)/rps prove $(ARGS)

test: lint contracts ## lint, types, import contracts, tests and doctests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: tools ## formatting and lint, changing nothing
	@$(BIN)/ruff format --check --quiet --diff .
	@$(BIN)/ruff check .

types: tools ## static types
	@$(BIN)/mypy --num-workers 2

contracts: tools ## which module may import which
	@$(BIN)/lint-imports --no-logo

format: tools ## format, and mend what lint can mend
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

bench: tools ## every benchmark, one after another
	@for each in benchmarks/[a-z]*.py; do echo "== $$each"; $(BIN)/python "$$each" || exit 1; done

docs: tools ## verify and prove, then write docs/*.md and docs/figures from the runs
	@mkdir -p build docs/figures
	@$(BIN)/rps verify --json build/verify.json --html build/verify.html > build/verify.txt
	@$(BIN)/rps explain --all --markdown docs/claims.md --report build/verify.json \
		--calibration docs/calibration.json
	@$(BIN)/rps prove --json build/prove.json --markdown docs/proofs.md > build/prove.txt
	@$(BIN)/python -m proofs_checks.mutants --markdown docs/mutants.md
	@$(BIN)/rps phase --out docs/figures/phase.png

site: tools ## build the documentation site: build/site/index.html
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m sphinx -W -q -b html -c docs -d build/doctrees . build/site

notebooks: tools ## make notebooks/*.ipynb of their scripts
	@$(BIN)/jupytext --quiet --to ipynb --update notebooks/*.py

clean: ## remove .venv, caches and build products
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find rpstheory nn proofs_checks tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------- .venv

core: ## set up .venv with what `make verify` needs
	@$(call prepare,core,$(INSTALL) -c constraints.txt -e .)

# torch goes first, as the build that constraints.txt pins (the CPU build, where wheels offer one):
# asked for together with packages that need it, another release and a CUDA stack may come instead.
tools: ## set up .venv with everything, torch (the CPU build) too
	@$(call prepare,tools core,$(INSTALL) "$(TORCH)" && $(INSTALL) -c constraints.txt -e ".[$(TOOLS)]")

# $(call prepare,NAMES,COMMANDS): a .venv in which COMMANDS succeeded since pyproject.toml and
# constraints.txt last changed, and which then has what every one of NAMES stands for. The stamps
# ready-NAME hold the checksum of both files and are written after success only. A .venv with a file
# `unfinished` was killed in the middle of something and is not trusted; where pip merely failed (no
# network, no such version), it has left things as they were, and the next call tries again.
define prepare
say() { printf 'make: %s\n' "$$*" >&2; }; \
key=$$(cat pyproject.toml constraints.txt | cksum); \
if [ -d $(VENV) ] && { [ -e $(VENV)/unfinished ] || ! $(SOUND); }; then \
	say "$(VENV) was interrupted, moved or damaged and is made again"; rm -rf $(VENV); \
fi; \
if [ -d $(VENV) ] && [ "$$(cat $(VENV)/ready-$(firstword $(1)) 2>/dev/null)" = "$$key" ]; then exit 0; fi; \
if [ ! -d $(VENV) ]; then \
	python=; old=; bare=; \
	for each in $(PYTHON); do \
		if ! "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			old="$$old $$each"; \
		elif ! "$$each" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
			bare="$$bare $$each"; \
		else python=$$each; break; fi; \
	done; \
	if [ -z "$$python$$bare" ]; then \
		say "no Python 3.11 or newer among:$$old; install one, or name yours: make PYTHON=/path/to/python3"; \
		exit 1; \
	fi; \
	if [ -z "$$python" ]; then \
		say "no venv module (or no ensurepip) in:$$bare; install it (Debian, Ubuntu: apt install python3-venv), or name another Python: make PYTHON=/path/to/python3"; \
		exit 1; \
	fi; \
	mkdir $(VENV) && touch $(VENV)/unfinished && "$$python" -m venv $(VENV) || exit 1; \
fi; \
say "setting up $(VENV) ($(firstword $(1))) with $$($(BIN)/python --version); this happens once"; \
touch $(VENV)/unfinished && rm -f $(1:%=$(VENV)/ready-%) || exit 1; \
$(2) || { \
	test $$? -gt 128 || rm $(VENV)/unfinished; \
	say "setting up $(VENV) failed; pip says why above"; exit 1; \
}; \
for each in $(1:%=$(VENV)/ready-%); do printf '%s\n' "$$key" > $$each || exit 1; done; \
rm $(VENV)/unfinished
endef

# Whether .venv is at home here, starts, has pip, and holds every file that was installed into it.
SOUND = { grep -qF "$(CURDIR)/$(VENV)" $(BIN)/activate && $(BIN)/python -P -c "$$SOUND_CHECK"; } 2>/dev/null

define SOUND_CHECK
import os, pip, re
from importlib.metadata import PackageNotFoundError, distribution, distributions
for each in distributions():
    for row in (each.read_text("RECORD") or "").splitlines():
        file = row.rsplit(",", 2)[0].strip('"')
        if not file.endswith(".pyc"):
            os.stat(each.locate_file(file))
if os.path.exists("$(VENV)/ready-core"):
    for need in distribution("rps-toolkit").requires:
        if "extra ==" not in need:
            distribution(re.match(r"[\w.-]+", need)[0])
endef
export SOUND_CHECK
