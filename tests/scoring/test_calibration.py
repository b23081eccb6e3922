import pytest
import torch

from cwgan.scoring.calibration import SeenUnseenCurve, class_mean, scores_at, seen_unseen_curve
from cwgan.scoring.metrics import harmonic_mean

# Two seen rows of one class, two unseen rows of another; one unseen row is never right.
MARGINS = torch.tensor([3.0, 1.0, 2.0, -1.0])
HITS = torch.tensor([True, True, True, False])
LABELS = torch.tensor([0, 0, 1, 1])
IS_UNSEEN = torch.tensor([False, False, True, True])


def test_the_curve_has_a_point_between_any_two_margins() -> None:
    curve = seen_unseen_curve(MARGINS, HITS, LABELS, IS_UNSEEN)
    assert curve.gammas.tolist() == [-2, 0, 1.5, 2.5, 4]
    assert curve.seen.tolist() == [1, 1, 0.5, 0.5, 0]
    assert curve.unseen.tolist() == [0, 0, 0, 0.5, 0.5]


def test_the_area_is_that_of_the_steps() -> None:
    # From U = 0 to U = 0.5, S is 0.5 all the way; beyond, no bias reaches.
    assert seen_unseen_curve(MARGINS, HITS, LABELS, IS_UNSEEN).area == 0.25


def test_the_best_bias_has_the_highest_harmonic_mean() -> None:
    assert seen_unseen_curve(MARGINS, HITS, LABELS, IS_UNSEEN).best_gamma == 2.5
    assert (
        SeenUnseenCurve(
            *(torch.tensor(values).double() for values in ([0.0, 1.0], [0.0, 0.0], [0.0, 0.0]))
        ).best_gamma
        == 0
    )


def test_rows_of_equal_margin_change_sides_together() -> None:
    curve = seen_unseen_curve(torch.zeros(4), torch.ones(4, dtype=torch.bool), LABELS, IS_UNSEEN)
    assert curve.seen.tolist() == [1, 0]
    assert curve.unseen.tolist() == [0, 1]
    assert curve.area == 0.5, "one straight line between the two ends"


def test_perfect_sides_far_apart_fill_the_whole_square() -> None:
    curve = seen_unseen_curve(
        torch.tensor([5.0, 5, -5, -5]), torch.ones(4, dtype=torch.bool), LABELS, IS_UNSEEN
    )
    assert curve.area == 1


def test_the_curve_is_what_biased_logits_give(rng: torch.Generator) -> None:
    logits, labels = torch.randn(400, 7, generator=rng), torch.randint(7, (400,), generator=rng)
    logits[torch.arange(400), labels] += 1.5
    is_unseen_class = torch.arange(7) >= 4
    is_unseen = is_unseen_class[labels]
    seen, unseen = (
        logits.masked_fill(mask, -torch.inf).max(1) for mask in (is_unseen_class, ~is_unseen_class)
    )
    hits = torch.where(is_unseen, unseen.indices, seen.indices) == labels
    curve = seen_unseen_curve(seen.values - unseen.values, hits, labels, is_unseen)
    for point in range(0, len(curve.gammas), 25):
        gamma = curve.gammas[point].item()
        right = (logits - gamma * ~is_unseen_class).argmax(1) == labels
        expected = [class_mean(right[side], labels[side]) for side in (~is_unseen, is_unseen)]
        assert [curve.seen[point].item(), curve.unseen[point].item()] == pytest.approx(expected)
        scores = scores_at(seen.values - unseen.values, hits, labels, is_unseen, gamma)
        assert scores == pytest.approx((*expected, harmonic_mean(*expected)))


def test_a_bias_is_not_rounded_before_margins_are_compared_with_it() -> None:
    low, high = torch.tensor([1.0]), torch.nextafter(torch.tensor([1.0]), torch.tensor(2.0))
    sides = torch.cat([high, low]), torch.tensor([True, True]), torch.tensor([0, 1])
    is_unseen = torch.tensor([False, True])
    curve = seen_unseen_curve(*sides, is_unseen)
    assert 1 < curve.best_gamma < high.item()
    assert scores_at(*sides, is_unseen, high.item() - 1e-9)[0] == 1
    assert scores_at(*sides, is_unseen, curve.best_gamma)[2] == 1


def test_a_class_counts_once_however_many_rows_it_has() -> None:
    assert class_mean(torch.tensor([True, False, False, False, True]), torch.tensor([0, 0, 0, 0, 3])) == 0.625
