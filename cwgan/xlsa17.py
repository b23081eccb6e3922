"""Read the xlsa17 layout of Xian et al. 2018 (arXiv 1707.00600): `res101.mat` and `att_splits.mat` in one folder."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch

from cwgan.data import GzslDataset
from cwgan.errors import InputError

FEATURES_FILE, SPLITS_FILE = "res101.mat", "att_splits.mat"


def load_xlsa17(folder: Path, name: str, attributes: Path | None = None, conceal_test: bool = False) -> GzslDataset:
    """Read one benchmark.

    Features may be stored D x N (the archive's way) or N x D. Row indices and labels are 1-based. `train_loc` and
    `val_loc` of the archives hold test rows; both are cut down to trainval_loc. Both may be absent.

    Args:
        folder: holds the two files.
        name: of the data set.
        attributes: a .npy file (classes x attributes) in the order of the labels; or, where a text file of the same
            stem and suffix .txt names one class per line, in that order.
        conceal_test: do not look at the features of test rows.

    Raises:
        InputError: a file or key is missing, of the wrong shape, or holds what cannot be.
    """
    matrix = _load(folder / FEATURES_FILE, ("features", "labels"))
    splits = _load(
        folder / SPLITS_FILE, ("trainval_loc", "test_seen_loc", "test_unseen_loc"), ("train_loc", "val_loc", "att", "allclasses_names")
    )
    labels = _indices(matrix["labels"], folder / FEATURES_FILE, "labels")
    features = matrix["features"]
    if features.ndim != 2 or len(labels) not in features.shape:
        allowed = f"one row or column per label, of which {len(labels)}"
        raise InputError(folder / FEATURES_FILE, "features", f"shape {features.shape}", allowed)
    if features.shape[1] == len(labels):
        features = features.T
    names = [str(np.asarray(cell).ravel()[0]) for cell in splits["allclasses_names"].ravel()] if "allclasses_names" in splits else None
    if attributes is None:
        if "att" not in splits:
            raise InputError(folder / SPLITS_FILE, "att", "nothing there", "attributes x classes, or a file named by data.attributes")
        table = np.asarray(splits["att"]).T
    else:
        table = load_attributes(attributes, names)

    index = {
        split: torch.from_numpy(_indices(splits[f"{split}_loc"], folder / SPLITS_FILE, f"{split}_loc"))
        for split in ("trainval", "test_seen", "test_unseen", "train", "val")
        if f"{split}_loc" in splits
    }
    for split in ("train", "val"):
        given = index.get(split, torch.empty(0, dtype=torch.int64))
        index[split] = given[torch.isin(given, index["trainval"])]
    if 0 in (len(index["train"]), len(index["val"])):
        index["train"] = index["val"] = torch.empty(0, dtype=torch.int64)
    return GzslDataset(
        name=name,
        source=str(folder),
        features=torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)),
        labels=torch.from_numpy(labels),
        attributes=torch.from_numpy(np.ascontiguousarray(table, dtype=np.float32)),
        class_names=tuple(names or (f"class {label + 1}" for label in range(len(table)))),
        **index,
        test_concealed=conceal_test,
    )


def load_attributes(path: Path, class_names: list[str] | None) -> np.ndarray:
    """Read a .npy table of class attributes, brought into the order of `class_names` by a .txt file beside it, if any."""
    if not path.is_file():
        raise InputError(path, "file", "nothing there", "a .npy file of classes x attributes")
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(path, "file", f"unreadable ({error})", "a .npy file of classes x attributes") from None
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise InputError(path, "array", f"{table.dtype} of shape {table.shape}", "a table of numbers, classes x attributes")
    order = path.with_suffix(".txt")
    if not order.is_file():
        return table
    if class_names is None:
        raise InputError(order, "class names", "names", "no such file: the data set itself names no classes to match them with")
    rows = {_plain(line): row for row, line in enumerate(order.read_text().split("\n")) if line.strip()}
    missing = [name for name in class_names if _plain(name) not in rows]
    if missing or len(rows) != len(table):
        found = f"{len(rows)} different names, without {', '.join(missing[:3])}" if missing else f"{len(rows)} different names"
        raise InputError(order, "class names", found, f"the data set's {len(class_names)} classes, one per row of the table")
    return table[[rows[_plain(name)] for name in class_names]]


def _plain(name: str) -> str:
    """Return a class name without its number, case and separators: '001.Black_footed_Albatross' as 'black footed albatross'."""
    return re.sub(r"[\W_]+", " ", re.sub(r"^\d+\.", "", name.strip())).strip().lower()


def _load(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(path, "file", "nothing there", f"a MATLAB file with {', '.join(required)}")
    try:
        content = scipy.io.loadmat(path, variable_names=required + optional)
    except NotImplementedError:
        raise InputError(path, "file", "MATLAB version 7.3", "version 7 or older; in MATLAB, save with the option '-v7'") from None
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise InputError(path, "file", f"unreadable ({error})", "a whole MATLAB file") from None
    for key in required:
        if key not in content:
            raise InputError(path, key, "nothing there", f"all of {', '.join(required)}")
    for key in required + optional:
        if key in content and key != "allclasses_names" and content[key].dtype.kind not in "fiu":
            raise InputError(path, key, f"{content[key].dtype}", "numbers")
    return content


def _indices(values: np.ndarray, path: Path, field: str) -> np.ndarray:
    """Return 1-based whole numbers, whatever their stored type, as 0-based int64."""
    flat = values.ravel()
    whole = flat.astype(np.int64) if np.isfinite(flat).all() else None
    if whole is None or (whole != flat).any() or (whole < 1).any():
        raise InputError(path, field, "a value that is not a whole number from 1", "1-based whole numbers")
    return whole - 1
