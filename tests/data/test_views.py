"""Views of a data set: other divisions of the classes, the validation protocol, and rows held out."""

from pathlib import Path

import pytest
import torch
from make_data import (
    SEEN,
    UNSEEN,
    VALIDATION,
    assert_same_data,
    rows,
    tiny_dataset,
)

from cwgan.data.dataset import GzslDataset
from cwgan.data.new_classes import add_new_classes
from cwgan.data.views import hold_out, make_validation_view, redivide
from cwgan.errors import InputError

EMPTY = torch.empty(0, dtype=torch.int64)
TINY = tiny_dataset()


# Other divisions


def test_another_division_draws_as_many_unseen_classes_from_all_and_holds_out_rows_of_the_others() -> None:
    drawn = [redivide(TINY, draw, 0.2) for draw in range(1, 9)]
    assert {len(each.unseen_classes) for each in drawn} == {len(TINY.unseen_classes)}
    assert len({tuple(each.unseen_classes.tolist()) for each in drawn}) > 1
    for each in drawn:
        assert torch.equal(each.labels[each.test_unseen].unique(), each.unseen_classes)
        assert torch.equal(each.labels[each.test_seen].unique(), each.seen_classes)
        used = torch.cat([each.trainval, each.test_seen, each.test_unseen])
        before = torch.cat([TINY.trainval, TINY.test_seen, TINY.test_unseen])
        assert torch.equal(used.sort().values, before.sort().values)
    assert drawn[0].split_hash == redivide(TINY, 1, 0.2).split_hash != drawn[1].split_hash


def test_a_division_leaves_two_seen_classes_at_least() -> None:
    assert len(redivide(TINY, 1, 0.2, TINY.class_count - 2).seen_classes) == 2
    with pytest.raises(InputError, match=r"data\.division"):
        redivide(TINY, 1, 0.2, TINY.class_count - 1)


def test_classes_that_were_added_to_the_files_change_no_division(tmp_path: Path) -> None:
    line = ",".join(["new", *["1"] * TINY.attribute_size])
    (tmp_path / "new.csv").write_text(line)
    more = add_new_classes(TINY, str(tmp_path / "new.csv"))
    assert torch.equal(redivide(more, 1, 0.2).trainval, redivide(TINY, 1, 0.2).trainval)


# The validation view

HALF = 0.5


def test_validation_classes_take_the_place_of_unseen_ones() -> None:
    view = make_validation_view(TINY, HALF, 0)
    assert view.class_names == ("ant", "bee", "cat", "dog")
    assert [view.class_names[label] for label in view.unseen_classes] == ["dog"]
    assert [view.class_names[label] for label in view.seen_classes] == ["ant", "bee", "cat"]
    assert torch.equal(view.features[view.test_unseen], TINY.features[TINY.val])
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
        tiny_dataset(features=TINY.features.index_fill(0, test_rows, 99.0), **changes), HALF, 3
    )
    assert torch.equal(ours.features[:], theirs.features[:])
    assert_same_data(ours, theirs)


def test_training_held_out_and_validation_rows_are_those_of_trainval_each_once() -> None:
    view = make_validation_view(TINY, HALF, 0)
    everything = {row.numpy().tobytes() for row in view.features[:]}
    assert everything == {row.numpy().tobytes() for row in TINY.features[TINY.trainval]}
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
