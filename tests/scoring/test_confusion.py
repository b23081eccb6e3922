import pytest
import torch
from sklearn.metrics import confusion_matrix

from cwgan.scoring.confusion import ConfusedPair, find_confused_pairs, share_answers

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
ANSWERS = torch.tensor([0, 2, 2, 1, 1, 0, 2, 0])


def test_the_most_confused_pair_is_the_largest_share_of_a_class_then_the_most_rows() -> None:
    assert find_confused_pairs(LABELS, ANSWERS) == [
        ConfusedPair(0, 2, 2, 0.5),
        ConfusedPair(1, 0, 1, 0.5),
        ConfusedPair(2, 0, 1, 0.5),
        ConfusedPair(0, 1, 1, 0.25),
    ]
    assert find_confused_pairs(LABELS, LABELS) == []


def test_shares_of_answers_are_the_confusion_matrix_of_scikit_learn(rng: torch.Generator) -> None:
    labels, answers = torch.randint(5, (2, 200), generator=rng)
    expected = confusion_matrix(labels, answers, normalize="true")
    assert share_answers(labels, answers, 5).numpy() == pytest.approx(expected)
    assert share_answers(labels, answers, 6)[5].tolist() == [0] * 6, "a class without rows"
