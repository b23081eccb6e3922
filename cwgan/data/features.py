"""Rows to be named: a matrix of features from a .npy, .csv, .h5 or .mat file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cwgan.data.hdf5 import GROUPS
from cwgan.data.matlab import load_matlab
from cwgan.errors import InputError
from cwgan.files import dataset_of, open_hdf5

KINDS = ".npy, .csv, .h5 or .mat"


def read_features(given: Path, width: int) -> np.ndarray:
    """Return rows of `width` features, in the units of the file.

    A .csv file has a row a line, and may have a heading (`is_heading`). A .mat file holds `features` as in
    the xlsa17 layout, with a column a row, or the other way round. An .h5 file holds one matrix X, as data.h5
    and synthetic.h5 do; if several, it is named as <file>.h5/test/unseen/X. InputError for anything else.
    """
    path, key = _divide(given)
    if path.suffix not in (".npy", ".csv", ".h5", ".mat"):
        raise InputError("--features", "file", path.name, f"a file that ends in {KINDS}")
    if not path.is_file():
        raise InputError(path, "file", "nothing there", f"a file of features, {KINDS}")
    read = {".npy": _read_npy, ".csv": _read_csv, ".mat": _read_mat}
    rows = _read_hdf5(path, key) if path.suffix == ".h5" else read[path.suffix](path)
    if rows.ndim == 2 and path.suffix == ".mat" and rows.shape[0] == width:
        rows = rows.T
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or rows.shape[1] != width or len(rows) == 0:
        found, allowed = f"{rows.dtype} of shape {rows.shape}", f"rows of {width} numbers, as the model wants"
        raise InputError(path, key or "features", found, allowed)
    return rows


def _divide(given: Path) -> tuple[Path, str]:
    """Return the file, and what is named within it."""
    for parent in given.parents:
        if parent.suffix == ".h5" and not parent.is_dir():
            return parent, given.relative_to(parent).as_posix()
    return given, ""


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise InputError(path, "file", f"unreadable ({error})", "a .npy file of numbers") from None


def _read_csv(path: Path) -> np.ndarray:
    try:
        table = pd.read_csv(path, header=None, dtype=str, skipinitialspace=True)
        if is_heading(table.iloc[0].tolist()):
            table = table.iloc[1:]
        return table.to_numpy().astype(np.float64)
    except (ValueError, IndexError, OSError) as error:  # pandas' errors are ValueErrors
        raise InputError(path, "file", f"unreadable ({error})", "lines of numbers, comma-separated") from None


def is_heading(cells: Sequence[Any]) -> bool:
    """Return whether the cells of a line name columns: by texts, or by their numbers, as pandas writes them.

    In a line of up to four cells, numbers are values. A cell that is no text, as pandas' NaN, names nothing.
    """
    numbers = [read_number(cell) for cell in cells if isinstance(cell, str) and cell.strip()]
    if len(cells) > 4 and numbers in ([*range(len(cells))], [*range(1, len(cells) + 1)]):
        return True
    return bool(numbers) and all(number is None for number in numbers)


def read_number(text: str) -> float | None:
    """Return the number that a text stands for, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def _read_mat(path: Path) -> np.ndarray:
    matrix: np.ndarray = load_matlab(path, ("features",))["features"]
    return matrix


def _read_hdf5(path: Path, key: str) -> np.ndarray:
    with open_hdf5(path) as file:
        keys = [key] if key else [f"{group}/X" for group in GROUPS.values() if f"{group}/X" in file]
        if len(keys) != 1:
            names = ", ".join(f"{path.name}/{name}" for name in keys) or "train/X, as in synthetic.h5"
            raise InputError(path, "X", f"{len(keys)} matrices", f"one, or the name of one: {names}")
        values: np.ndarray = dataset_of(file, keys[0], 2)[:]
    return values
