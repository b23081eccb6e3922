"""Generating features of classes from their attributes, and the file that holds them.

`synthetic.h5` has the original code's layout: `train/{X, Y, A/continuous}` with Y 1-based, and `info/*`.
"""

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from cwgan.data.dataset import GzslDataset
from cwgan.data.xlsa17 import to_zero_based
from cwgan.errors import InputError
from cwgan.files import create_hdf5, dataset_of, open_hdf5, written_whole
from cwgan.gan.networks import Generator
from cwgan.gan.shapes import AllFeatures, Chunks, ClassAttributes, RowLabels, Rows

CHUNK = 1024  # rows generated at a time; fixed, as the last digits of the products might depend on it


def synthetic_labels(domain: str, counts: list[int], dataset: GzslDataset) -> RowLabels:
    """Return the label of every row to make, class by class; "all" has two counts, unseen classes first."""
    seen, unseen = dataset.seen_classes, dataset.unseen_classes
    sides = {"unseen": [unseen], "seen": [seen], "all": [unseen, seen]}[domain]
    return torch.cat([side.repeat_interleave(count) for side, count in zip(sides, counts, strict=True)])


def synthesize(
    generator: Generator, attributes: ClassAttributes, labels: RowLabels, rng: torch.Generator
) -> Chunks:
    """Generate one row of features per label, at most `CHUNK` rows at a time, in the order of the labels.

    What attributes add to the hidden layer is computed once per class, and the layer is built in place;
    memory does not depend on the number of rows. `rng` draws the noise on the CPU.
    """
    device = generator.hidden_bias.device
    classes, position = labels.unique(return_inverse=True)
    with torch.no_grad():
        attribute_parts = generator.attribute_part(attributes[classes].to(device))
    hidden = torch.empty(min(CHUNK, len(labels)), attribute_parts.shape[1], device=device)
    for rows in position.split(CHUNK):
        noise = torch.randn(len(rows), generator.noise_size, generator=rng).to(device)
        with torch.no_grad():
            parts = torch.index_select(attribute_parts, 0, rows.to(device), out=hidden[: len(rows)])
            features = generator.from_attribute_part_(parts, noise)
        yield features.cpu()


@dataclass(frozen=True)
class SyntheticFile:
    """What a synthetic file says of itself: `info` as text, the number of rows and of features."""

    path: Path
    info: dict[str, str]
    rows: int
    feature_size: int

    @property
    def is_merged(self) -> bool:
        return self.info.get("merged") == "true"

    def read_facts(self, name: str) -> dict[str, Any]:
        """Return what `info/<name>` says in JSON, nothing where it is not there; InputError if broken."""
        text = self.info.get(name, "{}")
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise InputError(self.path, f"info/{name}", repr(text[:60]), "JSON as written by this program")
        return facts

    def read_features(self, out: np.ndarray, skip: int = 0) -> None:
        """Read features into an array: as many rows as it has, after the first `skip`."""
        with open_hdf5(self.path) as file:
            file["train/X"].read_direct(out, source_sel=np.s_[skip : skip + len(out)])

    def read_class(self, label: int, limit: int) -> AllFeatures:
        """Return the first rows of a class, at most `limit` of them."""
        with open_hdf5(self.path) as file:
            rows = np.flatnonzero(file["train/Y"][:] == label + 1)[:limit]
            return torch.from_numpy(file["train/X"][rows].astype(np.float32))


def write_synthetic(
    path: Path, dataset: GzslDataset, labels: RowLabels, chunks: Chunks, info: dict[str, str], real_rows: Rows
) -> None:
    """Write features as they are made, with plain facts, `info`; the file appears whole or not at all.

    The `real_rows` of the data set, which may be none, come before the synthetic rows, `labels` and `chunks`.
    Features are written in the units of the data set's files.
    """
    all_labels, start = torch.cat([dataset.labels[real_rows], labels]), 0
    real_chunks = (dataset.features[rows] for rows in real_rows.split(CHUNK))
    with written_whole(path) as temporary, create_hdf5(temporary) as file:
        rows, attribute_size = len(all_labels), dataset.attribute_size
        features = file.create_dataset("train/X", (rows, dataset.feature_size), np.float32)
        file["train/Y"] = all_labels.numpy() + 1
        attributes = file.create_dataset("train/A/continuous", (rows, attribute_size), np.float32)
        for chunk in chain(real_chunks, chunks):
            stop = start + len(chunk)
            features[start:stop] = dataset.in_file_units(chunk).numpy()
            attributes[start:stop] = dataset.attributes[all_labels[start:stop]].numpy()
            start = stop
        for key, value in info.items():
            file[f"info/{key}"] = value


def inspect_synthetic(path: Path) -> SyntheticFile:
    """Read what a file says of itself; InputError if it is missing, damaged or of another layout."""
    with open_hdf5(path) as file:
        rows, feature_size = dataset_of(file, "train/X", 2).shape
        labels = dataset_of(file, "train/Y", 1).shape[0]
        if labels != rows or rows == 0:
            allowed = "at least one row" if rows == 0 else f"{rows}, one per row of train/X"
            raise InputError(path, "train/Y", f"{labels} labels", allowed)
        names = list(file["info"]) if isinstance(file.get("info"), h5py.Group) else []
        info = {name: dataset_of(file, f"info/{name}", 0, "text").asstr()[()] for name in names}
    return SyntheticFile(path, info, rows, feature_size)


def read_synthetic(source: SyntheticFile, features: AllFeatures, class_count: int) -> RowLabels:
    """Read the features into a matrix of their size, return the labels; InputError if any is no use."""
    source.read_features(features.numpy())
    with open_hdf5(source.path) as file:
        labels = to_zero_based(file["train/Y"][:], source.path, "train/Y", class_count)
    for part in features.split(CHUNK):  # all at once they would be copied as float64
        if not torch.isfinite(part.sum(dtype=torch.float64)):
            raise InputError(source.path, "train/X", "NaN or infinity", "finite numbers")
    return torch.from_numpy(labels)
