import pytest
import torch

from cwgan.scoring.diagnostics import class_distances

LABELS = torch.tensor([0, 0, 1, 1])
REAL = torch.tensor([[0.0, 1.0], [2.0, 1.0], [5.0, 5.0], [5.0, 5.0]])


def test_features_are_no_distance_from_themselves_in_any_order() -> None:
    swapped = torch.tensor([1, 0, 3, 2])
    assert class_distances(REAL, LABELS, REAL[swapped], LABELS[swapped]) == {
        "class_mean_distance": 0,
        "frechet": 0,
    }


def test_a_shift_of_one_class_counts_by_its_length_and_by_its_square() -> None:
    moved = REAL + torch.tensor([[3.0, 4.0]]) * (LABELS == 0)[:, None]
    assert class_distances(REAL, LABELS, moved, LABELS) == pytest.approx(
        {"class_mean_distance": 5 / 2, "frechet": 25 / 2}
    )


def test_a_wider_class_counts_by_the_difference_of_deviations() -> None:
    # The first feature of class 0 has deviation 1 in the real rows and 3 in the others.
    wider = torch.tensor([[-2.0, 1.0], [4.0, 1.0], [5.0, 5.0], [5.0, 5.0]])
    assert class_distances(REAL, LABELS, wider, LABELS) == pytest.approx(
        {"class_mean_distance": 0, "frechet": 4 / 2}
    )


def test_the_frechet_distance_is_that_of_normal_distributions(rng: torch.Generator) -> None:
    # Against the general formula |m - n|^2 + tr(A + B - 2 sqrt(A B)) for diagonal A and B.
    real, made = (
        torch.randn(60, 4, generator=rng).double(),
        2 * torch.randn(80, 4, generator=rng).double() + 1,
    )
    labels = torch.zeros(60, dtype=torch.int64), torch.zeros(80, dtype=torch.int64)
    first, second = (values.var(0, correction=0) for values in (real, made))
    expected = (real.mean(0) - made.mean(0)).square().sum() + (
        first + second - 2 * (first * second).sqrt()
    ).sum()
    assert class_distances(real, labels[0], made, labels[1])["frechet"] == pytest.approx(expected.item())
