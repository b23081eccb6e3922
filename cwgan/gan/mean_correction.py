"""Class means predicted from attributes, and synthetic rows moved towards them.

A generator fits the means of a few dozen seen classes with thousands of weights, and where it puts a class it never
saw is partly chance; ridge regression has less freedom, but knows no spread. So the rows keep their spread about
their own mean, and that mean goes part of the way. Rows may leave the range of the generator's last activation.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.nn import functional


def predict_means(
    features: Float32[Tensor, "rows features"],
    labels: Int64[Tensor, " rows"],
    attributes: Float32[Tensor, "classes attributes"],
    ridge: float,
) -> Float32[Tensor, "classes features"]:
    """Return the mean of every class: of its rows where it has any, else as kernel ridge regression predicts it.

    m(a) = m0 + k(a) (K + ridge I)^-1 (M - m0), with M the means of the classes that have rows, m0 their mean, K and k(a)
    the cosines of these classes' attributes with one another and with a, all less the mean of these classes' attributes.

    Args:
        features, labels: the training rows.
        attributes: of all classes.
        ridge: weight of the penalty, above 0; beside it stand cosines, 1 on the diagonal.

    Source: Changpinyo et al. 2017, Predicting Visual Exemplars of Unseen Classes (arXiv 1605.08151), section 3.1.

    Note: where this is kernel ridge regression on cosines, theirs is support vector regression with a Gaussian kernel.
    """
    seen, place, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(seen), features.shape[1], dtype=torch.float64).index_add_(
        0, place, features.double()
    )
    means = sums / counts[:, None]
    directions = functional.normalize((attributes - attributes[seen].mean(0)).double(), dim=1)
    similarity = directions @ directions[seen].t()
    kernel = similarity[seen] + ridge * torch.eye(len(seen), dtype=torch.float64)
    centre = means.mean(0)
    predicted = centre + similarity @ torch.linalg.solve(kernel, means - centre)
    return predicted.index_copy_(0, seen, means).float()


def shifts_to(
    means: Float32[Tensor, "classes features"],
    labels: Int64[Tensor, " rows"],
    chunks: Iterator[Float32[Tensor, "chunk features"]],
) -> Float32[Tensor, "classes features"]:
    """Return the way from each class's mean over some rows to the mean wanted; 0 for a class without rows.

    Args:
        means: wanted, by class.
        labels: class of every row.
        chunks: the rows, in the order of the labels; no two chunks are held at a time.
    """
    sums, start = torch.zeros_like(means, dtype=torch.float64), 0
    for chunk in chunks:
        sums.index_add_(0, labels[start : start + len(chunk)], chunk.double())
        start += len(chunk)
    counts = torch.bincount(labels, minlength=len(means))[:, None]
    return torch.where(counts > 0, means - sums / counts.clamp(min=1), 0.0).float()


def move(
    labels: Int64[Tensor, " rows"],
    chunks: Iterator[Float32[Tensor, "chunk features"]],
    shifts: Float32[Tensor, "classes features"],
) -> Iterator[Float32[Tensor, "chunk features"]]:
    """Add to every row the shift of its class, chunk by chunk."""
    start = 0
    for chunk in chunks:
        yield chunk + shifts[labels[start : start + len(chunk)]]
        start += len(chunk)
