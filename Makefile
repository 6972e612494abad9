# Everything runs in .venv, at the versions of constraints.txt. Paths are relative: a clone may lie in a folder with spaces.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
# The same with the old IPython that Colab's kernels have. All other versions stay: nothing else has to differ.
COLAB := .venv-colab
COLAB_PINS := ipython==7.34.0 ipykernel==6.17.1
NOTEBOOKS = $(or $(wildcard notebooks/[0-9]*.ipynb),$(error there is no notebook; a chapter is notebooks/NN_topic.ipynb))
# Side by side with one thread each: two chapters took 49 to 65 s, one after the other with two threads each 80 to 84 s.
PYTEST := -m pytest -n 2 --dist loadfile
# Two processes whose waiting threads spin get in each other's way on few cores.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help
.PHONY: help run test test-portable test-colab lint notebooks exercises address lab corpus clean
.PHONY: context sweep pretrained sizes scaling shakespeare bugs quantized kaggle own-corpus

help:  ## show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "make %-13s %s\n", $$1, $$2}'

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than Python 3.11; choose another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "installing into $(VENV) (a few minutes the first time)"
	@test -x $(BIN) || $(PYTHON) -m venv $(VENV)
	@$(BIN) -m pip install --quiet -r requirements.txt -r requirements-dev.txt -c constraints.txt
	@touch $@

$(COLAB)/installed: $(VENV)/installed
	@echo "installing into $(COLAB) (a few minutes the first time)"
	@test -x $(COLAB)/bin/python || $(BIN) -m venv $(COLAB)
	@grep -vE '^(ipython|ipykernel)==' constraints.txt > $(COLAB)/constraints.txt
	@$(COLAB)/bin/python -m pip install --quiet $(COLAB_PINS) -r requirements.txt -r requirements-dev.txt \
	  -c $(COLAB)/constraints.txt
	@touch $@

run: $(VENV)/installed  ## train a small GPT on the embedded corpus and measure it (about three minutes with the measuring)
	@$(BIN) -m gptcore run

test: $(VENV)/installed lint  ## lint, then run every test and every notebook, whose outputs must come out as stored
	@OMP_NUM_THREADS=1 $(BIN) $(PYTEST) gptcore tests --nbval $(NOTEBOOKS)

test-portable: $(VENV)/installed  ## the notebooks on the plainest CPU: same outputs without its vector instructions
	@ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=1 $(BIN) $(PYTEST) --nbval $(NOTEBOOKS)

test-colab: $(COLAB)/installed  ## the notebooks and their setup cell under the versions of IPython that Colab has
	@OMP_NUM_THREADS=1 $(COLAB)/bin/python $(PYTEST) tests/test_setup_cell.py --nbval $(NOTEBOOKS)

lint: $(VENV)/installed  ## look for mistakes that a machine can see
	@$(BIN) -m ruff check .

notebooks: $(VENV)/installed  ## run the notebooks, store outputs and figures, write all that is generated (some: ONLY="01 03")
	@$(BIN) -m tools.notebooks run $(ONLY)

exercises: $(VENV)/installed  ## write the exercise editions, badges and the README's chapter table anew, without running
	@$(BIN) -m tools.notebooks stamp

context: $(VENV)/installed  ## train the networks of chapter 02 for data/context.csv (half an hour)
	@$(BIN) -m tools.context

address: $(VENV)/installed  ## change the public address of the repository everywhere: URL=https://github.com/owner/name
	@$(BIN) -m tools.notebooks address "$(URL)"

kaggle: $(VENV)/installed  ## pack the course into one file that a Kaggle notebook can use without a network
	@$(BIN) -m tools.kaggle

lab: $(VENV)/installed  ## open the notebooks in JupyterLab
	@mkdir -p notebooks && $(BIN) -m jupyterlab notebooks

corpus: $(VENV)/installed  ## write data/playhouse.txt anew from its grammar (the same bytes)
	@$(BIN) -m gptcore.playhouse data/playhouse.txt

sweep: $(VENV)/installed  ## measure what data/vocabulary_sweep.csv lacks (all of it: a quarter of an hour; stop and go on as you like)
	@OMP_NUM_THREADS=1 $(BIN) -m gptcore.sweep

pretrained: $(VENV)/installed  ## train the model of data/pretrained anew (about an hour; stop and go on as you like)
	@$(BIN) -m tools.pretrained

sizes: $(VENV)/installed  ## train smaller models beside it, for data/judged.csv (a quarter of an hour)
	@$(BIN) -m tools.pretrained sizes

scaling: $(VENV)/installed  ## train six widths of GPT for data/scaling.csv (half an hour; stop and go on as you like)
	@OMP_NUM_THREADS=1 $(BIN) -m tools.scaling

shakespeare: $(VENV)/installed  ## train the published model on Tiny Shakespeare for 500 steps (an hour; stop and go on as you like)
	@$(BIN) -m tools.shakespeare

own-corpus: $(VENV)/installed  ## train the GPTs of chapter 10 for data/corpus_*.csv (half an hour; stop and go on as you like)
	@OMP_NUM_THREADS=1 $(BIN) -m tools.own_corpus

bugs: $(VENV)/installed  ## train the silent bugs of chapter 08 for data/bugs.csv (a quarter of an hour; stop and go on as you like)
	@OMP_NUM_THREADS=1 $(BIN) -m gptcore.course.bugs

quantized: $(VENV)/installed  ## measure what quantization costs, for data/quantized.csv (a few minutes, with nothing else running)
	@$(BIN) benchmarks/quantization.py --store

clean:  ## remove the environments and the caches, never the runs
	rm -rf $(VENV) $(COLAB) .pytest_cache .ruff_cache .hypothesis
	find gptcore tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
