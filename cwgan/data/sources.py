"""Where a data set comes from: the built-in numbers, an xlsa17 folder, or the original HDF5 pair."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cwgan.data import hdf5, xlsa17
from cwgan.data.dataset import GzslDataset, binarize
from cwgan.errors import InputError

BUILT_IN = "numbers"
PAIR, XLSA17 = (hdf5.ROWS_FILE, hdf5.CLASSES_FILE), (xlsa17.FEATURES_FILE, xlsa17.SPLITS_FILE)


def load_dataset(
    path: str, name: str = "", attributes: str = "", att_type: Literal["continuous", "binary"] = "continuous",
    seed: int = 0, conceal_test: bool = False,
) -> GzslDataset:  # fmt: skip
    """Read a data set with all its splits.

    Args:
        path: "numbers", or a folder in one of the two layouts.
        name: of the data set; empty: the folder's, or "numbers".
        attributes: a .npy file that replaces the attributes; empty: none.
        att_type: "binary" for attributes as `cwgan.data.dataset.binarize` makes them.
        seed: of the built-in data.
        conceal_test: do not look at the features of test rows.

    Raises:
        InputError: there is no such folder, it holds neither layout, or what it holds is bad.
    """
    if path == BUILT_IN:
        if attributes:
            allowed = "nothing: the built-in data has its own attributes"
            raise InputError("configuration", "data.attributes", attributes, allowed)
        # Only this source needs scikit-learn, whose import takes longer than most files take to read.
        from cwgan.data.numbers import load_numbers

        dataset = dataclasses.replace(load_numbers(seed), name=name or BUILT_IN)
    else:
        folder = Path(os.path.abspath(path))
        table = Path(attributes) if attributes else None
        dataset = _find_reader(folder)(folder, name or folder.name, table, conceal_test)
    if att_type == "binary":
        dataset = dataclasses.replace(dataset, attributes=binarize(dataset.attributes))
    return dataset


def _find_reader(folder: Path) -> Callable[[Path, str, Path | None, bool], GzslDataset]:
    """Return the function that reads the layout of a folder."""
    try:
        present, found = set(os.listdir(folder)), "neither layout"
    except OSError as error:
        present, found = set(), str(error.strerror)
    for reader, files in ((hdf5.load_hdf5, PAIR), (xlsa17.load_xlsa17, XLSA17)):
        if present & set(files):
            return reader
    layouts = f"{' and '.join(XLSA17)}, or {' and '.join(PAIR)}"
    allowed = f"'{BUILT_IN}', or a folder with {layouts} (relative paths start at the project's folder)"
    raise InputError(folder, "data.path", found, allowed)
