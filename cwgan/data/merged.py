"""What a merged file, of real and synthetic rows, says of itself: ours, or that of the original."""

import re
from pathlib import Path

import h5py

from cwgan.errors import InputError
from cwgan.files import dataset_of, open_hdf5

SIDES = {"unseen": "zsl", "seen": "openval", "openset": "openset"}
"""The original's domains of synthetic rows, and the groups of `knn.h5` with their classes."""


def read_name(path: Path) -> str:
    """Return what a file of rows says that its data set is called; its folder's name if it says nothing."""
    with open_hdf5(path) as file:
        keys = [key for key in ("info/dataset", "name") if key in file]
        return str(dataset_of(file, keys[0], 0, "text").asstr()[()]) if keys else path.parent.name


def count_synthetic(file: h5py.File, classes_path: Path, rows: int) -> int:
    """Return how many of the last rows of train are synthetic, as `info` of a merged file says; else 0.

    The original code writes its lists, "['unseen', 'seen']" and "[1200, 300]"; this program one word.
    """
    if "info/num_features" not in file:
        return 0
    texts = (dataset_of(file, f"info/{name}", 0, "text").asstr()[()] for name in ("domain", "num_features"))
    domain, numbers = next(texts).replace("all", "unseen seen"), re.findall(r"\d{1,9}", next(texts))
    groups = [SIDES[word] for word in re.findall("|".join(SIDES), domain)]
    with open_hdf5(classes_path) as classes:
        sizes = [dataset_of(classes, f"{group}/ids", 1).shape[0] for group in groups]
    if len(numbers) != len(sizes):
        found = f"{len(numbers)} numbers for {len(sizes)} domains"
        raise InputError(file.filename, "info/num_features", found, "a number for each domain")
    count = sum(int(number) * size for number, size in zip(numbers, sizes, strict=True))
    if count >= rows:
        allowed = f"fewer than the {rows} rows of train/X: a file with real rows, as of generate.merge=true"
        raise InputError(file.filename, "info/num_features", f"{count} synthetic rows", allowed)
    return count
