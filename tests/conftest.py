"""Shape annotations are checked in tests: every call of the library is compared with its jaxtyping signature."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
_hook = install_import_hook("cwgan", "typechecks.check")
_hook.__enter__()

import pytest  # noqa: E402
import torch  # noqa: E402

from cwgan.data import GzslDataset  # noqa: E402
from cwgan.numbers import load_numbers  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """One thread per process: tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def numbers() -> GzslDataset:
    """The built-in data set."""
    return load_numbers()


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
