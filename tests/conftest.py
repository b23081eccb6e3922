"""Shape annotations are checked in tests: every call is compared with its jaxtyping signature."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typechecks
from jaxtyping import install_import_hook

if TYPE_CHECKING:  # the process that only hands out tests need not wait for PyTorch
    import torch

    from cwgan.data.dataset import GzslDataset

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Tests run side by side, one per core: with two threads each they would wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # what is imported below the hook is compiled anew each time
    import optuna.visualization.matplotlib  # noqa: F401
    import torch
_hook = install_import_hook("cwgan", "typechecks.check")
_hook.__enter__()
LONGEST = (
    "test_projects",
    "test_sweep_interrupted",
    "test_sweep",
    "test_sweep_postgres",
    "test_deploy",
    "test_images",
    "test_entry_points",
    "test_remote_store",
    "test_tracking",
    "test_tour",
    "test_original",
    "test_interrupted",
    "test_study",
    "test_same_bits",
    "test_experiments",
    "test_ranks",
    "test_kept",
)
"""Files that take longest, which begin first, so that no core waits for the last of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(Path(item.path).stem, len(ranks)))


@pytest.fixture(autouse=True)
def _checked_anew() -> None:
    """Check the types of the first calls of every function in this test too."""
    typechecks.begin_test()


@pytest.fixture(autouse=True, scope="module")
def _no_experiment() -> None:
    """Forget the experiment that `mlflow.set_experiment` left in the environment and in MLflow."""
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    if fluent := sys.modules.get("mlflow.tracking.fluent"):
        fluent._active_experiment_id = None


@pytest.fixture(scope="session")
def numbers() -> "GzslDataset":
    """The built-in data set."""
    from cwgan.data.numbers import load_numbers

    return load_numbers()


@pytest.fixture
def rng() -> "torch.Generator":
    import torch

    return torch.Generator().manual_seed(0)
