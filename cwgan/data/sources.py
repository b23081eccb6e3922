"""Where a data set comes from: the built-in numbers, an xlsa17 folder, or the original HDF5 pair."""

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from cwgan.config import BUILT_IN
from cwgan.data import hdf5, xlsa17
from cwgan.data.dataset import GzslDataset, binarize
from cwgan.data.merged import read_name
from cwgan.data.new_classes import add_new_classes
from cwgan.data.numbers import load_numbers
from cwgan.errors import InputError

PAIR, XLSA17 = (hdf5.ROWS_FILE, hdf5.CLASSES_FILE), (xlsa17.FEATURES_FILE, xlsa17.SPLITS_FILE)


def load_dataset(
    path: str,
    name: str = "",
    attributes: str = "",
    att_type: Literal["continuous", "binary"] = "continuous",
    seed: int = 0,
    conceal_test: bool = False,
    new_classes: str = "",
    memory: str = "auto",
) -> GzslDataset:
    """Read a data set with all its splits; InputError if the folder is missing, of neither layout, or bad.

    `path` is "numbers", which `seed` draws, a folder, or a merged file; an empty `name` is "numbers", that of
    the folder, or what the file says.
    The .npy file `attributes`, if not empty, replaces the attributes; an `att_type` of "binary" makes them 0
    or 1 by `binarize`. `conceal_test` is that of `GzslDataset`, `new_classes` that of `add_new_classes`, and
    `memory` that of `hdf5.read_matrix`.
    """
    if path == BUILT_IN:
        if attributes:
            allowed = "nothing: the built-in data has its own attributes"
            raise InputError("configuration", "data.attributes", attributes, allowed)
        dataset = dataclasses.replace(load_numbers(seed), name=name or BUILT_IN)
    else:
        folder = Path(os.path.abspath(os.path.expanduser(path)))
        table = Path(attributes) if attributes else None
        if folder.suffix == ".h5" and not folder.is_dir():
            dataset = hdf5.load_hdf5(folder, name or read_name(folder), table, conceal_test, memory)
        else:
            dataset = _find_reader(folder, memory)(folder, name or folder.name, table, conceal_test)
    more = add_new_classes(dataset, new_classes)
    if att_type == "continuous":
        return more
    threshold = dataset.attributes.double().mean().item()  # which new classes do not move
    return dataclasses.replace(more, attributes=binarize(more.attributes, threshold))


def _find_reader(folder: Path, memory: str) -> Callable[[Path, str, Path | None, bool], GzslDataset]:
    """Return the function that reads the layout of a folder."""
    read_hdf5 = partial(hdf5.load_hdf5, memory=memory)
    try:
        present, found = set(os.listdir(folder)), "neither layout"
    except OSError as error:
        present, found = set(), str(error.strerror)
    if 0 < len(present & set(PAIR)) < 2 and present >= set(XLSA17):
        (half,), (other,) = present & set(PAIR), set(PAIR) - present
        found, whole = f"{half} without {other}, beside {' and '.join(XLSA17)}", "both files of one layout"
        raise InputError(folder, "data.path", found, f"{whole}: without {half}, those two would be read")
    if memory == "disk" and not present & set(PAIR) and present >= set(XLSA17):
        allowed = "auto or ram for MATLAB files; `prepare` makes an HDF5 pair of them, which can stay on disk"
        raise InputError("configuration", "data.memory", "disk", allowed)
    for reader, files in ((read_hdf5, PAIR), (xlsa17.load_xlsa17, XLSA17)):
        if present & set(files):
            return reader
    layouts = f"{' and '.join(XLSA17)}, or {' and '.join(PAIR)}"
    allowed = f"'{BUILT_IN}', or a folder with {layouts} (relative paths start at the project's folder)"
    raise InputError(folder, "data.path", found, allowed)
