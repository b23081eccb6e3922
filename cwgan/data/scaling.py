"""Scaling of features and attributes to the range that networks work in, fitted on training rows alone."""

import dataclasses
import hashlib

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import Matrix, View, find_extremes, in_chunks
from cwgan.errors import InputError

SMALLEST = 1e-15  # difference of attributes between classes


def scale(dataset: GzslDataset, scaling: str, attribute_norm: float) -> GzslDataset:
    """Return the data set with its features and attributes scaled; itself where nothing is asked for.

    Scaling is that of `data.scaling`, "auto" being "overall"; with an `attribute_norm` of 0 attributes stay.
    InputError for a row of norm 0 under "unit_norm", and for attributes that all seen classes share.
    """
    features, divisor = dataset.features, dataset.divisor
    attributes, unscaled = dataset.attributes, dataset.unscaled
    if scaling in ("auto", "overall", "per_feature"):
        divisor = find_divisor(features, dataset.trainval, scaling == "per_feature")
        features = View(features, divisor=divisor)
    elif scaling == "min_max":
        low, width = find_range(features, dataset.trainval)
        features = View(features, offset=low, divisor=width)
    elif scaling == "unit_norm":
        if any((rows == 0).all(1).any() for _, rows in in_chunks(features, torch.arange(len(features)))):
            allowed = "no such row, or another data.scaling than unit_norm"
            raise InputError(dataset.source, "features", "a row of zeros", allowed)
        features = View(features, unit_norm=True)
    if attribute_norm:
        seen = attributes[dataset.seen_classes]
        if (seen == seen[0]).all():
            found, allowed = "the same for all seen classes", "different ones, or data.attribute_norm=0"
            if len(seen) == 1:
                found = "one seen class to learn from"
                allowed = "two or more, and one more for select=true, which holds classes out"
            raise InputError(dataset.source, "attributes", found, allowed)
        largest = (seen - seen.mean(0)).abs().max().item()
        if not SMALLEST < largest < 1 / SMALLEST:  # their squares leave float32
            allowed = f"{SMALLEST} to {1 / SMALLEST:.0e}, which other units bring about"
            raise InputError(dataset.source, "attributes", f"differences of {largest:.3g}", allowed)
        attributes, unscaled = scale_attributes(attributes, seen, attribute_norm), attributes
    if features is dataset.features and attributes is dataset.attributes:
        return dataset
    return dataclasses.replace(
        dataset, features=features, attributes=attributes, divisor=divisor, unscaled=unscaled
    )


def find_scaling(dataset: GzslDataset) -> tuple[Float32[Tensor, " features"], Float32[Tensor, " features"]]:
    """Return what is subtracted from features in the files' units, and what they are then divided by."""
    scaled, zeros = dataset.features, torch.zeros(dataset.feature_size)
    if not isinstance(scaled, View):
        return zeros, zeros + 1
    return (
        zeros if scaled.offset is None else scaled.offset,
        zeros + 1 if scaled.divisor is None else scaled.divisor,
    )


def hash_scaling(dataset: GzslDataset) -> str:
    """Return a hash of how features are scaled: the same for two data sets that scale a row alike."""
    digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in find_scaling(dataset)))
    digest.update(bytes([isinstance(dataset.features, View) and dataset.features.unit_norm]))
    return digest.hexdigest()[:16]


def find_divisor(
    features: Matrix, training: Int64[Tensor, " training"], is_per_feature: bool
) -> Float32[Tensor, " features"]:
    """Return the power of two nearest to the standard deviation of all features, or of each feature.

    Division by it rounds nothing, so it can be undone, and other units of the data give the same results. A
    feature that is nearly constant over the training rows is divided as one of a thousandth of the largest
    deviation.
    """
    sums = torch.zeros(features.shape[1], dtype=torch.float64)
    squares, first = sums.clone(), features[training[:1]].double()
    for _, rows in in_chunks(features, training):
        away = rows.double() - first  # so that a constant feature has no variance at all
        sums += away.sum(0)
        squares += away.square().sum(0)
    deviations = (squares / len(training) - (sums / len(training)).square()).clamp(min=0)
    if is_per_feature:
        deviations = deviations.clamp(min=1e-6 * deviations.max())
    else:
        deviations = deviations.mean().expand(len(deviations))
    exponents = torch.where(deviations > 0, deviations.log2() / 2, 0.0).round()
    return torch.exp2(exponents).float()


def find_range(
    features: Matrix, training: Int64[Tensor, " training"]
) -> tuple[Float32[Tensor, " features"], Float32[Tensor, " features"]]:
    """Return each feature's smallest value over the training rows, and how far the largest is above it.

    (x - low) / width is in 0..1 for training rows. The width of a feature that is constant there is 1, so it
    becomes 0. Source: the public code of Xian et al. 2018, Feature Generating Networks (arXiv 1712.00981).
    """
    low, high = find_extremes(features, training)
    return low, torch.where(high > low, high - low, 1.0)


def scale_attributes(
    attributes: Float32[Tensor, "classes attributes"], seen: Float32[Tensor, "seen attributes"], norm: float
) -> Float32[Tensor, "classes attributes"]:
    """Return norm * (a - mean) / rms; rms is the root-mean-square distance of seen classes from their mean.

    Unscaled attributes of norm 1 are small beside the noise, and mostly one vector that all classes share.
    """
    mean = seen.mean(0)
    rms = (seen - mean).norm(dim=1).square().mean().sqrt()
    return (attributes - mean) * (norm / rms)
