from dataclasses import replace

import pytest
import torch

from cwgan.data.dataset import GzslDataset
from cwgan.data.scaling import scale, scale_attributes, scale_to_range
from cwgan.errors import InputError


def test_min_max_brings_training_rows_to_0_and_1_and_lets_others_pass_beyond() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0], [4.0, 7.0]])
    assert scale_to_range(features, features[:2]).tolist() == [[0, 0], [1, 0], [1.5, 2]]


def test_features_are_scaled_without_a_look_at_test_rows(numbers: GzslDataset) -> None:
    features = numbers.features.clone()
    features[numbers.test_seen] += 3
    spoiled = replace(numbers, features=features)
    for scaling in ("min_max", "unit_norm"):
        first, second = (
            scale(dataset, scaling, 0.0).features[numbers.trainval] for dataset in (numbers, spoiled)
        )
        assert torch.equal(first, second), scaling
    scaled = scale(numbers, "min_max", 0.0).features[numbers.trainval]
    assert (scaled.amin().item(), scaled.amax().item()) == (0, 1)


def test_unit_norm_gives_every_row_norm_one(numbers: GzslDataset) -> None:
    torch.testing.assert_close(
        scale(numbers, "unit_norm", 0.0).features.norm(dim=1), torch.ones(len(numbers.features))
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
    with pytest.raises(InputError, match="attributes: found the same for all seen classes"):
        scale(replace(numbers, attributes=torch.ones(100, 20)), "none", 1.0)


def test_nothing_asked_for_is_nothing_done(numbers: GzslDataset) -> None:
    assert scale(numbers, "none", 0.0) is numbers
