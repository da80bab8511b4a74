# Every target first brings .venv up to date with constraints.txt and pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A second environment: the newest torch that is tested, beside which no torchaudio and no torchvision is installed.
NEWEST := .venv-newest
NEWEST_TORCH := 2.13.0
EXTRAS := audio,crepe,demo,docs,fast,lint,networks,report,setups,test

DEMO_ARGS ?=
TEST_ARGS ?= -n 2
# One thread a process: two test processes that each start a thread a core only get in each other's way.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help demo test slow newest portable lint docs bench clean

help:  ## say what each target does
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: $(READY)  ## train an instrument classifier with the callback, log to TensorBoard, write a report, print its units
	$(BIN)/python examples/train_instruments.py $(DEMO_ARGS)

test: $(READY)  ## run the tests, without those that take minutes
	$(TEST) $(TEST_ARGS)

slow: $(READY)  ## run the tests that take minutes
	$(TEST) -m slow $(TEST_ARGS)

newest: $(NEWEST)/.ready  ## run the tests with another torch, where torchaudio cannot be imported
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest $(TEST_ARGS)

portable: $(READY)  ## run the tests that compare numbers with other instruction sets and threads, and all tests under load
	tests/portable.sh $(BIN)/python $(TEST_ARGS)

lint: $(READY)  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY) docs/_build/parity.md  ## build the documentation into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The table of parity is measured again when the features or their tests have changed.
docs/_build/parity.md: constraints.txt docs/generate_parity.py tests/features/conftest.py tests/features/test_parity.py \
  $(wildcard lightning_dissect/features/functional/*.py) | $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python docs/generate_parity.py

bench: $(READY)  ## run every benchmarks/bench_*.py and print its figures
	$(BIN)/python -m benchmarks

clean:  ## remove what the other targets made, the environment included
	rm -rf $(VENV) $(NEWEST) build dist docs/_build docs/_generated lightning_logs .mypy_cache .pytest_cache .ruff_cache .hypothesis

# tinysoundfont declares pyaudio, which needs PortAudio's headers to build and only serves live playback.
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11 <target>" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: Python's venv or ensurepip is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps tinysoundfont
	@touch $@

# Versions are those of constraints.txt, but for torch and what comes with it.
$(NEWEST)/.ready: constraints.txt pyproject.toml Makefile | $(READY)
	@test -x $(NEWEST)/bin/python || $(BIN)/python -m venv $(NEWEST)
	@sed -E '/^(torch|torchaudio|torchvision|triton|cuda-.*|nvidia-.*)==/d; $$a torch==$(NEWEST_TORCH)' constraints.txt >$(NEWEST)/constraints.txt
	$(NEWEST)/bin/python -m pip install --quiet -c $(NEWEST)/constraints.txt -e '.[demo,report,test]'
	$(NEWEST)/bin/python -m pip install --quiet -c $(NEWEST)/constraints.txt --no-deps tinysoundfont
	@touch $@
