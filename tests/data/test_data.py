"""The data set: what it refuses, what its digests stand for, and the view of the validation protocol."""

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
    assert_same_data,
    rows_of,
    tiny_dataset,
    write_xlsa17,
    xlsa17_arrays,
)

from cwgan.data.dataset import SPLITS, GzslDataset, binarize
from cwgan.data.hdf5 import load_hdf5, save_hdf5
from cwgan.data.views import hold_out, make_validation_view
from cwgan.data.xlsa17 import load_xlsa17
from cwgan.errors import InputError

EMPTY = torch.empty(0, dtype=torch.int64)


def rows(classes: tuple[int, ...], start: int = 0, stop: int = 5) -> torch.Tensor:
    return torch.from_numpy(rows_of(classes, start, stop))


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


# The validation view

HALF = 0.5


def test_validation_classes_take_the_place_of_unseen_ones() -> None:
    view = make_validation_view(TINY, HALF, 0)
    assert view.class_names == ("ant", "bee", "cat", "dog")
    assert [view.class_names[label] for label in view.unseen_classes] == ["dog"]
    assert [view.class_names[label] for label in view.seen_classes] == ["ant", "bee", "cat"]
    assert torch.equal(view.features[view.test_unseen], FEATURE[TINY.val])
    assert view.name == "tiny (validation)"


def test_the_label_space_holds_no_class_that_is_unseen_in_the_final_test(numbers: GzslDataset) -> None:
    view = make_validation_view(numbers, 0.2, 0)
    assert view.class_names == tuple(numbers.class_names[label] for label in numbers.seen_classes)
    assert torch.equal(view.attributes, numbers.attributes[numbers.seen_classes])


def test_rows_of_the_view_keep_their_class_and_its_attributes(numbers: GzslDataset) -> None:
    view = make_validation_view(numbers, 0.2, 0)
    names_of = {
        row.numpy().tobytes(): numbers.class_names[label]
        for row, label in zip(numbers.features, numbers.labels, strict=True)
    }
    for row, label in zip(view.features[:], view.labels, strict=True):
        name = view.class_names[label]
        assert names_of[row.numpy().tobytes()] == name
        assert torch.equal(view.attributes[label], numbers.attributes[int(name)])


@pytest.mark.parametrize("with_val", [True, False])
def test_no_value_of_a_test_row_reaches_the_view(with_val: bool) -> None:
    changes = {} if with_val else {"train": EMPTY, "val": EMPTY}
    test_rows = torch.cat([TINY.test_seen, TINY.test_unseen])
    ours = make_validation_view(tiny_dataset(**changes), HALF, 3)
    theirs = make_validation_view(
        tiny_dataset(features=FEATURE.index_fill(0, test_rows, 99.0), **changes), HALF, 3
    )
    assert torch.equal(ours.features[:], theirs.features[:])
    assert_same_data(ours, theirs)


def test_training_held_out_and_validation_rows_are_those_of_trainval_each_once() -> None:
    view = make_validation_view(TINY, HALF, 0)
    everything = {row.numpy().tobytes() for row in view.features[:]}
    assert everything == {row.numpy().tobytes() for row in FEATURE[TINY.trainval]}
    assert sorted(torch.cat([view.trainval, view.test_seen, view.test_unseen]).tolist()) == list(range(12))


def test_the_stated_share_of_each_training_class_is_held_out(numbers: GzslDataset) -> None:
    view = make_validation_view(numbers, 0.3, 0)
    for split, count in (("trainval", 35), ("test_seen", 15)):
        assert view.labels[getattr(view, split)].unique(return_counts=True)[1].tolist() == [count] * 64


def test_the_view_depends_on_its_seed_only(numbers: GzslDataset) -> None:
    first = make_validation_view(numbers, 0.2, 0)
    torch.rand(3)
    assert_same_data(make_validation_view(numbers, 0.2, 0), first)
    other = make_validation_view(numbers, 0.2, 1)
    assert other.split_hash != first.split_hash
    assert other.unseen_classes.tolist() == first.unseen_classes.tolist(), (
        "the files name the validation classes"
    )


@pytest.mark.parametrize("seed", range(5))
def test_without_validation_classes_seen_ones_are_drawn_in_the_proportion_of_unseen_to_all(
    numbers: GzslDataset, seed: int
) -> None:
    fields = {name: getattr(numbers, name) for name in GzslDataset.__dataclass_fields__}
    view = make_validation_view(GzslDataset(**(fields | {"train": EMPTY, "val": EMPTY})), 0.2, seed)
    assert len(view.unseen_classes) == round(80 * 20 / 100)
    assert len(view.seen_classes) == 64
    assert len(view.features) == len(numbers.trainval)
    assert set(view.class_names) == {numbers.class_names[label] for label in numbers.seen_classes}


def test_the_drawn_validation_classes_depend_on_the_seed() -> None:
    without = tiny_dataset(train=EMPTY, val=EMPTY)
    drawn = [make_validation_view(without, HALF, seed) for seed in range(20)]
    assert {view.class_names[int(view.unseen_classes[0])] for view in drawn} == {"ant", "bee", "cat", "dog"}
    assert_same_data(make_validation_view(without, HALF, 7), drawn[7])


def test_at_least_one_class_trains_where_nearly_all_are_unseen() -> None:
    labels = torch.arange(30) % 10
    two_of_ten = tiny_dataset(
        labels=labels,
        attributes=torch.rand(10, 3, generator=torch.Generator().manual_seed(0)),
        class_names=tuple("abcdefghij"),
        trainval=torch.tensor([0, 1, 10, 11]),
        train=EMPTY,
        val=EMPTY,
        test_seen=torch.tensor([20, 21]),
        test_unseen=torch.nonzero(labels > 1).flatten(),
    )
    assert round(2 * 8 / 10) == 2, "the proportion alone would leave no class to train on"
    for seed in range(5):
        view = make_validation_view(two_of_ten, HALF, seed)
        assert (len(view.seen_classes), len(view.unseen_classes)) == (1, 1)


def test_one_seen_class_cannot_be_divided() -> None:
    one_seen = tiny_dataset(trainval=rows((0,), 0, 3), train=EMPTY, val=EMPTY, test_seen=rows((0,), 3, 5))
    with pytest.raises(InputError, match="trainval: found one class; allowed: two or more"):
        make_validation_view(one_seen, HALF, 0)


def test_training_classes_of_one_row_each_leave_nothing_to_hold_out() -> None:
    scarce = tiny_dataset(trainval=rows(SEEN, 0, 1), train=rows((0, 1, 2), 0, 1), val=rows(VALIDATION, 0, 1))
    with pytest.raises(InputError, match="trainval: found one row a class; allowed: more"):
        make_validation_view(scarce, HALF, 0)


def test_a_class_with_attributes_and_no_training_row_is_unseen_whatever_test_rows_there_are() -> None:
    for test_unseen in (rows(UNSEEN), rows((5,)), EMPTY):
        dataset = tiny_dataset(test_unseen=test_unseen, test_seen=EMPTY)
        assert (dataset.seen_classes.tolist(), dataset.unseen_classes.tolist()) == ([*SEEN], [*UNSEEN])
        assert make_validation_view(dataset, HALF, 0).class_names == ("ant", "bee", "cat", "dog")


def test_a_fold_is_a_draw_of_its_own_of_as_many_seen_classes_as_are_unseen_of_all() -> None:
    views = [make_validation_view(tiny_dataset(), HALF, 0, fold) for fold in range(6)]
    chosen = [tuple(view.class_names[label] for label in view.unseen_classes) for view in views]
    assert chosen[0] == ("dog",), "fold 0: the files' own"
    assert {len(names) for names in chosen[1:]} == {round(4 * 2 / 6)}
    assert len(set(chosen[1:])) > 1


# hold_out

COUNTS = torch.tensor([1, 2, 3, 10, 40])
LABELS = torch.arange(5).repeat_interleave(COUNTS)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.99, 1.0])
def test_hold_out_takes_the_rounded_share_of_each_class_at_least_one_and_never_all(
    share: float, rng: torch.Generator
) -> None:
    kept, held = hold_out(LABELS, torch.arange(len(LABELS)), share, rng)
    expected = [
        0 if count == 1 else min(max(1, round(count * share)), count - 1) for count in COUNTS.tolist()
    ]
    assert LABELS[held].bincount(minlength=5).tolist() == expected
    assert LABELS[kept].bincount(minlength=5).tolist() == (COUNTS - torch.tensor(expected)).tolist()


def test_hold_out_divides_the_given_rows_and_no_others(rng: torch.Generator) -> None:
    index = torch.arange(1, len(LABELS), 2).flip(0)
    kept, held = hold_out(LABELS, index, 0.3, rng)
    assert set(kept.tolist()).isdisjoint(held.tolist())
    for part in (kept, held):
        assert part.tolist() == [row for row in index.tolist() if row in part], "in the order given"
    assert len(kept) + len(held) == len(index)


@pytest.mark.parametrize("index", [torch.tensor([9, 3, 5]), EMPTY])
def test_hold_out_of_nothing_keeps_every_row(rng: torch.Generator, index: torch.Tensor) -> None:
    kept, held = hold_out(LABELS, index, 0.0, rng)
    assert (kept.tolist(), held.tolist()) == (index.tolist(), [])


def test_hold_out_is_decided_by_its_generator() -> None:
    def draw(seed: int, index: torch.Tensor) -> list[int]:
        return hold_out(LABELS, index, 0.3, torch.Generator().manual_seed(seed))[1].tolist()

    index = torch.arange(len(LABELS))
    assert draw(0, index) == draw(0, index)
    assert draw(0, index) != draw(1, index)


def test_every_row_is_held_out_as_often_as_any_other() -> None:
    counts, draws, rng = torch.zeros(len(LABELS)), 500, torch.Generator().manual_seed(0)
    for _ in range(draws):
        counts[hold_out(LABELS, torch.arange(len(LABELS)), 0.25, rng)[1]] += 1
    of_forty = counts[LABELS == 4] / draws
    # Standard deviation of a share of 0.25 over 500 draws: 0.02.
    assert (of_forty - 0.25).abs().max() < 0.08


# binarize


def test_binary_attributes_are_one_from_the_overall_mean_on() -> None:
    table = torch.tensor([[0.0, 4.0], [1.0, 1.5], [2.0, 0.5]])
    assert binarize(table).tolist() == [[0, 1], [0, 1], [1, 0]]


@pytest.mark.parametrize("move", [lambda table: 3 * table, lambda table: table - 7])
def test_binary_attributes_do_not_depend_on_scale_and_offset(
    move: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    assert torch.equal(binarize(move(ATTRIBUTE)), binarize(ATTRIBUTE))
