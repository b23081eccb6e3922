"""Generating features of classes from their attributes, and the file that holds them.

`synthetic.h5` has the original code's layout: `train/{X, Y, A/continuous}` with Y 1-based, and `info/*`.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from cwgan.data import hdf5
from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import WINDOW, Matrix, in_chunks, is_large
from cwgan.data.stored import read_matrix
from cwgan.data.xlsa17 import to_zero_based
from cwgan.errors import InputError
from cwgan.files import create_hdf5, dataset_of, open_hdf5, written_whole
from cwgan.gan.networks import Generator
from cwgan.gan.shapes import AllFeatures, Chunks, ClassAttributes, RowLabels, Rows

CHUNK = 1024  # rows generated at a time; fixed, as the last digits of the products might depend on it
Maker = Callable[[torch.Generator], Tensor]
Part = tuple[Tensor, Maker]  # labels, and what makes their rows from what it draws


def synthetic_labels(domain: str, counts: list[int], dataset: GzslDataset) -> RowLabels:
    """Return the label of every row to make, class by class; "all" has two counts, unseen classes first."""
    seen, unseen = dataset.seen_classes, dataset.unseen_classes
    sides = {"unseen": [unseen], "seen": [seen], "all": [unseen, seen]}[domain]
    return torch.cat([side.repeat_interleave(count) for side, count in zip(sides, counts, strict=True)])


def plan_rows(generator: Generator, attributes: ClassAttributes, labels: RowLabels) -> list[Part]:
    """Return what makes one row of features per label, at most `CHUNK` rows at a time, in their order.

    What attributes add to the hidden layer is computed once per class, and the layer is built in place;
    memory does not depend on the number of rows. Noise is drawn on the CPU.
    """
    device = generator.hidden_bias.device
    classes, position = labels.unique(return_inverse=True)
    with torch.no_grad():
        attribute_parts = generator.attribute_part(attributes[classes].to(device))
    hidden = torch.empty(min(CHUNK, len(labels)), attribute_parts.shape[1], device=device)

    @torch.no_grad()
    def make(rows: RowLabels, rng: torch.Generator) -> AllFeatures:
        noise = torch.randn(len(rows), generator.noise_size, generator=rng).to(device)
        parts = torch.index_select(attribute_parts, 0, rows.to(device), out=hidden[: len(rows)])
        return generator.from_attribute_part_(parts, noise).cpu()

    pairs = zip(labels.split(CHUNK), position.split(CHUNK), strict=True)
    return [(part, partial(make, rows)) for part, rows in pairs]


def synthesize(
    generator: Generator, attributes: ClassAttributes, labels: RowLabels, rng: torch.Generator
) -> Chunks:
    """Generate one row of features per label, chunk by chunk; see `plan_rows`."""
    return (make(rng) for _, make in plan_rows(generator, attributes, labels))


@dataclass(frozen=True)
class Recipe:
    """Rows that can be made at any time, always the same: by `parts`, one after the other, from a seed.

    `states` are those of the source of randomness before each part, as far as parts have been made.
    """

    parts: Sequence[Part]
    seed: int
    states: list[Tensor] = field(default_factory=list)

    @cached_property
    def labels(self) -> RowLabels:
        """The labels of all rows, in the order in which they are made."""
        return torch.cat([labels for labels, _ in self.parts])

    def make(self) -> Chunks:
        """Make all rows, chunk by chunk."""
        rng = torch.Generator().manual_seed(self.seed)
        for place, (_, make) in enumerate(self.parts):
            if place == len(self.states):
                self.states.append(rng.get_state())
            yield make(rng)


class MadeRows:
    """A matrix of rows that are made when they are read, as a recipe says, and not kept for long."""

    def __init__(self, recipe: Recipe, feature_size: int) -> None:
        sizes = torch.tensor([0, *(len(labels) for labels, _ in recipe.parts)])
        self.shape = torch.Size((int(sizes.sum()), feature_size))
        self._starts = sizes.cumsum(0)
        if len(recipe.states) < len(recipe.parts):
            deque(recipe.make(), maxlen=0)

        @lru_cache(maxsize=WINDOW // CHUNK + 2)
        def make_part(place: int) -> AllFeatures:
            rng = torch.Generator()
            rng.set_state(recipe.states[place])
            return recipe.parts[place][1](rng)

        self._make_part = make_part

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: RowLabels) -> AllFeatures:
        found, homes = torch.empty(len(rows), self.shape[1]), self.number_blocks(rows)
        for place in homes.unique().tolist():
            here = homes == place
            found[here] = self._make_part(place)[rows[here] - self._starts[place]]
        return found

    def number_blocks(self, rows: RowLabels) -> RowLabels:
        """Return for each row the number of the part that makes it."""
        return torch.searchsorted(self._starts, rows, right=True) - 1


def hold(recipe: Recipe, feature_size: int) -> Matrix:
    """Return the rows of a recipe: in memory, or made again when they are read where they are many."""
    if is_large(len(recipe.labels), feature_size):
        return MadeRows(recipe, feature_size)
    rows, start = torch.empty(len(recipe.labels), feature_size), 0
    for chunk in recipe.make():
        rows[start : start + len(chunk)] = chunk
        start += len(chunk)
    return rows


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

    def find_features(self) -> Matrix:
        """Return all rows, which stay in the file."""
        with open_hdf5(self.path) as file:
            return read_matrix([file["train/X"]], [self.rows], self.path, "either")

    def read_labels(self, class_count: int) -> RowLabels:
        """Return the class of every row; InputError for one beyond `class_count`."""
        with open_hdf5(self.path) as file:
            return torch.from_numpy(to_zero_based(file["train/Y"][:], self.path, "train/Y", class_count))


def write_synthetic(
    path: Path, dataset: GzslDataset, labels: RowLabels, chunks: Chunks, info: dict[str, str], real_rows: Rows
) -> None:
    """Write features as they are made, with plain facts, `info`; the file appears whole or not at all.

    The `real_rows` of the data set, which may be none, come before the synthetic rows, `labels` and `chunks`.
    If there are any, the file is a data set: it holds all other splits as well, and knn.h5 appears beside it.
    Features and attributes are written in the units of the data set's files.
    """
    if len(real_rows):
        with written_whole(path.with_name(hdf5.CLASSES_FILE)) as temporary:
            hdf5.write_classes(temporary, dataset)
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
            attributes[start:stop] = dataset.file_attributes[all_labels[start:stop]].numpy()
            start = stop
        for key, value in info.items():
            file[f"info/{key}"] = value
        if len(real_rows):
            hdf5.write_rows(file, dataset, [split for split in hdf5.GROUPS if split != "trainval"])


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


def read_synthetic(source: SyntheticFile, class_count: int) -> tuple[Matrix, RowLabels]:
    """Return features, which stay in the file, and labels; InputError if any is no use."""
    features, labels = source.find_features(), source.read_labels(class_count)
    for _, rows in in_chunks(features, torch.arange(len(features))):
        if not torch.isfinite(rows.sum(dtype=torch.float64)):
            raise InputError(source.path, "train/X", "NaN or infinity", "finite numbers")
    return features, labels
