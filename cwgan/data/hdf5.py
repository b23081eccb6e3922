"""Read and write the original code's HDF5 pair: `data.h5` (rows by split) and `knn.h5` (classes by domain).

`data.h5` holds `{train, train_val, val, test/seen, test/unseen}/{X, Y, y, A/continuous, A/binary}` with train =
trainval rows, train_val = train rows, Y 1-based and y 0-based; `knn.h5` holds `{openset, openval, zsl}/{data, ids,
ys, labels, knn2id, id2knn, id2class}` for all, seen and unseen classes. Source: the data preparation of Felix et al.
2018 (github.com/rfelixmg/frwgan-eccv18, notebooks/dataset).
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset, binarize
from cwgan.data.xlsa17 import float32_tensor, load_attributes, zero_based
from cwgan.errors import InputError
from cwgan.files import dataset_of, fingerprint, open_hdf5, written_whole

ROWS_FILE, CLASSES_FILE = "data.h5", "knn.h5"
GROUPS = {
    "trainval": "train",
    "test_seen": "test/seen",
    "test_unseen": "test/unseen",
    "train": "train_val",
    "val": "val",
}
CHUNK = 1024
"""Rows copied at a time."""


def load_hdf5(
    folder: Path, name: str, attributes: Path | None = None, conceal_test: bool = False
) -> GzslDataset:
    """Read a pair; rows of `train_val` and `val` are found again among those of `train`, and dropped where they are not.

    Classes are ordered by id.

    Args:
        folder: holds the two files.
        name: of the data set.
        attributes: as in `cwgan.data.xlsa17.load_xlsa17`.
        conceal_test: do not look at the features of test rows.

    Raises:
        InputError: a file or dataset is missing, of the wrong shape, or holds what cannot be.
    """
    with open_hdf5(folder / CLASSES_FILE) as file:
        ids = zero_based(dataset_of(file, "openset/ids", 1)[:], folder / CLASSES_FILE, "openset/ids")
        table = dataset_of(file, "openset/data", 2)[:]
        names = dataset_of(file, "openset/labels", 1, "text").asstr("utf-8")[:].tolist()
        if not len(ids) == len(table) == len(names) == len(set(ids.tolist())):
            found = f"{len(set(ids.tolist()))} different ids, {len(table)} rows of data, {len(names)} labels"
            raise InputError(folder / CLASSES_FILE, "openset", found, "as many of each")
    order = np.argsort(ids)
    table, names = table[order], [names[row] for row in order]
    if attributes is not None:
        table = load_attributes(attributes, names, len(ids))
    position = {number: row for row, number in enumerate(ids[order].tolist())}

    index: dict[str, Int64[Tensor, " rows"]] = {}
    with open_hdf5(folder / ROWS_FILE) as file:
        stored = {
            split: dataset_of(file, f"{GROUPS[split]}/X", 2)
            for split in ("trainval", "test_seen", "test_unseen")
        }
        width = stored["trainval"].shape[1]
        features = np.empty((sum(len(rows) for rows in stored.values()), width), dtype=np.float32)
        labels, start = np.empty(len(features), dtype=np.int64), 0
        for split, rows in stored.items():
            _check_width(rows, width)
            stop = start + len(rows)
            if len(rows):
                rows.read_direct(features[start:stop])
            labels[start:stop] = _labels(file, GROUPS[split], len(rows), position)
            index[split] = torch.arange(start, stop)
            start = stop
        home = defaultdict(list)
        for row in index["trainval"].tolist():
            home[fingerprint(features[row]), int(labels[row])].append(row)
        for split in ("train", "val"):
            again = [
                home[key].pop() for key in _row_keys(file, GROUPS[split], width, position) if home.get(key)
            ]
            index[split] = torch.tensor(again, dtype=torch.int64)
    if 0 in (len(index["train"]), len(index["val"])):
        index["train"] = index["val"] = torch.empty(0, dtype=torch.int64)
    return GzslDataset(
        name=name,
        source=str(folder),
        features=torch.from_numpy(features),
        labels=torch.from_numpy(labels),
        attributes=float32_tensor(table),
        class_names=tuple(names),
        **index,
        test_concealed=conceal_test,
    )


def save_hdf5(dataset: GzslDataset, folder: Path) -> None:
    """Write a pair into a folder; both files appear once both are whole, or neither."""
    binary = binarize(dataset.attributes)
    with written_whole(folder / ROWS_FILE) as rows_path, written_whole(folder / CLASSES_FILE) as classes_path:
        with h5py.File(classes_path, "w") as file:
            everything = torch.arange(dataset.class_count)
            for domain, classes in (
                ("openset", everything),
                ("openval", dataset.seen_classes),
                ("zsl", dataset.unseen_classes),
            ):
                _write_classes(file.create_group(domain), dataset, classes)
        with h5py.File(rows_path, "w") as file:
            file["name"] = dataset.name
            for split, key in GROUPS.items():
                if len(getattr(dataset, split)):
                    _write_rows(file.create_group(key), dataset, getattr(dataset, split), binary)


def _write_rows(
    group: h5py.Group,
    dataset: GzslDataset,
    index: Int64[Tensor, " chosen"],
    binary: Float32[Tensor, "classes attributes"],
) -> None:
    labels = dataset.labels[index]
    group["Y"], group["y"] = labels.numpy() + 1, labels.numpy()
    for target, source, rows in (
        ("X", dataset.features, index),
        ("A/continuous", dataset.attributes, labels),
        ("A/binary", binary, labels),
    ):
        out = group.create_dataset(target, (len(rows), source.shape[1]), np.float32)
        for start in range(0, len(rows), CHUNK):
            out[start : start + CHUNK] = source[rows[start : start + CHUNK]].numpy()


def _write_classes(group: h5py.Group, dataset: GzslDataset, classes: Int64[Tensor, " classes"]) -> None:
    names = [dataset.class_names[label] for label in classes.tolist()]
    group["data"] = dataset.attributes[classes].numpy()
    group["ids"], group["ys"] = classes.numpy() + 1, classes.numpy()
    group["labels"] = np.array([name.encode() for name in names])
    for row, label in enumerate(classes.tolist()):
        group[f"knn2id/{row}"] = label + 1
        group[f"id2knn/{label + 1}"] = row
        group[f"id2class/{label + 1}"] = names[row]


def _check_width(stored: h5py.Dataset, width: int) -> None:
    if stored.shape[1] != width:
        raise InputError(
            stored.file.filename,
            stored.name.strip("/"),
            f"{stored.shape[1]} columns",
            f"{width}, as in train/X",
        )


def _labels(file: h5py.File, group: str, rows: int, position: dict[int, int]) -> np.ndarray:
    ids = zero_based(dataset_of(file, f"{group}/Y", 1)[:], Path(file.filename), f"{group}/Y")
    if len(ids) != rows:
        raise InputError(file.filename, f"{group}/Y", f"{len(ids)} labels", f"{rows}, one per row of X")
    strange = sorted(set(ids.tolist()) - set(position))
    if strange:
        raise InputError(
            file.filename,
            f"{group}/Y",
            f"class {strange[0] + 1}",
            f"the {len(position)} ids of openset in {CLASSES_FILE}",
        )
    return np.array([position[number] for number in ids.tolist()], dtype=np.int64)


def _row_keys(
    file: h5py.File, group: str, width: int, position: dict[int, int]
) -> Iterator[tuple[bytes, int]]:
    """Yield fingerprint and label of every row of an optional split, reading `CHUNK` rows at a time."""
    if group not in file:
        return
    stored = dataset_of(file, f"{group}/X", 2)
    _check_width(stored, width)
    labels = _labels(file, group, len(stored), position).tolist()
    for start in range(0, len(stored), CHUNK):
        # HDF5 converts, as it does for the rows these are compared with.
        for row, label in zip(
            stored.astype(np.float32)[start : start + CHUNK], labels[start : start + CHUNK], strict=True
        ):
            yield fingerprint(row), label
