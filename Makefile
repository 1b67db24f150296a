# Every chore is one short command. On a fresh machine each of them sets up its own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/tested.txt
EXTRAS := dev,onnx,harness,demo,bench

.PHONY: setup demo test coverage lint format bench clean
.DELETE_ON_ERROR:

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints/tested.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[$(EXTRAS)]'
	touch $@

demo: setup  ## fine-tune, compress and prove a small intent classifier
	HF_HUB_OFFLINE=1 $(BIN)/python examples/demo.py

test: setup  ## the tests but slow ones, a worker on each core
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

coverage: setup  ## all tests, slow ones too, and the lines they do not reach
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov=laconic --cov-report=term-missing

lint: setup  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## every benchmark, for days; needs LACONIC_DATA and LACONIC_MODELS
	$(BIN)/python -m benchmarks.conll2003
	$(BIN)/python -m benchmarks.methods
	$(BIN)/python -m benchmarks.kill
	$(BIN)/python -m benchmarks.coding
	$(BIN)/python -m benchmarks.cache
	$(BIN)/python -m benchmarks.zip
	$(BIN)/python -m benchmarks.tasks
	$(BIN)/python -m benchmarks.augment
	$(BIN)/python -m benchmarks.peers

clean:
	rm -rf $(VENV) demo-out
