from typing import Any

import pytest
import torch

from cwgan.gan import mean_correction
from cwgan.gan.mean_correction import find_shifts, move


def predict_means(features: torch.Tensor, labels: torch.Tensor, *more: Any) -> torch.Tensor:
    """Predict from all rows."""
    return mean_correction.predict_means(features, labels, torch.arange(len(labels)), *more)


def test_means_of_classes_without_rows_follow_from_cosines_of_attributes() -> None:
    # Centred, the attributes point left and right (classes 0 and 1), right (2) and up (3). With ridge 2 the
    # weights solve [[3, -1], [-1, 3]] w = [-2, 2], so that w = [-0.5, 0.5] about the centre 3.
    attributes = torch.tensor([[1.0, 0.0], [3.0, 0.0], [9.0, 0.0], [2.0, 5.0]])
    features, labels = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])
    assert predict_means(features, labels, attributes, 2.0).flatten().tolist() == pytest.approx([1, 5, 4, 3])


def test_a_class_between_two_others_is_predicted_between_them_and_at_the_centre_by_a_strong_penalty() -> None:
    attributes = torch.cat([torch.eye(4), torch.tensor([[0.5, 0.5, 0.0, 0.0]])])
    features, labels = torch.eye(4) * 8, torch.arange(4)
    torch.testing.assert_close(
        predict_means(features, labels, attributes, 1e6)[4], torch.full((4,), 2.0), atol=1e-4, rtol=0
    )
    predicted = predict_means(features, labels, attributes, 0.2)[4]
    assert predicted[0] == pytest.approx(predicted[1].item())
    assert predicted[0] > 2 > predicted[2]


def test_attributes_that_say_nothing_predict_the_centre() -> None:
    for ridge in (0.1, 0.0):
        means = predict_means(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), torch.ones(3, 2), ridge)
        assert means.flatten().tolist() == [0, 4, 2]
    alone = predict_means(torch.tensor([[3.0], [5.0]]), torch.tensor([0, 0]), torch.rand(3, 2))
    assert alone.flatten().tolist() == [4, 4, 4]


def test_the_chosen_penalty_is_strong_where_attributes_say_little_and_weak_where_they_say_all() -> None:
    rng = torch.Generator().manual_seed(0)
    attributes, labels = torch.randn(30, 3, generator=rng), torch.arange(24)
    directions = torch.nn.functional.normalize(attributes - attributes[:24].mean(0), dim=1)
    told, noise = directions @ torch.randn(3, 5, generator=rng), torch.randn(30, 5, generator=rng)

    def miss(means: torch.Tensor, ridge: float) -> float:
        return (predict_means(means[:24], labels, attributes, ridge) - means)[24:].square().mean().item()

    assert miss(told, 0.0) <= miss(told, 0.03) < miss(told, 3.0) / 10
    assert miss(noise, 0.0) < miss(noise, 0.03)


def test_attributes_are_half_whitened_where_that_predicts_better() -> None:
    rng = torch.Generator().manual_seed(0)
    hidden = torch.nn.functional.normalize(torch.randn(60, 6, generator=rng), dim=1)
    attributes = hidden * torch.tensor([9.0, 9.0, 1.0, 1.0, 1.0, 1.0])
    means = hidden[:, 2:] @ torch.randn(4, 5, generator=rng)
    predicted = {
        ridge: predict_means(means[:50], torch.arange(50), attributes, ridge) for ridge in (0.0, 0.1)
    }
    misses = {ridge: (found - means)[50:].square().mean().item() for ridge, found in predicted.items()}
    assert misses[0.0] < misses[0.1] / 2


def test_rows_moved_all_the_way_have_the_means_wanted_and_keep_their_spread(rng: torch.Generator) -> None:
    rows, labels = torch.randn(30, 3, generator=rng), torch.arange(30) % 2
    means = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    shifts = find_shifts(means, labels, iter(rows.split(7)))
    assert shifts[2].tolist() == [0, 0, 0]
    pairs = zip(labels.split(7), rows.split(7), strict=True)
    parts = [(part, lambda rng, chunk=chunk: chunk) for part, chunk in pairs]
    moved = torch.cat([make(torch.Generator()) for _, make in move(parts, shifts)])
    for label in (0, 1):
        torch.testing.assert_close(moved[labels == label].mean(0), means[label])
        torch.testing.assert_close(moved[labels == label].std(0), rows[labels == label].std(0))
