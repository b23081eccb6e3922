"""What the model for users knows, in one file; `cwgan.model.answer` reads it, and says what it is for."""

import json
import math

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import Matrix, Stack, View, in_chunks, sum_classes
from cwgan.data.scaling import find_scaling
from cwgan.files import written_whole
from cwgan.gan.checkpoint import describe
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.gan.shapes import RowLabels
from cwgan.stages.job import ANSWERS_FILE, Job

MEASURED = 100_000  # rows
MARGIN = 0.01  # of the shortest and longest length, as rounding alone moves lengths that are all the same


@torch.no_grad()
def write_answers(job: Job, classifier: SoftmaxClassifier, features: Matrix, labels: RowLabels) -> None:
    """Write a classifier with scaling, bias, class names and what is known, from the rows it learnt from."""
    config, dataset = job.config, job.dataset
    is_seen = torch.isin(classifier.classes, dataset.seen_classes)
    order = torch.cat([torch.nonzero(~is_seen).flatten(), torch.nonzero(is_seen).flatten()])
    offset, divisor = find_scaling(dataset)
    centre, directions = _find_directions(dataset, features, labels)
    lengths, cosines = _measure_training_rows(dataset, centre, directions)
    shortest, longest = np.quantile(lengths, [0.001, 0.999])
    facts = {
        **describe(dataset),
        "class_names": [dataset.class_names[label] for label in classifier.classes[order].tolist()],
        "unseen": int((~is_seen).sum()),
        "gamma": config.classifier.gamma,
        "relu_logits": classifier.relu,
        "unit_norm": config.data.scaling == "unit_norm",
        "lengths": [(1 - MARGIN) * shortest, (1 + MARGIN) * longest],
        "least_cosine": float(np.quantile(cosines, 0.01)),
        "backbone": json.loads(dataset.backbone or "null"),
    }
    tensors = {"weight": classifier.weight[order], "bias": classifier.bias[order]}
    tensors |= {"offset": offset, "divisor": divisor, "centre": centre, "directions": directions}
    with written_whole(job.folder / ANSWERS_FILE) as path:
        whole = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        save_file(whole, path, metadata={"answers": json.dumps(facts)})


def _find_directions(dataset: GzslDataset, features: Matrix, labels: RowLabels) -> tuple[Tensor, Tensor]:
    """Return the mean of all training rows, and the unit vectors from there to the means of known classes.

    The means are those of training rows, and of the given rows for unseen classes that have any.
    """
    unseen_rows = torch.nonzero(torch.isin(labels, dataset.unseen_classes)).flatten()
    rows = Stack(View(dataset.features, dataset.trainval), View(features, unseen_rows))
    of_rows = torch.cat([dataset.labels[dataset.trainval], labels[unseen_rows]])
    sums = sum_classes(rows, torch.arange(len(rows)), of_rows, dataset.class_count)
    counts = of_rows.bincount(minlength=dataset.class_count)
    centre = sums[dataset.seen_classes].sum(0) / len(dataset.trainval)
    known = counts > 0
    directions = torch.nn.functional.normalize(sums[known] / counts[known, None] - centre, dim=1)
    return centre.float(), directions.float()


def _measure_training_rows(
    dataset: GzslDataset, centre: Tensor, directions: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths of training rows, and their largest cosines with a class's direction.

    They are of all rows, or of `MEASURED` or fewer at even distances.
    """
    lengths, cosines = [], []
    every = math.ceil(len(dataset.trainval) / MEASURED)
    for _, rows in in_chunks(dataset.features, dataset.trainval[::every]):
        lengths.append(rows.norm(dim=1))
        away = torch.nn.functional.normalize(rows - centre, dim=1)
        cosines.append((away @ directions.t()).max(1).values)
    return torch.cat(lengths).double().numpy(), torch.cat(cosines).double().numpy()
