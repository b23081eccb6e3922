"""The data set: what it refuses, and what its digests stand for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from make_data import (
    CLASS_NAMES,
    FEATURES,
    SEEN,
    UNSEEN,
    VALIDATION,
    rows,
    tiny_dataset,
    write_xlsa17,
    xlsa17_arrays,
)

from cwgan.data.dataset import SPLITS, binarize
from cwgan.data.hdf5 import load_hdf5, save_hdf5
from cwgan.data.xlsa17 import load_xlsa17
from cwgan.errors import InputError

EMPTY = torch.empty(0, dtype=torch.int64)


def changed(tensor: torch.Tensor, place: Any, value: float) -> torch.Tensor:
    """Return a copy with another value at one place."""
    copy = tensor.clone()
    copy[place] = value
    return copy


TINY = tiny_dataset()
FEATURE, LABEL, ATTRIBUTE = TINY.features, TINY.labels, TINY.attributes


# What it says of itself


def test_sizes_and_classes_come_from_the_tensors() -> None:
    assert (TINY.feature_size, TINY.attribute_size, TINY.class_count) == (5, 3, 6)
    assert TINY.seen_classes.tolist() == list(SEEN)
    assert TINY.unseen_classes.tolist() == list(UNSEEN)


def test_the_summary_counts_classes_and_rows() -> None:
    assert TINY.summarize() == (
        "tiny: 4 seen + 2 unseen classes, 5 features, 3 attributes, "
        "12 training, 8 seen and 10 unseen test rows"
    )


# What it refuses


@pytest.mark.parametrize(
    ("changes", "field", "found", "allowed"),
    [
        ({"features": torch.empty(30, 0)}, "features, attributes", "no columns", "at least one"),
        ({"attributes": torch.empty(6, 0)}, "features, attributes", "no columns", "at least one"),
        ({"attributes": torch.zeros(6, 3)}, "attributes", "the same for all classes", "different ones"),
        ({"class_names": CLASS_NAMES[:5]}, "class names", "5 names", "6, one per row of attributes"),
        ({"class_names": ("ant",) * 6}, "class names", "'ant', 6 times", "each once"),
        ({"class_names": ("", *CLASS_NAMES[1:])}, "class names", "''", "printable"),
        ({"class_names": ("a\0b", *CLASS_NAMES[1:])}, "class names", r"'a\x00b'", "printable"),
        (
            {"features": changed(FEATURE, (4, 1), torch.nan)},
            "features",
            "1 rows, first row 5",
            "finite numbers",
        ),
        (
            {"features": changed(FEATURE, slice(3, 6), -torch.inf)},
            "features",
            "3 rows, first row 4",
            "finite numbers",
        ),
        (
            {"attributes": changed(ATTRIBUTE, (5, 0), torch.inf)},
            "attributes",
            "1 rows, first row 6",
            "finite numbers",
        ),
        ({"labels": changed(LABEL, 2, 6)}, "labels", "class 7", "1 to 6, the classes that have attributes"),
        ({"labels": changed(LABEL, 2, -1)}, "labels", "class 0", "1 to 6, the classes that have attributes"),
        ({"labels": changed(LABEL, 2, 2**62)}, "labels", f"class {2**62 + 1}", "1 to 6"),
        ({"trainval": EMPTY, "train": EMPTY, "val": EMPTY}, "trainval", "no rows", "at least one row"),
        (
            {"trainval": rows((*SEEN, *UNSEEN)), "test_seen": EMPTY, "test_unseen": EMPTY},
            "trainval",
            "rows of all 6 classes",
            "a class without any, which is unseen",
        ),
        ({"test_unseen": torch.tensor([4, 30])}, "test_unseen", "rows 5 to 31", "rows 1 to 30"),
        ({"test_unseen": torch.tensor([-1, 4])}, "test_unseen", "rows 0 to 5", "rows 1 to 30"),
        ({"test_seen": torch.tensor([18, 18])}, "test_seen", "2 rows, of which 1 different", "each row once"),
        ({"train": rows((0, 1, 2), 0, 4)}, "train", "rows that are not in trainval", "rows of trainval"),
        ({"val": rows(VALIDATION, 0, 4)}, "val", "rows that are not in trainval", "rows of trainval"),
        ({"train": EMPTY}, "train, val", "0 and 3 rows", "in both, or in neither"),
        ({"val": EMPTY}, "train, val", "9 and 0 rows", "in both, or in neither"),
        (
            {"train": rows(SEEN, 0, 3)},
            "splits",
            "1 validation classes with rows in train: dog",
            "disjoint classes",
        ),
        (
            {"test_unseen": rows((*UNSEEN, 0), 4, 5)},
            "splits",
            "1 unseen test classes with training rows: ant",
            "disjoint classes",
        ),
        (
            {"test_seen": rows((0, 4), 3, 4), "test_unseen": rows((5,))},
            "test_seen",
            "class elk without training rows",
            "seen classes",
        ),
        ({"test_seen": rows(SEEN, 2, 5)}, "test_seen", "also in trainval", "disjoint rows"),
    ],
)
def test_what_makes_no_sense_is_refused(
    changes: dict[str, Any], field: str, found: str, allowed: str
) -> None:
    with pytest.raises(InputError) as caught:
        tiny_dataset(**changes)
    message = str(caught.value)
    assert message.startswith(f"made in a test: {field}: found ")
    assert found in message.split("; allowed: ", maxsplit=1)[0]
    assert allowed in message.split("; allowed: ")[1]


def test_finite_features_whose_sum_overflows_are_accepted() -> None:
    assert torch.isinf(torch.full((30, 5), 3e38).sum())
    assert tiny_dataset(features=torch.full((30, 5), 3e38)).feature_size == FEATURES


# Digests


@pytest.mark.parametrize(
    "changes",
    [
        {"features": changed(FEATURE, (0, 0), 9.0)},
        {"features": changed(FEATURE, (29, 4), 9.0)},
        {"labels": changed(LABEL, 18, 1)},
        {"attributes": changed(ATTRIBUTE, (5, 2), 9.0)},
        {"trainval": rows(SEEN, 0, 3)[:-1], "val": rows(VALIDATION, 0, 2)},
        {"train": rows((0, 1, 2), 0, 2)},
        {"val": rows(VALIDATION, 1, 3)},
        {"train": EMPTY, "val": EMPTY},
        {"test_seen": rows(SEEN, 3, 4)},
        {"test_unseen": rows(UNSEEN, 1, 5)},
    ],
    ids=[
        "first feature",
        "last feature",
        "label",
        "attribute",
        "trainval",
        "train",
        "val",
        "no val",
        "test_seen",
        "test_unseen",
    ],
)
def test_the_digest_changes_with_every_feature_label_attribute_and_split(changes: dict[str, Any]) -> None:
    assert tiny_dataset(**changes).digest != TINY.digest


def test_the_digest_is_sixteen_hex_digits_and_the_same_each_time() -> None:
    for text in (TINY.digest, TINY.split_hash):
        assert len(text) == 16
        assert set(text) <= set("0123456789abcdef")
    assert (tiny_dataset().digest, tiny_dataset().split_hash) == (TINY.digest, TINY.split_hash)


def test_two_splits_of_the_same_rows_have_different_hashes() -> None:
    swapped = tiny_dataset(
        trainval=rows(SEEN, 2, 5),
        train=rows((0, 1, 2), 2, 5),
        val=rows(VALIDATION, 2, 5),
        test_seen=rows(SEEN, 0, 2),
    )
    other_validation = tiny_dataset(train=rows((1, 2, 3), 0, 3), val=rows((0,), 0, 3))
    assert len({TINY.split_hash, swapped.split_hash, other_validation.split_hash}) == 3


def test_the_split_hash_does_not_depend_on_the_attributes() -> None:
    other = tiny_dataset(attributes=binarize(ATTRIBUTE))
    assert other.split_hash == TINY.split_hash
    assert other.digest != TINY.digest


def test_digests_do_not_depend_on_the_order_of_rows_or_their_place_in_memory() -> None:
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    shuffled = tiny_dataset(
        features=FEATURE[order],
        labels=LABEL[order],
        **{split: place[getattr(TINY, split)].flip(0) for split in SPLITS},
    )
    by_column = tiny_dataset(features=FEATURE.T.contiguous().T)
    for same in (shuffled, by_column):
        assert (same.digest, same.split_hash) == (TINY.digest, TINY.split_hash)


def test_digests_do_not_depend_on_the_layout_of_the_files(tmp_path: Path) -> None:
    by_row = write_xlsa17(tmp_path / "by_row", features=xlsa17_arrays()["features"].T, compressed=False)
    save_hdf5(TINY, tmp_path / "pair")
    for loaded in (
        load_xlsa17(write_xlsa17(tmp_path / "mat"), "a"),
        load_xlsa17(by_row, "b"),
        load_hdf5(tmp_path / "pair", "c"),
    ):
        assert (loaded.digest, loaded.split_hash) == (TINY.digest, TINY.split_hash)


# binarize


def test_binary_attributes_are_one_from_the_overall_mean_on() -> None:
    table = torch.tensor([[0.0, 4.0], [1.0, 1.5], [2.0, 0.5]])
    assert binarize(table).tolist() == [[0, 1], [0, 1], [1, 0]]


@pytest.mark.parametrize("move", [lambda table: 3 * table, lambda table: table - 7])
def test_binary_attributes_do_not_depend_on_scale_and_offset(
    move: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    assert torch.equal(binarize(move(ATTRIBUTE)), binarize(ATTRIBUTE))
