"""Class means predicted from attributes, and synthetic rows moved towards them.

A generator fits the means of a few dozen seen classes with thousands of weights, and where it puts an unseen
class is partly chance. Ridge regression has less freedom, but knows no spread. So rows keep their spread
about their mean, and that mean goes part of the way. Rows may leave the range of the last activation.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional

from cwgan.data.matrix import Matrix, sum_classes
from cwgan.gan.shapes import (
    AllFeatures,
    AllTargets,
    Chunks,
    ClassAttributes,
    ClassMeans,
    Labels,
    RowLabels,
    Rows,
)
from cwgan.gan.synthesis import CHUNK, Maker, Part

Double = Float64[Tensor, "... columns"]
SETTINGS = tuple(product((0.0, 0.5), (0.03, 0.1, 0.3, 1.0, 3.0)))  # of whitening and ridge
FOLDS = 5


def predict_means(
    features: Matrix, labels: AllTargets, rows: Rows, attributes: ClassAttributes, ridge: float = 0.0
) -> ClassMeans:
    """Return the mean of every class: of its rows if it has any, else as kernel ridge regression predicts it.

    m(a) = m0 + k(a) (K + ridge I)^-1 (M - m0), with M the means of the classes that have rows, m0 their mean,
    and K and k(a) the cosines of their attributes with one another and with a, after subtracting their mean.
    `rows` are the training rows. `ridge` is the weight of the penalty. If it is 0, it is chosen, together
    with whether attributes are half whitened (each principal component divided by the root of its deviation):
    those of `SETTINGS` whose predictions of classes that are left out of the regression, a fifth at a time,
    have the smallest squared error.

    Source: Changpinyo et al. 2017, Predicting Visual Exemplars of Unseen Classes (arXiv 1605.08151), who use
    support vector regression with a Gaussian kernel.
    """
    seen, places, counts = labels[rows].unique(return_inverse=True, return_counts=True)
    means = sum_classes(features, rows, places, len(seen)) / counts[:, None]
    whitening, ridge = (0.0, ridge) if ridge else _choose(attributes[seen], means)
    return _regress(attributes, seen, means, whitening, ridge).index_copy_(0, seen, means).float()


def _choose(attributes: ClassAttributes, means: Double) -> tuple[float, float]:
    """Return the setting of smallest squared error on means of left-out classes."""
    errors, order = (
        dict.fromkeys(SETTINGS, 0.0),
        torch.randperm(len(means), generator=torch.Generator().manual_seed(0)),
    )
    for left_out in order.chunk(FOLDS):
        kept = order[~torch.isin(order, left_out)]
        for setting in SETTINGS if len(kept) else ():
            predicted = _regress(attributes, kept, means[kept], *setting)
            errors[setting] += (predicted - means)[left_out].square().sum().item()
    return min(errors, key=lambda setting: errors[setting])


def _regress(
    attributes: ClassAttributes, known: Labels, means: Double, whitening: float, ridge: float
) -> Double:
    """Return the means of all classes as kernel ridge regression predicts them from the known ones'."""
    centred = (attributes - attributes[known].mean(0)).double()
    if whitening:
        _, deviations, components = torch.linalg.svd(centred[known], full_matrices=False)
        there = deviations > 1e-6 * deviations[0]
        centred = centred @ components[there].t() / deviations[there] ** whitening
    directions = functional.normalize(centred, dim=1)
    similarity = directions @ directions[known].t()
    kernel = similarity[known] + ridge * torch.eye(len(known), dtype=torch.float64)
    centre = means.mean(0)
    return centre + similarity @ torch.linalg.solve(kernel, means - centre)


def find_shifts(means: ClassMeans, labels: RowLabels, chunks: Chunks) -> ClassMeans:
    """Return the wanted means less those of the rows, read chunk by chunk; 0 for a class without rows."""
    sums, counts = torch.zeros_like(means, dtype=torch.float64), torch.bincount(labels, minlength=len(means))
    start = 0
    for chunk in chunks:
        sums.index_add_(0, labels[start : start + len(chunk)], chunk.double())
        start += len(chunk)
    shifts = means - sums / counts.clamp(min=1)[:, None]
    return torch.where(counts[:, None] > 0, shifts, 0.0).float()


def move(parts: Sequence[Part], shifts: ClassMeans) -> list[Part]:
    """Return what makes the same rows, each moved by the shift of its class."""

    def make(labels: RowLabels, before: Maker, rng: torch.Generator) -> AllFeatures:
        return before(rng) + shifts[labels]

    return [(labels, partial(make, labels, before)) for labels, before in parts]


def plan_spread(
    features: Matrix, labels: AllTargets, rows: Rows, means: ClassMeans, wanted: RowLabels
) -> list[Part]:
    """Return what makes a row per wanted label: its class's mean, and how far a row drawn at random is off.

    `rows` are the training rows, which are drawn from. This is what a generator has to be better than.
    """

    def make(part: RowLabels, rng: torch.Generator) -> AllFeatures:
        drawn = rows[torch.randint(len(rows), (len(part),), generator=rng)]
        return means[part] + features[drawn] - means[labels[drawn]]

    return [(part, partial(make, part)) for part in wanted.split(CHUNK)]
