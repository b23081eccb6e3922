import statistics

import pytest
import torch
from sklearn.metrics import recall_score

from cwgan.scoring.metrics import harmonic_mean, per_class_accuracy


def test_per_class_accuracy_is_the_recall_of_scikit_learn(rng: torch.Generator) -> None:
    labels = torch.cat([torch.arange(12), torch.randint(12, (300,), generator=rng)])
    predictions = torch.where(
        torch.rand(312, generator=rng) < 0.6, labels, torch.randint(12, (312,), generator=rng)
    )
    classes = torch.tensor([3, 0, 11, 7])
    expected = recall_score(labels.numpy(), predictions.numpy(), labels=classes.numpy(), average=None)
    assert per_class_accuracy(labels, predictions, classes).tolist() == pytest.approx(
        expected.tolist(), abs=1e-15
    )


def test_every_class_counts_alike_however_many_rows_it_has() -> None:
    labels = torch.tensor([0] * 98 + [1, 1])
    predictions = torch.zeros(100, dtype=torch.int64)
    assert per_class_accuracy(labels, predictions, torch.tensor([0, 1])).mean() == 0.5


def test_a_class_without_rows_has_no_accuracy() -> None:
    assert per_class_accuracy(torch.tensor([0, 2]), torch.tensor([0, 2]), torch.tensor([1])).isnan().all()


@pytest.mark.parametrize(("seen", "unseen"), [(0.6, 0.46), (1.0, 1.0), (0.3, 0.9)])
def test_h_is_the_harmonic_mean(seen: float, unseen: float) -> None:
    assert harmonic_mean(seen, unseen) == pytest.approx(statistics.harmonic_mean([seen, unseen]))


def test_h_is_zero_where_either_score_is() -> None:
    assert harmonic_mean(0.0, 0.9) == 0
    assert harmonic_mean(0.0, 0.0) == 0
