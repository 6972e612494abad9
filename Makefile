# Everything runs in .venv, at the versions of constraints.txt. Paths are relative: a clone may lie in a folder with spaces.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
# Two processes whose waiting threads spin get in each other's way on few cores.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help
.PHONY: help run test lint lab corpus clean

help:  ## show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "make %-8s %s\n", $$1, $$2}'

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than Python 3.11; choose another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "installing into $(VENV) (a few minutes the first time)"
	@test -x $(BIN) || $(PYTHON) -m venv $(VENV)
	@$(BIN) -m pip install --quiet -r requirements.txt -r requirements-dev.txt -c constraints.txt
	@touch $@

run: $(VENV)/installed  ## train a small GPT on the embedded corpus and measure it (about three minutes with the measuring)
	@$(BIN) -m gptcore run

test: $(VENV)/installed lint  ## lint, then run every test
	@OMP_NUM_THREADS=1 $(BIN) -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed  ## look for mistakes that a machine can see
	@$(BIN) -m ruff check .

lab: $(VENV)/installed  ## open the notebooks in JupyterLab
	@mkdir -p notebooks && $(BIN) -m jupyterlab notebooks

corpus: $(VENV)/installed  ## write data/playhouse.txt anew from its grammar (the same bytes)
	@$(BIN) -m gptcore.playhouse data/playhouse.txt

clean:  ## remove the environment and the caches, never the runs
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
	find gptcore tests -name __pycache__ -type d -prune -exec rm -rf {} +
