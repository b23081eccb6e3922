"""Read and write the original code's HDF5 pair: `data.h5` (rows by split) and `knn.h5` (classes by domain).

`data.h5` holds `{train, train_val, val, test/seen, test/unseen}/{X, Y, y, A/continuous, A/binary}`: train is
trainval, train_val is train, Y is 1-based, y 0-based. `knn.h5` holds
`{openset, openval, zsl}/{data, ids, ys, labels, knn2id, id2knn, id2class}` for all, seen and unseen classes.
Source: the data preparation of Felix et al. 2018 (github.com/rfelixmg/frwgan-eccv18, notebooks/dataset).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset, binarize
from cwgan.data.merged import count_synthetic
from cwgan.data.stored import fingerprint_rows, read_matrix
from cwgan.data.xlsa17 import load_attributes, to_float32, to_zero_based
from cwgan.errors import InputError
from cwgan.files import create_hdf5, dataset_of, fingerprint_array, open_hdf5, written_whole

ROWS_FILE, CLASSES_FILE = "data.h5", "knn.h5"
TEST_GROUPS = {"test_seen": "test/seen", "test_unseen": "test/unseen"}
GROUPS = {"trainval": "train", **TEST_GROUPS, "train": "train_val", "val": "val"}
CHUNK = 1024  # rows copied at a time


def load_hdf5(
    folder: Path, name: str, attributes: Path | None = None, conceal_test: bool = False, memory: str = "auto"
) -> GzslDataset:
    """Read a pair; classes are ordered by id, rows as stored.

    `folder` is that of both files, or the file of rows, beside which `knn.h5` lies. A merged file, which says
    in `info` how many synthetic rows end `train`, is the data set of its real rows. Rows of `train_val` and
    `val` are found again among those of `train` by content; others are dropped. Where `openset/labels` are
    missing, a class is called after its id. InputError also for classes of `zsl` with rows in `train`, and
    for attributes of rows that are not those of their class. `memory` is that of `read_matrix`, other
    arguments and errors are those of `cwgan.data.xlsa17.load_xlsa17`.
    """
    rows_path = folder / ROWS_FILE if folder.is_dir() else folder
    path = rows_path.with_name(CLASSES_FILE)
    with open_hdf5(path) as file:
        ids, table, names = _read_classes(file)
        zsl = ids[:0]
        if "zsl/ids" in file:
            zsl = to_zero_based(dataset_of(file, "zsl/ids", 1)[:], path, "zsl/ids")
    known = to_float32(table)
    if attributes is not None:
        table = load_attributes(attributes, names, len(ids))
    names = names or [f"class {number + 1}" for number in ids.tolist()]

    index = dict.fromkeys(TEST_GROUPS, torch.empty(0, dtype=torch.int64))
    with open_hdf5(rows_path) as file:
        backbone = dataset_of(file, "backbone", 0, "text").asstr()[()] if "backbone" in file else ""
        width = dataset_of(file, "train/X", 2).shape[1]
        splits = ["trainval", *(split for split, key in TEST_GROUPS.items() if key in file)]
        stored = {split: _find_features(file, GROUPS[split], width) for split in splits}
        synthetic = count_synthetic(file, path, len(stored["trainval"]))
        counts = {split: len(rows) - synthetic * (split == "trainval") for split, rows in stored.items()}
        features = read_matrix([*stored.values()], [*counts.values()], rows_path, memory)
        index |= zip(counts, torch.arange(len(features)).split([*counts.values()]), strict=True)
        read = {split: _read_labels(file, GROUPS[split], len(rows), ids) for split, rows in stored.items()}
        labels = np.concatenate([read[split][:count] for split, count in counts.items()])
        home = defaultdict(list)
        if GROUPS["train"] in file:
            rows = index["trainval"]
            known_by = zip(fingerprint_rows(features, rows), labels[rows].tolist(), strict=True)
            for key, row in zip(known_by, rows.tolist(), strict=True):
                home[key].append(row)
        for split in ("train", "val"):
            keys = _read_keys(file, GROUPS[split], width, ids)
            index[split] = torch.tensor([home[key].pop() for key in keys if home.get(key)], dtype=torch.int64)
        if 0 in (len(index["train"]), len(index["val"])):
            index["train"] = index["val"] = index["train"][:0]
        tensors = features, torch.from_numpy(labels), to_float32(table)
        dataset = GzslDataset(
            name, str(folder), *tensors, tuple(names), **index, test_concealed=conceal_test, backbone=backbone
        )
        _check_attributes(file, dataset.labels[dataset.trainval], known, synthetic)
    for strange in np.setdiff1d(zsl, ids[dataset.unseen_classes.numpy()]):
        allowed = "classes of openset that have no rows in train"
        raise InputError(path, "zsl/ids", f"class {strange + 1}", allowed)
    return dataset


def save_hdf5(dataset: GzslDataset, folder: Path) -> None:
    """Write a pair into a folder; both files appear once both are whole, or neither."""
    with written_whole(folder / ROWS_FILE) as rows_path, written_whole(folder / CLASSES_FILE) as classes_path:
        write_classes(classes_path, dataset)
        with create_hdf5(rows_path) as file:
            file["name"] = dataset.name
            write_rows(file, dataset, GROUPS)


def write_classes(path: Path, dataset: GzslDataset) -> None:
    """Write `knn.h5`."""
    seen, unseen = dataset.seen_classes, dataset.unseen_classes
    domains = {"openset": torch.arange(dataset.class_count), "openval": seen, "zsl": unseen}
    with create_hdf5(path) as file:
        for domain, classes in domains.items():
            _write_classes(file.create_group(domain), dataset, classes)


def write_rows(file: h5py.File, dataset: GzslDataset, splits: Iterable[str]) -> None:
    """Write the rows of splits that have any, in the units of the data set's files."""
    if dataset.backbone:
        file["backbone"] = dataset.backbone
    for split in splits:
        if len(getattr(dataset, split)):
            _write_rows(file.create_group(GROUPS[split]), dataset, getattr(dataset, split))


def _write_rows(group: h5py.Group, dataset: GzslDataset, index: Int64[Tensor, " chosen"]) -> None:
    labels, table = dataset.labels[index], dataset.file_attributes
    group["Y"], group["y"] = labels.numpy() + 1, labels.numpy()
    continuous, binary = ("A/continuous", table, labels), ("A/binary", binarize(table), labels)
    for key, source, rows in (("X", dataset.features, index), continuous, binary):
        out = group.create_dataset(key, (len(rows), source.shape[1]), np.float32)
        for start in range(0, len(rows), CHUNK):
            chunk = source[rows[start : start + CHUNK]]
            out[start : start + CHUNK] = (dataset.in_file_units(chunk) if key == "X" else chunk).numpy()


def _write_classes(group: h5py.Group, dataset: GzslDataset, classes: Int64[Tensor, " classes"]) -> None:
    names = [dataset.class_names[label] for label in classes.tolist()]
    group["data"] = dataset.file_attributes[classes].numpy()
    group["ids"], group["ys"] = classes.numpy() + 1, classes.numpy()
    group["labels"] = np.array([name.encode() for name in names])
    for row, label in enumerate(classes.tolist()):
        group[f"knn2id/{row}"] = label + 1
        group[f"id2knn/{label + 1}"] = row
        group[f"id2class/{label + 1}"] = names[row]


def _find_features(file: h5py.File, group: str, width: int) -> h5py.Dataset:
    stored = dataset_of(file, f"{group}/X", 2)
    if stored.shape[1] != width:
        found, allowed = f"{stored.shape[1]} columns", f"{width}, as in train/X"
        raise InputError(file.filename, f"{group}/X", found, allowed)
    return stored


def _read_labels(file: h5py.File, group: str, count: int, ids: np.ndarray) -> np.ndarray:
    """Return the place of every row's class among the ascending class ids."""
    key = f"{group}/Y"
    values = to_zero_based(dataset_of(file, key, 1)[:], Path(file.filename), key)
    if len(values) != count:
        raise InputError(file.filename, key, f"{len(values)} labels", f"{count}, one per row of X")
    for strange in np.setdiff1d(values, ids):
        allowed = f"the {len(ids)} ids of openset in {CLASSES_FILE}"
        raise InputError(file.filename, key, f"class {strange + 1}", allowed)
    return np.searchsorted(ids, values)


def _read_classes(file: h5py.File) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Return all classes' ids, ascending, with their attributes, and their names where there are any."""
    ids = to_zero_based(dataset_of(file, "openset/ids", 1)[:], Path(file.filename), "openset/ids")
    table, different = dataset_of(file, "openset/data", 2)[:], len(np.unique(ids))
    has_names = "openset/labels" in file
    names = dataset_of(file, "openset/labels", 1, "text").asstr("utf-8")[:].tolist() if has_names else None
    if not len(ids) == len(table) == different == len(ids if names is None else names):
        labels = "no labels" if names is None else f"{len(names)} labels"
        found = f"{different} different ids, {len(table)} rows of data, {labels}"
        raise InputError(file.filename, "openset", found, "as many of each")
    order = np.argsort(ids)
    return ids[order], table[order], names and [names[row] for row in order]


def _read_keys(file: h5py.File, group: str, width: int, ids: np.ndarray) -> Iterator[tuple[bytes, int]]:
    """Yield what the rows of an optional split are known by: content and label."""
    if group not in file:
        return
    stored = _find_features(file, group, width)
    labels = _read_labels(file, group, len(stored), ids).tolist()
    # HDF5 converts to float32 here, as it does for the rows that these are compared with.
    converted = stored.astype(np.float32)
    for start in range(0, len(stored), CHUNK):
        chunk = slice(start, start + CHUNK)
        yield from zip(fingerprint_array(converted[chunk]), labels[chunk], strict=True)


def _check_attributes(file: h5py.File, labels: Int64[Tensor, " real"], table: Tensor, synthetic: int) -> None:
    """Refuse attributes of real training rows, if there are any, that are not those of their classes."""
    key, shape = "train/A/continuous", (len(labels) + synthetic, table.shape[1])
    if key not in file:
        return
    stored = dataset_of(file, key, 2)
    if stored.shape != shape:
        raise InputError(
            file.filename, key, f"shape {stored.shape}", f"{shape}, those of rows and attributes"
        )
    for start in range(0, len(labels), CHUNK):
        wanted = table[labels[start : start + CHUNK]]
        found = torch.from_numpy(stored.astype(np.float32)[start : start + len(wanted)])
        is_same = torch.isclose(found, wanted, rtol=1e-4, atol=0).all(dim=1)
        for row in torch.nonzero(~is_same).flatten().tolist():
            allowed = f"those of the row's class in {CLASSES_FILE}"
            raise InputError(file.filename, key, f"other attributes in row {start + row + 1}", allowed)
