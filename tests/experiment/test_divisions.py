"""The benchmark of divisions in short: what is chosen on validation classes carries over to other classes."""

from pathlib import Path

import pytest

from benchmarks.divisions import measure
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.sources import load_dataset
from cwgan.data.views import redivide

SHORT = {"variant": "no_gan", "classifier.epochs": 20, "folds": 2}


@pytest.mark.filterwarnings("default")
def test_the_balance_carries_over_to_another_division_of_the_classes(tmp_path: Path) -> None:
    save_hdf5(redivide(load_dataset("numbers"), 0, 0.2, 50), tmp_path / "data")
    (tmp_path / "run").mkdir()
    found = measure(tmp_path / "data", 0, SHORT, tmp_path / "run")
    assert found["gap"] <= 2
    assert min(found["S"], found["U"]) > 75, "a mean of 86 with 20 epochs"
