"""Rows of features and a description of every class become a data set in the HDF5 layout."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from cwgan.command_line import Arguments
from cwgan.config import DescribeConfig
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.views import hold_out
from cwgan.errors import InputError, first_line
from cwgan.files import dataset_of, open_hdf5, write_text
from cwgan.images.listing import FEATURES_FILE, check_spelling, plain
from cwgan.layers import TextLoader

SPLITS_FILE, TEXT = "splits.yaml", "text"
LAYOUT = "a CSV file: a class, then its attributes under their names; or a YAML file of class: text"
WORDS = {"yes": "1", "true": "1", "no": "0", "false": "0"}
MISSING = ("", "?", "na", "n/a", "nan", "none", "-")


def describe(arguments: Arguments, scratch: Path) -> None:
    """Write data.h5, knn.h5 and splits.yaml beside features.h5; classes without images are unseen.

    InputError for a class of images that has no description, and for descriptions or splits that are bad.
    """
    given, options = arguments.references, arguments.config.describe
    out, source = Path(given["out"]).resolve(), Path(given["descriptions"]).resolve()
    with open_hdf5(out / FEATURES_FILE) as file:
        features = torch.from_numpy(dataset_of(file, "X", 2)[:])
        columns = (dataset_of(file, key, 1, "text") for key in ("files", "classes"))
        files, owners = (column.asstr("utf-8")[:].tolist() for column in columns)
        backbone = dataset_of(file, "backbone", 0, "text").asstr()[()]
    table = read_descriptions(source)
    names = table.index.tolist()
    for name in sorted(set(owners) - set(names)):
        same = [other for other in names if plain(other) == plain(name)]
        near = ", ".join(same or difflib.get_close_matches(name, names)) or "none"
        allowed = f"a description of this class, which has images in {out / FEATURES_FILE}"
        raise InputError(source, f"class {name!r}", f"nothing; nearest: {near}", allowed)
    attributes = make_attributes(table, source, options.encoder)
    place = {name: number for number, name in enumerate(names)}
    labels = torch.tensor([place[name] for name in owners])
    splits = Path(given["splits"]).resolve() if "splits" in given else None
    index = _divide(names, files, labels, options, splits)
    tensors = features, labels, attributes, tuple(names)
    dataset = GzslDataset(out.name, str(out), *tensors, **index, backbone=backbone)  # type: ignore[arg-type]
    save_hdf5(dataset, out)
    chosen = {
        "seed": options.seed,
        "unseen": [names[label] for label in dataset.unseen_classes.tolist()],
        "validation": [names[label] for label in labels[index["val"]].unique().tolist()],
        "test": [files[row] for row in index["test_seen"].tolist()],
    }
    write_text(out / SPLITS_FILE, yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True))
    print(dataset.summarize())
    print(f"wrote data.h5, knn.h5 and {SPLITS_FILE} in {out}")


def read_descriptions(path: Path) -> pd.DataFrame:
    """Return a table of texts: a row per class, a column per attribute; the column `text` holds sentences."""
    try:
        if path.suffix == ".csv":
            whole = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, skipinitialspace=True)
            table = whole.iloc[1:].set_index(0).set_axis(whole.iloc[0, 1:].tolist(), axis=1)
        else:
            loaded = yaml.load(path.read_text(encoding="utf-8"), TextLoader)
            if not isinstance(loaded, dict):
                raise ValueError("no classes by name")
            entries = {
                name: {TEXT: entry} if isinstance(entry, str) else entry for name, entry in loaded.items()
            }
            table = pd.DataFrame.from_dict(entries, orient="index", dtype=str).fillna("")
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        found = f"unreadable ({first_line(error)})"
        raise InputError(path, "file", found, LAYOUT) from None
    table.index = table.index.astype(str).str.strip()
    table.columns = table.columns.astype(str).str.strip()
    if table.empty:
        raise InputError(path, "file", f"{len(table)} classes, {len(table.columns)} columns", LAYOUT)
    for name in table.columns[table.columns.duplicated()]:
        raise InputError(path, f"attribute {name!r}", "two columns", "one")
    for name in table.index[table.index.duplicated()]:
        raise InputError(path, f"class {name!r}", "two descriptions", "one")
    check_spelling(table.index, path)
    return table


def make_attributes(table: pd.DataFrame, path: Path, encoder: str) -> Tensor:
    """Return named attributes and embedded texts side by side, as far as the table has them.

    Each named attribute is brought to mean 0 and deviation 1 over all classes, as units differ. If there are
    texts too, both parts are scaled to rows of the same mean square norm, so that neither drowns the other.
    """
    parts = []
    if len(named := table.drop(columns=TEXT, errors="ignore").columns):
        numbers = _to_numbers(table[named], path)
        parts.append(
            (numbers - numbers.mean(axis=0)) / np.where(numbers.std(axis=0) > 0, numbers.std(axis=0), 1)
        )
    if TEXT in table:
        for name in table.index[table[TEXT].str.strip() == ""]:
            raise InputError(path, f"class {name!r}", "no text", "a text for every class, or for none")
        from cwgan.images.texts import embed_texts

        rows = embed_texts(table[TEXT].tolist(), encoder).astype(np.float64)
        parts.append(rows - rows.mean(axis=0))
    if len(parts) == 2:
        parts = [part / max(np.sqrt((part**2).sum(axis=1).mean()), 1e-12) for part in parts]
    return torch.from_numpy(np.hstack(parts)).float()


def _to_numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """Return numbers for numbers, yes and no; missing ones become their attribute's mean, with a warning."""
    texts = table.map(lambda text: WORDS.get(text.strip().casefold(), text.strip().casefold()))
    numbers, is_missing = texts.apply(pd.to_numeric, errors="coerce"), texts.isin(MISSING)
    numbers = numbers.astype(np.float64).where(np.isfinite(numbers.astype(np.float64)))
    for row, column in np.argwhere((numbers.isna() & ~is_missing).to_numpy()):
        field = f"class {table.index[row]!r}, {table.columns[column]}"
        raise InputError(path, field, repr(table.iat[row, column]), "a number, yes, no, or nothing")
    for name in numbers.columns[numbers.isna().all()]:
        raise InputError(path, f"attribute {name!r}", "no value", "a value for some class")
    if total := int(is_missing.to_numpy().sum()):
        where = ", ".join(f"{name} ({n})" for name, n in is_missing.sum().items() if n)
        print(f"warning: {total} missing values become the mean of their attribute: {where}")
    return numbers.fillna(numbers.mean()).to_numpy()


def _divide(
    names: Sequence[str], files: Sequence[str], labels: Tensor, options: DescribeConfig, path: Path | None
) -> dict[str, Tensor]:
    """Return the rows of every split: as a splits file names them, the rest drawn by the seed."""
    given = _read_splits(path, {"unseen": names, "validation": names, "test": files}) if path else {}
    rng, rows = torch.Generator().manual_seed(options.seed), torch.arange(len(labels))
    place = {name: number for number, name in enumerate(names)}
    unseen = torch.tensor([place[name] for name in given.get("unseen", [])], dtype=torch.int64)
    is_seen = ~torch.isin(labels, unseen)
    if "test" in given:
        is_test = torch.tensor([name in set(given["test"]) for name in files]) & is_seen
        trainval, test = rows[is_seen & ~is_test], rows[is_test]
    else:
        trainval, test = hold_out(labels, rows[is_seen], options.test, rng)
    seen = labels[trainval].unique()
    count = min(max(1, round(len(seen) * options.validation)), len(seen) - 2) if options.validation else 0
    validation = seen[torch.randperm(len(seen), generator=rng)[: max(count, 0)]]
    if "validation" in given:
        validation = torch.tensor([place[name] for name in given["validation"]], dtype=torch.int64)
    is_val = torch.isin(labels[trainval], validation)
    train, val = trainval[~is_val], trainval[is_val]
    if len(val) == 0:
        train = val
    return {
        "trainval": trainval, "train": train, "val": val, "test_seen": test, "test_unseen": rows[~is_seen]
    }  # fmt: skip


def _read_splits(path: Path, known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    allowed = f"lists of names under {', '.join(known)}, as in the {SPLITS_FILE} that describe writes"
    try:
        given = yaml.load(path.read_text(encoding="utf-8"), TextLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(path, "file", f"unreadable ({first_line(error)})", allowed) from None
    if not isinstance(given, dict) or not set(given) <= {*known, "seed"}:
        raise InputError(path, "splits", f"{given!r:.60}", allowed)
    given.pop("seed", None)
    given = {key: values if isinstance(values, list) else [values] for key, values in given.items()}
    for key, values in given.items():
        for value in values:
            if value not in known[key]:
                kind = "files" if key == "test" else "classes"
                raise InputError(path, key, repr(value), f"names of {kind}")
    for name in given.get("validation", []):
        if name in given.get("unseen", []):
            raise InputError(path, "validation", f"the unseen class {name!r}", "classes that are seen")
    return given
