"""The built-in two-digit numbers."""

import pytest
import torch
from make_data import assert_same_data
from sklearn.datasets import load_digits

from cwgan.data.dataset import GzslDataset
from cwgan.data.numbers import load_numbers
from cwgan.files import fingerprint_array

SEEDS = [0, 1, 2, 53, 1000]


def test_eighty_classes_are_seen_and_twenty_unseen(numbers: GzslDataset) -> None:
    assert (len(numbers.seen_classes), len(numbers.unseen_classes), numbers.class_count) == (80, 20, 100)
    assert sorted(numbers.seen_classes.tolist() + numbers.unseen_classes.tolist()) == list(range(100))


def test_every_class_has_the_same_number_of_rows_in_its_splits(numbers: GzslDataset) -> None:
    for split, classes, count in (("trainval", 80, 50), ("test_seen", 80, 25), ("test_unseen", 20, 25)):
        _, counts = numbers.labels[getattr(numbers, split)].unique(return_counts=True)
        assert counts.tolist() == [count] * classes


def test_sixteen_seen_classes_validate_and_the_other_sixty_four_train(numbers: GzslDataset) -> None:
    train, val = (set(numbers.labels[index].tolist()) for index in (numbers.train, numbers.val))
    assert (len(train), len(val)) == (64, 16)
    assert train | val == set(numbers.seen_classes.tolist())
    assert sorted(torch.cat([numbers.train, numbers.val]).tolist()) == numbers.trainval.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_digit_is_in_both_places_among_seen_unseen_validation_and_remaining_classes(seed: int) -> None:
    data = load_numbers(seed)
    for classes in (
        data.seen_classes,
        data.unseen_classes,
        data.labels[data.val].unique(),
        data.labels[data.train].unique(),
    ):
        assert set((classes // 10).tolist()) == set((classes % 10).tolist()) == set(range(10))


def test_unseen_classes_hold_every_digit_twice_in_each_place(numbers: GzslDataset) -> None:
    for place in (numbers.unseen_classes // 10, numbers.unseen_classes % 10):
        assert place.bincount().tolist() == [2] * 10


def test_features_are_two_images_in_the_unit_interval(numbers: GzslDataset) -> None:
    assert numbers.feature_size == 2 * 8 * 8
    assert (numbers.features.min(), numbers.features.max()) == (0, 1)


def test_attributes_are_the_tens_and_the_units_digit_each_one_hot(numbers: GzslDataset) -> None:
    for label, row in enumerate(numbers.attributes):
        assert row.nonzero().flatten().tolist() == [label // 10, 10 + label % 10]
    assert set(numbers.attributes.unique().tolist()) == {0.0, 1.0}
    assert numbers.class_names[7] == "07"


def halves(data: GzslDataset, index: torch.Tensor) -> dict[bytes, set[int]]:
    """Return every digit image in these rows, by content, with the digits it stands for."""
    found: dict[bytes, set[int]] = {}
    for row in index.tolist():
        label = int(data.labels[row])
        images = fingerprint_array(data.features[row].reshape(2, 64).numpy())
        for image, digit in zip(images, (label // 10, label % 10), strict=True):
            found.setdefault(image, set()).add(digit)
    return found


def test_every_image_is_one_of_scikit_learns_and_of_its_digit(numbers: GzslDataset) -> None:
    digits = load_digits()
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32).numpy()
    known = {
        image: {digit} for image, digit in zip(fingerprint_array(images), digits.target.tolist(), strict=True)
    }
    found = halves(numbers, torch.arange(len(numbers.labels)))
    assert found == {image: known[image] for image in found}


def test_an_image_always_stands_for_the_same_digit(numbers: GzslDataset) -> None:
    everything = halves(numbers, torch.cat([numbers.trainval, numbers.test_seen, numbers.test_unseen]))
    assert all(len(digits) == 1 for digits in everything.values())


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_no_image_is_in_two_of_training_validation_and_test_rows(seed: int) -> None:
    data = load_numbers(seed)
    test_rows = torch.cat([data.test_seen, data.test_unseen])
    train, val, test = (set(halves(data, rows)) for rows in (data.train, data.val, test_rows))
    assert not (train & val or train & test or val & test)
    assert len(train) > 1000 and len(val) > 180 and len(test) > 350


def test_the_same_seed_gives_the_same_data_whatever_was_drawn_before(numbers: GzslDataset) -> None:
    torch.rand(3)
    again = load_numbers(0)
    assert torch.equal(again.features, numbers.features)
    assert_same_data(again, numbers)


def test_another_seed_gives_other_classes_and_other_rows(numbers: GzslDataset) -> None:
    other = load_numbers(1)
    assert other.unseen_classes.tolist() != numbers.unseen_classes.tolist()
    assert other.labels[other.val].unique().tolist() != numbers.labels[numbers.val].unique().tolist()
    assert other.digest != numbers.digest
    assert other.split_hash != numbers.split_hash
