"""Tiny data sets for tests: six classes, three attributes, thirty rows of five features, as xlsa17 files."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch

from cwgan.data.dataset import GzslDataset

CLASS_NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
SEEN, VALIDATION, UNSEEN = (0, 1, 2, 3), (3,), (4, 5)
"""Class numbers from 0; dog is seen and validates."""
ROWS, FEATURES, ATTRIBUTES = 30, 5, 3
LABELS = np.arange(ROWS) % 6
"""Class c has rows c, c + 6, c + 12, ...: a test must not pass only because classes lie in blocks."""


def rows_of(classes: tuple[int, ...], start: int = 0, stop: int = 5) -> np.ndarray:
    """Return the rows from `start` to `stop` of each class, from 0, ascending."""
    return np.array([row for row in range(ROWS) if LABELS[row] in classes and start <= row // 6 < stop])


def one_based_column(rows: np.ndarray) -> np.ndarray:
    """Return row numbers as the archives store them: a column of floats, counted from 1."""
    return (rows + 1.0)[:, None]


def text_cells(names: tuple[str, ...]) -> np.ndarray:
    """Return names as MATLAB stores them: a column of cells."""
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    return cells


def xlsa17_arrays() -> dict[str, np.ndarray]:
    """Return what the two files hold; as in the archives, train_loc and val_loc hold test rows too."""
    rng = np.random.default_rng(7)
    return {
        "features": rng.random((FEATURES, ROWS), dtype=np.float32),
        "labels": one_based_column(LABELS),
        "att": rng.normal(size=(ATTRIBUTES, 6)),
        "allclasses_names": text_cells(CLASS_NAMES),
        "trainval_loc": one_based_column(rows_of(SEEN, 0, 3)),
        "test_seen_loc": one_based_column(rows_of(SEEN, 3, 5)),
        "test_unseen_loc": one_based_column(rows_of(UNSEEN)),
        "train_loc": one_based_column(rows_of((0, 1, 2))),
        "val_loc": one_based_column(rows_of(VALIDATION)),
    }


def write_xlsa17(folder: Path, *, compressed: bool = True, **changes: Any) -> Path:
    """Write res101.mat and att_splits.mat into a folder, made where needed, and return it.

    Args:
        folder: for the two files.
        compressed: as MATLAB's save does.
        changes: arrays in the place of `xlsa17_arrays`'s; None leaves one out.
    """
    arrays = {key: value for key, value in (xlsa17_arrays() | changes).items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    matrix = {key: arrays.pop(key) for key in ("features", "labels") if key in arrays}
    scipy.io.savemat(folder / "res101.mat", matrix, do_compression=compressed)
    scipy.io.savemat(folder / "att_splits.mat", arrays, do_compression=compressed)
    return folder


def tiny_dataset(**changes: Any) -> GzslDataset:
    """Return the data set of those files, made without them; `changes` replace its fields."""
    arrays = xlsa17_arrays()
    fields = {
        "name": "tiny",
        "source": "made in a test",
        "features": torch.from_numpy(arrays["features"].T.copy()),
        "labels": torch.from_numpy(LABELS.copy()),
        "attributes": torch.from_numpy(arrays["att"].T.astype(np.float32)),
        "class_names": CLASS_NAMES,
        "trainval": torch.from_numpy(rows_of(SEEN, 0, 3)),
        "train": torch.from_numpy(rows_of((0, 1, 2), 0, 3)),
        "val": torch.from_numpy(rows_of(VALIDATION, 0, 3)),
        "test_seen": torch.from_numpy(rows_of(SEEN, 3, 5)),
        "test_unseen": torch.from_numpy(rows_of(UNSEEN)),
    }
    return GzslDataset(**(fields | changes))


def assert_same_data(left: GzslDataset, right: GzslDataset) -> None:
    """Assert that two data sets have the same classes and attributes, and rows in the same order."""
    assert left.class_names == right.class_names
    assert torch.equal(left.attributes, right.attributes)
    for split in ("trainval", "train", "val", "test_seen", "test_unseen"):
        ours, theirs = getattr(left, split), getattr(right, split)
        assert torch.equal(left.features[ours], right.features[theirs]), split
        assert torch.equal(left.labels[ours], right.labels[theirs]), split
    assert (left.digest, left.split_hash) == (right.digest, right.split_hash)


def rows(classes: tuple[int, ...], start: int = 0, stop: int = 5) -> torch.Tensor:
    """Return `rows_of` as a tensor."""
    return torch.from_numpy(rows_of(classes, start, stop))
