"""Scoring a classifier on the test rows of a data set."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import CHUNK
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.scoring.calibration import SeenUnseenCurve, class_mean, scores_at, seen_unseen_curve
from cwgan.scoring.metrics import harmonic_mean, per_class_accuracy

LOGITS = 2**24  # of a chunk, where there are more than 4,096 classes
HITS = (1, 2, 5, 10, 20)
MANY = 200  # unseen classes from which on the right one among the best few is a score


@dataclass(frozen=True)
class Evaluation:
    """Scores of one classifier on one data set, with what they were computed from.

    Args:
        scores: fractions: S, U, H and T1 as far as the classifier's classes and the test rows allow them; and
            if it answers all classes and both sides have rows AUSUC, raw_S, raw_U, raw_H (with a bias of 0),
            gamma (the bias of all others), leak_seen_to_unseen and leak_unseen_to_seen. If `MANY` classes are
            unseen also hit_at_k, the share of unseen rows whose class is among the best k of the unseen ones,
            the last of equal ones, and its mean over classes, Tk, for the k of `HITS`.
        seen_accuracy, unseen_accuracy: by class, among all the classifier's classes; empty if it has none.
        conventional_accuracy: by unseen class, among the unseen classes only.
        rows, labels, predictions, conventional: the scored rows of the data set, their classes, the predicted
            classes among all, and among the unseen ones (-1 on seen rows).
        curve: S and U at every bias; None for a classifier of one side only.
    """

    scores: dict[str, float]
    seen_accuracy: Float64[Tensor, " seen"]
    unseen_accuracy: Float64[Tensor, " unseen"]
    conventional_accuracy: Float64[Tensor, " conventional"]
    rows: Int64[Tensor, " rows"]
    labels: Int64[Tensor, " rows"]
    predictions: Int64[Tensor, " rows"]
    conventional: Int64[Tensor, " rows"]
    curve: SeenUnseenCurve | None = None


@torch.no_grad()
def evaluate(classifier: SoftmaxClassifier, dataset: GzslDataset, gamma: float | None = 0.0) -> Evaluation:
    """Score a classifier over all, the seen or the unseen classes on a data set's test rows.

    S and U are means over seen and unseen classes of the per-class accuracy on their test rows; the answer is
    the highest logit among all the classifier's classes, less the bias `gamma` where the class is seen; the
    unseen class of a seen and an unseen one that are equal then. H is their harmonic mean, T1 is U with the
    answer among unseen classes. A classifier of unseen classes only has T1 alone, one of seen classes only
    has S alone. The leaks are means over classes of the share of rows answered with the other side's classes.

    `gamma` should be chosen on validation classes, or S, U and H say nothing about new data. None stands for
    the bias of highest H on these rows, for validation classes only.
    """
    answers_seen = bool(torch.isin(dataset.seen_classes, classifier.classes).all())
    answers_unseen = bool(torch.isin(dataset.unseen_classes, classifier.classes).all())
    rows = torch.cat([dataset.test_seen] * answers_seen + [dataset.test_unseen] * answers_unseen)
    labels = dataset.labels[rows]
    is_unseen_class = torch.isin(classifier.classes, dataset.unseen_classes)
    place_of = torch.zeros(dataset.class_count, dtype=torch.int64)
    place_of[classifier.classes] = torch.arange(len(classifier.classes))
    answers = []
    for chunk in rows.split(min(CHUNK, LOGITS // len(classifier.classes))):
        logits = classifier(dataset.features[chunk])
        seen_logits, seen = logits.masked_fill(is_unseen_class, -torch.inf).max(1)
        among_unseen = logits.masked_fill_(~is_unseen_class, -torch.inf)
        unseen_logits, unseen = among_unseen.max(1)
        rank = (among_unseen >= among_unseen.gather(1, place_of[dataset.labels[chunk], None])).sum(1) - 1
        answers.append((seen, unseen, rank, seen_logits - unseen_logits))
    *places, ranks, margins = (torch.cat(parts) for parts in zip(*answers, strict=True))
    best_seen, best_unseen = (classifier.classes[place] for place in places)
    is_unseen = torch.isin(labels, dataset.unseen_classes)
    conventional = torch.where(is_unseen, best_unseen, -1)
    sides = margins, torch.where(is_unseen, conventional, best_seen) == labels, labels, is_unseen
    has_both = answers_seen and answers_unseen and 0 < is_unseen.sum() < len(labels)
    curve = seen_unseen_curve(*sides) if has_both else None
    bias = gamma if gamma is not None else curve.best_gamma if curve else 0.0
    predicted = torch.where(margins.double() > bias, best_seen, best_unseen)

    found = {name: torch.empty(0, dtype=torch.float64) for name in ("S", "U", "T1")}
    if answers_seen:
        found["S"] = per_class_accuracy(labels, predicted, labels[~is_unseen].unique())
    if answers_seen and answers_unseen:
        found["U"] = per_class_accuracy(labels, predicted, labels[is_unseen].unique())
    if answers_unseen:
        found["T1"] = per_class_accuracy(labels, conventional, labels[is_unseen].unique())
    scores = {name: values.mean().item() for name, values in found.items() if len(values)}
    if curve:
        scores |= {"H": harmonic_mean(scores["S"], scores["U"]), "AUSUC": curve.area, "gamma": bias}
        scores |= dict(zip(("raw_S", "raw_U", "raw_H"), scores_at(*sides, 0.0), strict=True))
        strays = torch.isin(predicted, dataset.unseen_classes) != is_unseen
        scores["leak_seen_to_unseen"] = class_mean(strays[~is_unseen], labels[~is_unseen])
        scores["leak_unseen_to_seen"] = class_mean(strays[is_unseen], labels[is_unseen])
    if answers_unseen and is_unseen.any() and len(dataset.unseen_classes) >= MANY:
        for count in HITS:
            hits = ranks[is_unseen] < count
            scores[f"hit_at_{count}"] = hits.double().mean().item()
            scores[f"T{count}"] = class_mean(hits, labels[is_unseen])
    accuracies = found["S"], found["U"], found["T1"]
    return Evaluation(scores, *accuracies, rows, labels, predicted, conventional, curve)
