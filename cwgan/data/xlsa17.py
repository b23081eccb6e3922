"""Read the xlsa17 layout of Xian et al. 2018 (arXiv 1707.00600): `res101.mat` and `att_splits.mat` in one folder."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError

FEATURES_FILE, SPLITS_FILE = "res101.mat", "att_splits.mat"


def load_xlsa17(
    folder: Path, name: str, attributes: Path | None = None, conceal_test: bool = False
) -> GzslDataset:
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
        folder / SPLITS_FILE,
        ("trainval_loc", "test_seen_loc", "test_unseen_loc"),
        ("train_loc", "val_loc", "att", "allclasses_names"),
    )
    labels = zero_based(matrix["labels"], folder / FEATURES_FILE, "labels")
    features = matrix["features"]
    if features.ndim != 2 or len(labels) not in features.shape:
        allowed = f"one row or column per label, of which {len(labels)}"
        raise InputError(folder / FEATURES_FILE, "features", f"shape {features.shape}", allowed)
    if features.shape[1] == len(labels):
        features = features.T
    names = (
        _class_names(splits["allclasses_names"], folder / SPLITS_FILE)
        if "allclasses_names" in splits
        else None
    )
    if attributes is not None:
        table = load_attributes(attributes, names, splits["att"].shape[-1] if "att" in splits else None)
    elif "att" in splits:
        table = splits["att"].T
    else:
        raise InputError(
            folder / SPLITS_FILE,
            "att",
            "nothing there",
            "attributes x classes, or a file named by data.attributes",
        )
    if table.ndim != 2:
        raise InputError(folder / SPLITS_FILE, "att", f"shape {table.T.shape}", "attributes x classes")

    index = {
        split: torch.from_numpy(
            zero_based(splits[f"{split}_loc"], folder / SPLITS_FILE, f"{split}_loc", len(labels))
        )
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
        features=float32_tensor(features),
        labels=torch.from_numpy(labels),
        attributes=float32_tensor(table),
        class_names=tuple(
            names if names is not None else (f"class {label + 1}" for label in range(len(table)))
        ),
        **index,
        test_concealed=conceal_test,
    )


def load_attributes(path: Path, class_names: list[str] | None, class_count: int | None) -> np.ndarray:
    """Read a .npy table of class attributes, brought into the order of `class_names` by a .txt file beside it, if any.

    Args:
        path: of the .npy file.
        class_names: of the data set, in the order of its labels, if it names them.
        class_count: of the data set, if known.

    Raises:
        InputError: either file is unreadable, or does not fit the classes.
    """
    if not path.is_file():
        raise InputError(path, "file", "nothing there", "a .npy file of classes x attributes")
    try:
        # Mapped first: a size declared beyond the file's is refused before memory is asked for it.
        table = np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise InputError(
            path, "file", f"unreadable ({error})", "a .npy file of classes x attributes"
        ) from None
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise InputError(
            path, "array", f"{table.dtype} of shape {table.shape}", "a table of numbers, classes x attributes"
        )
    order = path.with_suffix(".txt")
    if not order.is_file():
        if class_count not in (None, len(table)):
            raise InputError(path, "array", f"{len(table)} rows", f"{class_count}, one per class")
        return table
    if class_names is None:
        raise InputError(
            order,
            "class names",
            "names",
            "no such file: the data set itself names no classes to match them with",
        )
    try:
        names = [_plain(line) for line in order.read_text("utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            order, "file", f"unreadable ({error})", "one class name per line, in UTF-8"
        ) from None
    wanted = [_plain(name) for name in class_names]
    if not len(names) == len(table) == len(wanted) or sorted(names) != sorted(set(wanted)):
        missing = [name for name in class_names if _plain(name) not in names]
        found = f"{len(set(names))} different names" + (
            f", without {', '.join(missing[:3])}" if missing else ""
        )
        raise InputError(
            order,
            "class names",
            found,
            f"those of the {len(wanted)} classes, one per row of the table, which has {len(table)}",
        )
    return table[[names.index(name) for name in wanted]]


def zero_based(values: np.ndarray, path: Path, field: str, limit: int = 2**53) -> np.ndarray:
    """Return 1-based whole numbers up to `limit`, of whatever stored type and shape, as a 0-based int64 vector."""
    flat = values.ravel().astype(np.float64)
    bad = flat[~((flat >= 1) & (flat <= limit) & (flat == np.floor(flat)))]
    if len(bad):
        raise InputError(
            path, field, f"{bad[0]:.15g}", "whole numbers from 1" + (f" to {limit}" if limit < 2**53 else "")
        )
    return flat.astype(np.int64) - 1


def float32_tensor(values: np.ndarray) -> Tensor:
    """Return numbers as a float32 tensor, without a copy where they are contiguous float32 already."""
    # What float32 cannot hold becomes an infinity, which GzslDataset refuses.
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _plain(name: str) -> str:
    """Return a class name without its number, case and separators: '001.Black_footed_Albatross' as 'black footed albatross'."""
    return re.sub(r"[\W_]+", " ", re.sub(r"^\d+\.", "", name.strip())).strip().lower()


def _class_names(cells: Any, path: Path) -> list[str]:
    names = [np.ravel(cell).tolist() for cell in np.ravel(cells)]
    odd = [name for name in names if len(name) != 1 or not isinstance(name[0], str)]
    if odd:
        raise InputError(path, "allclasses_names", f"{odd[0]} as a name", "one text per class")
    return [name[0].strip() for name in names]


def _load(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(path, "file", "nothing there", f"a MATLAB file with {', '.join(required)}")
    try:
        with open(path, "rb") as file:
            content = scipy.io.loadmat(file, variable_names=required + optional)
    except Exception as error:  # scipy raises many kinds for a damaged file
        is_hdf5 = not isinstance(error, OSError) and h5py.is_hdf5(path)
        found = "MATLAB version 7.3 or other HDF5" if is_hdf5 else f"unreadable ({error})"
        raise InputError(
            path,
            "file",
            found,
            "a whole MATLAB file of version 7 or older; in MATLAB, save with the option '-v7'",
        ) from None
    for key in required:
        if key not in content:
            raise InputError(path, key, "nothing there", f"all of {', '.join(required)}")
    for key in required + optional:
        value = content.get(key, np.empty(0))
        if key != "allclasses_names" and not (isinstance(value, np.ndarray) and value.dtype.kind in "fiu"):
            raise InputError(
                path,
                key,
                value.dtype if isinstance(value, np.ndarray) else type(value).__name__,
                "an array of numbers",
            )
    return content
