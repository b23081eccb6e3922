"""Where a data set comes from: the built-in numbers, an xlsa17 folder, or the original HDF5 pair."""

import dataclasses
from pathlib import Path

from cwgan import hdf5, xlsa17
from cwgan.data import GzslDataset, binarize
from cwgan.errors import InputError
from cwgan.hdf5 import load_hdf5
from cwgan.xlsa17 import load_xlsa17

BUILT_IN = "numbers"


def load_dataset(
    path: str, name: str = "", attributes: str = "", att_type: str = "continuous", seed: int = 0, conceal_test: bool = False
) -> GzslDataset:
    """Read a data set with all its splits.

    Args:
        path: "numbers", or a folder in one of the two layouts.
        name: of the data set; empty: the folder's.
        attributes: a .npy file that replaces the attributes; empty: none.
        att_type: "continuous" or "binary".
        seed: of the built-in data.
        conceal_test: do not look at the features of test rows.

    Raises:
        InputError: there is no such folder, or it holds neither layout, or what it holds is bad.
    """
    table = Path(attributes) if attributes else None
    folder = Path(path).resolve()
    if path == BUILT_IN:
        if table is not None:
            raise InputError("configuration", "data.attributes", attributes, "nothing: the built-in data has its own attributes")
        # Only this source needs scikit-learn, whose import takes longer than most files take to read.
        from cwgan.numbers import load_numbers

        dataset = load_numbers(seed)
    elif (folder / hdf5.ROWS_FILE).is_file() or (folder / hdf5.CLASSES_FILE).is_file():
        dataset = load_hdf5(folder, name or folder.name, table, conceal_test)
    elif (folder / xlsa17.FEATURES_FILE).is_file() or (folder / xlsa17.SPLITS_FILE).is_file():
        dataset = load_xlsa17(folder, name or folder.name, table, conceal_test)
    else:
        found = "neither layout" if folder.is_dir() else "no such folder"
        layouts = f"{xlsa17.FEATURES_FILE} and {xlsa17.SPLITS_FILE}, or {hdf5.ROWS_FILE} and {hdf5.CLASSES_FILE}"
        raise InputError(
            folder, "data.path", found, f"'{BUILT_IN}', or a folder with {layouts} (relative paths start at the project's folder)"
        )
    if att_type == "binary":
        dataset = dataclasses.replace(dataset, attributes=binarize(dataset.attributes))
    return dataset
