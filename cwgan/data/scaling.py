"""Bringing features and attributes into the range that the networks work in; fitted on training rows alone.

Min-max scaling is what the public code of Xian et al. 2018, Feature Generating Networks (arXiv 1712.00981) does.
"""

import dataclasses

import torch
from jaxtyping import Float32
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError


def scale(dataset: GzslDataset, scaling: str, attribute_norm: float) -> GzslDataset:
    """Return the data set with its features and attributes scaled; itself where nothing is asked for.

    Args:
        dataset: whose `trainval` rows and seen classes the scales are fitted on.
        scaling: "none", "min_max" or "unit_norm".
        attribute_norm: as `scale_attributes`; 0 leaves the attributes as they are.

    Raises:
        InputError: a row of norm 0 under "unit_norm", or attributes that are the same for all seen classes.
    """
    features, attributes = dataset.features, dataset.attributes
    if scaling == "min_max":
        features = min_max(features, features[dataset.trainval])
    elif scaling == "unit_norm":
        norms = features.norm(dim=1, keepdim=True)
        if (norms == 0).any():
            raise InputError(
                dataset.source,
                "features",
                "a row of zeros",
                "no such row, or another data.scaling than unit_norm",
            )
        features = features / norms
    if attribute_norm:
        seen = attributes[dataset.seen_classes]
        if (seen == seen[0]).all():
            raise InputError(
                dataset.source,
                "attributes",
                "the same for all seen classes",
                "different ones, or data.attribute_norm=0",
            )
        attributes = scale_attributes(attributes, seen, attribute_norm)
    if features is dataset.features and attributes is dataset.attributes:
        return dataset
    return dataclasses.replace(dataset, features=features, attributes=attributes)


def min_max(
    features: Float32[Tensor, "all features"], training: Float32[Tensor, "rows features"]
) -> Float32[Tensor, "all features"]:
    """Return (x - low) / (high - low) with each feature's lowest and highest value over the training rows.

    Other rows may leave 0..1. A feature that is constant over the training rows becomes 0 there.
    """
    low, high = training.aminmax(dim=0)
    width = high - low
    return (features - low) / torch.where(width > 0, width, 1.0)


def scale_attributes(
    attributes: Float32[Tensor, "classes attributes"], seen: Float32[Tensor, "seen attributes"], norm: float
) -> Float32[Tensor, "classes attributes"]:
    """Return norm * (a - mean) / rms, the mean and the root-mean-square distance from it taken over seen classes.

    Attributes of norm 1 beside noise of norm sqrt(noise size) leave the generator's first layer to find the class in
    a small part of its input; and text attributes share most of their length: the mean alone can hold 0.87 of it.

    Args:
        attributes: of all classes.
        seen: those of the seen classes.
        norm: root-mean-square norm that the seen classes get.
    """
    mean = seen.mean(0)
    rms = (seen - mean).norm(dim=1).square().mean().sqrt()
    return (attributes - mean) * (norm / rms)
