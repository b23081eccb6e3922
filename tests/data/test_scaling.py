from dataclasses import replace

import pytest
import torch

from cwgan.data.dataset import GzslDataset
from cwgan.data.scaling import find_divisor, find_range, scale, scale_attributes
from cwgan.errors import InputError


def test_min_max_brings_training_rows_to_0_and_1_and_lets_others_pass_beyond() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0], [4.0, 7.0]])
    low, width = find_range(features, torch.arange(2))
    assert ((features - low) / width).tolist() == [[0, 0], [1, 0], [1.5, 2]]


def test_features_are_scaled_without_a_look_at_test_rows(numbers: GzslDataset) -> None:
    features = numbers.features.clone()
    features[numbers.test_seen] += 3
    spoiled = replace(numbers, features=features)
    for scaling in ("min_max", "unit_norm", "overall", "per_feature"):
        first, second = (
            scale(dataset, scaling, 0.0).features[numbers.trainval] for dataset in (numbers, spoiled)
        )
        assert torch.equal(first, second), scaling
    scaled = scale(numbers, "min_max", 0.0).features[numbers.trainval]
    assert (scaled.amin().item(), scaled.amax().item()) == (0, 1)


def test_unit_norm_gives_every_row_norm_one(numbers: GzslDataset) -> None:
    torch.testing.assert_close(
        scale(numbers, "unit_norm", 0.0).features[:].norm(dim=1), torch.ones(len(numbers.features))
    )


def test_a_row_of_zeros_has_no_unit_norm(numbers: GzslDataset) -> None:
    features = numbers.features.clone()
    features[0] = 0
    with pytest.raises(InputError, match="a row of zeros"):
        scale(replace(numbers, features=features), "unit_norm", 0.0)


def test_attributes_are_centred_on_seen_classes_and_brought_to_the_norm_asked_for() -> None:
    attributes = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 1.0]])
    assert scale_attributes(attributes, attributes[:2], 5.0).tolist() == [[-5, 0], [5, 0], [0, 5]]


def test_attributes_that_say_nothing_are_refused(numbers: GzslDataset) -> None:
    unseen = numbers.unseen_classes
    with pytest.raises(InputError, match="attributes: found the same for all seen classes"):
        scale(replace(numbers, attributes=torch.ones(100, 20).index_fill(0, unseen, 0.0)), "none", 1.0)


def test_nothing_asked_for_is_nothing_done(numbers: GzslDataset) -> None:
    assert scale(numbers, "none", 0.0) is numbers


@pytest.mark.parametrize("scaling", ["overall", "per_feature"])
@pytest.mark.parametrize("unit", [0.01, 100.0, 3.7e-6])
def test_other_units_change_no_scaled_feature_by_more_than_a_factor_of_two(scaling, unit, numbers) -> None:
    other = scale(replace(numbers, features=numbers.features * unit), scaling, 0.0)
    ours = scale(numbers, scaling, 0.0)
    rows = numbers.trainval
    assert 0.7 < other.features[rows].std(0).square().mean().sqrt() < 1.42
    varied = ours.features[rows].std(0) > 0
    ratio = (other.features[rows].std(0) / ours.features[rows].std(0))[varied]
    assert 0.49 < ratio.min() <= ratio.max() < 2.01


def test_division_by_a_power_of_two_is_undone_exactly(numbers) -> None:
    scaled = scale(numbers, "per_feature", 0.0)
    assert torch.equal(scaled.features[:] * scaled.divisor, numbers.features)


def test_a_feature_that_is_nearly_constant_in_training_is_not_blown_up() -> None:
    training = torch.tensor([[0.0, 1.0, 5.0], [1024.0, 1.0 + 2**-20, 5.0]])
    assert find_divisor(training, torch.arange(2), True).tolist() == [512, 0.5, 0.5]
    assert find_divisor(torch.ones(3, 2), torch.arange(3), False).tolist() == [1, 1]
