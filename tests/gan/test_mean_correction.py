import pytest
import torch

from cwgan.gan.mean_correction import find_shifts, move, predict_means


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
    means = predict_means(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), torch.ones(3, 2), 0.1)
    assert means.flatten().tolist() == [0, 4, 2]


def test_rows_moved_all_the_way_have_the_means_wanted_and_keep_their_spread(rng: torch.Generator) -> None:
    rows, labels = torch.randn(30, 3, generator=rng), torch.arange(30) % 2
    means = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    shifts = find_shifts(means, labels, iter(rows.split(7)))
    assert shifts[2].tolist() == [0, 0, 0]
    moved = torch.cat(list(move(labels, iter(rows.split(7)), shifts)))
    for label in (0, 1):
        torch.testing.assert_close(moved[labels == label].mean(0), means[label])
        torch.testing.assert_close(moved[labels == label].std(0), rows[labels == label].std(0))
