"""Further classes from CSV files: a name and attributes each, and no rows."""

import csv
import dataclasses
import os
from pathlib import Path

import torch

from cwgan.data.dataset import GzslDataset
from cwgan.data.features import is_heading, read_number
from cwgan.errors import InputError

LARGEST = 1e30  # what comes near the end of float32's range is a mistake


def add_new_classes(dataset: GzslDataset, files: str) -> GzslDataset:
    """Return the data set with the classes of CSV files, if any, after its own; without rows they are unseen.

    Each line holds a class's name, then its attributes in the order of the data set's. The first line may be
    a heading, by `is_heading` of what follows its first cell. Several files are separated as the system
    separates paths. InputError for a file that cannot be read, a name that is there already, or attributes
    that do not fit.
    """
    first = dataset.class_count
    for file in filter(None, files.split(os.pathsep)):
        names, rows = _read(Path(file), dataset)
        table = torch.cat([dataset.attributes, torch.tensor(rows, dtype=torch.float64).float()])
        all_names = (*dataset.class_names, *names)
        added = torch.arange(first, len(all_names))
        dataset = dataclasses.replace(dataset, attributes=table, class_names=all_names, added=added)
    return dataset


def _read(path: Path, dataset: GzslDataset) -> tuple[list[str], list[list[float]]]:
    wanted = f"lines of a class's name and {dataset.attribute_size} attributes, separated by commas"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [(number, line) for number, line in enumerate(csv.reader(file), start=1) if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "file", f"unreadable ({error})", f"a CSV file in UTF-8, {wanted}") from None
    if lines and is_heading(lines[0][1][1:]):
        lines = lines[1:]
    if not lines:
        raise InputError(path, "file", "no class", wanted)
    names, rows, taken = [], [], set(dataset.class_names)
    for number, (name, *values) in lines:
        field = f"line {number}"
        if (stripped := name.strip()) in taken or not stripped:
            raise InputError(path, field, f"the class {stripped!r}", "a name that no other class has")
        if len(values) != dataset.attribute_size:
            found = f"{len(values)} attributes of {stripped!r}"
            raise InputError(path, field, found, f"{dataset.attribute_size}, as in {dataset.source}")
        rows.append([_to_number(value, path, field) for value in values])
        names.append(stripped)
        taken.add(stripped)
    return names, rows


def _to_number(text: str, path: Path, field: str) -> float:
    value = read_number(text)
    if value is None or not abs(value) < LARGEST:
        raise InputError(path, field, repr(text), "finite numbers as attributes")
    return value
