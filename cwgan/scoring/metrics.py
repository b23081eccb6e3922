"""Scores of generalized zero-shot learning; fractions, higher is better.

Source: Xian et al. 2018, arXiv 1707.00600, section 4.3.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


def per_class_accuracy(
    labels: Int64[Tensor, " rows"], predictions: Int64[Tensor, " rows"], classes: Int64[Tensor, " classes"]
) -> Float64[Tensor, " classes"]:
    """Top-1 accuracy of some classes: the share of each one's rows predicted as it; NaN if it has no row."""
    if len(classes) == 0:
        return torch.empty(0, dtype=torch.float64)
    size = int(max(labels.max(), classes.max())) + 1
    hits = torch.bincount(labels[labels == predictions], minlength=size).double()
    return (hits / torch.bincount(labels, minlength=size))[classes]


def harmonic_mean(seen: float, unseen: float) -> float:
    """H = 2 S U / (S + U), and 0 where both are 0; S and U are mean per-class accuracies, 0 to 1."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else 0.0
