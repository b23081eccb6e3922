"""Which classes are taken for which."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class ConfusedPair:
    """Rows of one class, `label`, that were answered as another, `answer`.

    `rows` is how many there are; `share`, 0 to 1, is their part of all scored rows of the class.
    """

    label: int
    answer: int
    rows: int
    share: float


def find_confused_pairs(
    labels: Int64[Tensor, " rows"], predictions: Int64[Tensor, " rows"]
) -> list[ConfusedPair]:
    """Return all pairs of different classes that were confused, the largest share of a class's rows first.

    That share is what the mean accuracy over classes loses by the pair. Equal shares: more rows first, then
    by class number.
    """
    totals, wrong = labels.bincount().tolist(), labels != predictions
    answers, rows = torch.stack([labels, predictions])[:, wrong].unique(dim=1, return_counts=True)
    pairs = [
        ConfusedPair(label, answer, count, count / totals[label])
        for label, answer, count in zip(*answers.tolist(), rows.tolist(), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.share, -pair.rows))


def share_answers(
    labels: Int64[Tensor, " rows"], predictions: Int64[Tensor, " rows"], class_count: int
) -> Float64[Tensor, "classes classes"]:
    """Return the share of each class's rows (first dimension) that were answered as each class (second).

    Zeros for a class without rows.
    """
    counts = torch.bincount(labels * class_count + predictions, minlength=class_count**2)
    counts = counts.reshape(class_count, class_count).double()
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
