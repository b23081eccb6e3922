"""Read the xlsa17 layout of Xian et al. 2018 (arXiv 1707.00600): `res101.mat` and `att_splits.mat`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.data.matlab import load_matlab
from cwgan.errors import InputError

FEATURES_FILE, SPLITS_FILE = "res101.mat", "att_splits.mat"
SPLIT_KEYS = ("trainval_loc", "test_seen_loc", "test_unseen_loc", "train_loc", "val_loc")
OPTIONAL_KEYS = (*SPLIT_KEYS[1:], "att", "allclasses_names")


def load_xlsa17(
    folder: Path, name: str, attributes: Path | None = None, conceal_test: bool = False
) -> GzslDataset:
    """Read one benchmark; InputError if a file or key is missing, of the wrong shape, or impossible in value.

    Features may be stored D x N (as in the archive) or N x D. Row indices and labels are 1-based. Test rows
    in `train_loc` and `val_loc`, as the archive has them, are dropped. Both may be absent.

    `attributes` is a .npy file for `load_attributes`; `conceal_test` is that of `GzslDataset`.
    """
    features_path, splits_path = folder / FEATURES_FILE, folder / SPLITS_FILE
    matrix = load_matlab(features_path, ("features", "labels"))
    splits = load_matlab(splits_path, SPLIT_KEYS[:1], OPTIONAL_KEYS)
    labels = to_zero_based(matrix["labels"], features_path, "labels")
    features = matrix["features"]
    if features.ndim != 2 or len(labels) not in features.shape:
        allowed = f"one row or column per label, of which {len(labels)}"
        raise InputError(features_path, "features", f"shape {features.shape}", allowed)
    if features.shape[1] == len(labels):
        features = features.T

    names = _read_class_names(splits, splits_path)
    table = splits["att"].T if "att" in splits else None
    if attributes is not None:
        table = load_attributes(attributes, names, None if table is None else len(table))
    if table is None:
        allowed = "attributes x classes, or a file named by data.attributes"
        raise InputError(splits_path, "att", "nothing there", allowed)
    if table.ndim != 2:
        raise InputError(splits_path, "att", f"shape {table.T.shape}", "attributes x classes")
    if names is None:
        names = [f"class {number + 1}" for number in range(len(table))]

    index = {}
    for key in SPLIT_KEYS:
        rows = to_zero_based(splits.get(key, np.empty(0)), splits_path, key, len(labels))
        index[key.removesuffix("_loc")] = torch.from_numpy(rows)
    for split in ("train", "val"):
        index[split] = index[split][torch.isin(index[split], index["trainval"])]
    if 0 in (len(index["train"]), len(index["val"])):
        index["train"] = index["val"] = index["train"][:0]
    tensors = to_float32(features), torch.from_numpy(labels), to_float32(table)
    return GzslDataset(
        name, str(folder), *tensors, tuple(names), **index, test_concealed=conceal_test, backbone=""
    )


def load_attributes(path: Path, class_names: list[str] | None, class_count: int | None) -> np.ndarray:
    """Read a .npy table, classes x attributes; InputError if it is unreadable or does not fit the classes.

    If there is a file of the same name with the suffix .txt, it names the rows, one per line, and they are
    brought into the order of `class_names`, the data set's. There must be `class_count` of them, if known.
    """
    wanted = "a .npy file of numbers, classes x attributes"
    if not path.is_file():
        raise InputError(path, "file", "nothing there", wanted)
    try:
        # Mapped first: a declared size beyond the file's is refused before memory is asked for.
        table = np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise InputError(path, "file", f"unreadable ({error})", wanted) from None
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise InputError(path, "array", f"{table.dtype} of shape {table.shape}", wanted)
    order = path.with_suffix(".txt")
    if not order.is_file():
        if class_count not in (None, len(table)):
            raise InputError(path, "array", f"{len(table)} rows", f"{class_count}, one per class")
        return table
    if class_names is None:
        raise InputError(order, "class names", "names", "no such file, as the data set names no classes")
    try:
        lines = order.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(order, "file", f"unreadable ({error})", "one name per line, in UTF-8") from None
    given = [_simplify(line) for line in lines if line.strip()]
    needed = [_simplify(name) for name in class_names]
    if not len(given) == len(table) == len(needed) or sorted(given) != sorted(set(needed)):
        missing = [name for name in class_names if _simplify(name) not in given]
        without = f", without {', '.join(missing[:3])}" if missing else ""
        allowed = f"those of the {len(needed)} classes, one per row of the table, which has {len(table)}"
        raise InputError(order, "class names", f"{len(set(given))} different names{without}", allowed)
    return table[[given.index(name) for name in needed]]


def to_zero_based(values: np.ndarray, path: Path, field: str, limit: int = 2**53) -> np.ndarray:
    """Return 1-based whole numbers up to `limit`, of any stored type and shape, as a 0-based int64 vector."""
    flat = values.ravel().astype(np.float64)
    bad = flat[~((flat >= 1) & (flat <= limit) & (flat == np.floor(flat)))]
    if len(bad):
        allowed = "whole numbers from 1" + (f" to {limit}" if limit < 2**53 else "")
        raise InputError(path, field, f"{bad[0]:.15g}", allowed)
    return flat.astype(np.int64) - 1


def to_float32(values: np.ndarray) -> Tensor:
    """Return numbers as a float32 tensor, without a copy where they are contiguous float32 already."""
    # What float32 cannot hold becomes an infinity, which GzslDataset refuses.
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.require(values, np.float32, ["C", "W"]))


def _simplify(name: str) -> str:
    """Drop number, case and separators: '001.Black_footed_Albatross' becomes 'black footed albatross'."""
    return re.sub(r"[\W_]+", " ", re.sub(r"^\d+\.", "", name.strip())).strip().lower()


def _read_class_names(splits: dict[str, Any], path: Path) -> list[str] | None:
    if "allclasses_names" not in splits:
        return None
    names = [np.ravel(cell).tolist() for cell in np.ravel(splits["allclasses_names"])]
    for name in names:
        if len(name) != 1 or not isinstance(name[0], str):
            raise InputError(path, "allclasses_names", f"{name} as a name", "one text per class")
    return [name[0].strip() for name in names]
