"""Tests of the checks of types and shapes, under which all other tests run."""

import pytest
import torch
import typechecks
from jaxtyping import TypeCheckError

from cwgan.scoring.metrics import per_class_accuracy

LABELS, CLASSES = torch.tensor([0, 1, 1]), torch.tensor([0, 1])


def test_arguments_of_other_shapes_and_types_are_refused() -> None:
    for labels in (LABELS[:2], LABELS.float(), [0, 1, 1]):
        with pytest.raises(TypeCheckError):
            per_class_accuracy(labels, LABELS, CLASSES)


@pytest.mark.parametrize("test", ["one", "another"])
def test_the_first_calls_are_checked_in_every_test(test: str) -> None:
    for _ in range(typechecks.CALLS):
        with pytest.raises(TypeCheckError):
            per_class_accuracy(LABELS.float(), LABELS, CLASSES)
    with pytest.raises(RuntimeError, match="bincount"):  # of PyTorch itself
        per_class_accuracy(LABELS.float(), LABELS.float(), CLASSES)
