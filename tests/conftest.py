"""Shape annotations are checked in tests: every call is compared with its jaxtyping signature."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Tests run side by side, one per core: with two threads each they would wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"
_hook = install_import_hook("cwgan", "typechecks.check")
_hook.__enter__()

import pytest  # noqa: E402
import torch  # noqa: E402

from cwgan.data.dataset import GzslDataset  # noqa: E402
from cwgan.data.numbers import load_numbers  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _no_experiment() -> None:
    """Forget the experiment that `mlflow.set_experiment` left in the environment."""
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


@pytest.fixture(scope="session")
def numbers() -> GzslDataset:
    """The built-in data set."""
    return load_numbers()


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
