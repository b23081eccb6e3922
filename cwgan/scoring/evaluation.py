"""Scoring a classifier on the test rows of a data set."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.scoring.calibration import SeenUnseenCurve, calibrated_scores, class_mean, seen_unseen_curve
from cwgan.scoring.metrics import harmonic_mean, per_class_accuracy

CHUNK = 4096


@dataclass(frozen=True)
class Evaluation:
    """Scores of one classifier on one data set, with what they were computed from.

    Args:
        scores: S, U, H and T1 where the classifier's classes allow them, as fractions; and where it answers all classes
            AUSUC, calibrated_S, calibrated_U, calibrated_H, gamma, leak_seen_to_unseen and leak_unseen_to_seen.
        seen_accuracy, unseen_accuracy: by class, among all the classifier's classes; empty where it has none of them.
        conventional_accuracy: by unseen class, among the unseen classes only.
        rows, labels, predictions, conventional: the scored rows of the data set, their classes, the predicted classes
            among all, and among the unseen ones (-1 on seen rows).
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
    """Score a classifier.

    S and U are means over seen and unseen classes of the per-class accuracy on their test rows, the answer being the
    highest logit among all the classifier's classes; H is their harmonic mean; T1 is U with the answer restricted to
    unseen classes. A classifier of unseen classes only has T1 alone, one of seen classes only has S alone. The leaks
    are means over classes of the share of rows that are answered with a class of the other side.

    Args:
        classifier: over all, the seen or the unseen classes.
        dataset: whose test rows are scored.
        gamma: the bias of the calibrated scores; None: the one of highest H on these rows, for validation classes only.
    """
    answers_seen = bool(torch.isin(dataset.seen_classes, classifier.classes).all())
    answers_unseen = bool(torch.isin(dataset.unseen_classes, classifier.classes).all())
    rows = torch.cat([dataset.test_seen] * answers_seen + [dataset.test_unseen] * answers_unseen)
    labels = dataset.labels[rows]
    is_unseen = torch.isin(classifier.classes, dataset.unseen_classes)
    predictions, conventional, among_seen, margins = [], [], [], []
    for chunk in rows.split(CHUNK):
        logits = classifier(dataset.features[chunk])
        predictions.append(classifier.classes[logits.argmax(1)])
        best_seen, best_unseen = (
            logits.masked_fill(other_side, -torch.inf).max(1) for other_side in (is_unseen, ~is_unseen)
        )
        conventional.append(classifier.classes[best_unseen.indices])
        among_seen.append(classifier.classes[best_seen.indices])
        margins.append(best_seen.values - best_unseen.values)
    predicted = torch.cat(predictions)
    is_unseen_row = torch.isin(labels, dataset.unseen_classes)
    among_unseen = (
        torch.where(is_unseen_row, torch.cat(conventional), -1)
        if answers_unseen
        else torch.full_like(labels, -1)
    )

    empty = torch.empty(0, dtype=torch.float64)
    seen_classes = labels[~is_unseen_row].unique()
    seen = per_class_accuracy(labels, predicted, seen_classes) if answers_seen else empty
    unseen = (
        per_class_accuracy(labels, predicted, dataset.unseen_classes)
        if answers_seen and answers_unseen
        else empty
    )
    t1 = per_class_accuracy(labels, among_unseen, dataset.unseen_classes) if answers_unseen else empty
    scores = {
        name: values.mean().item() for name, values in (("S", seen), ("U", unseen), ("T1", t1)) if len(values)
    }
    if "S" in scores and "U" in scores:
        scores["H"] = harmonic_mean(scores["S"], scores["U"])
    if not (answers_seen and answers_unseen):
        return Evaluation(scores, seen, unseen, t1, rows, labels, predicted, among_unseen)

    hits = torch.where(is_unseen_row, among_unseen, torch.cat(among_seen)) == labels
    sides = torch.cat(margins), hits, labels, is_unseen_row
    curve = seen_unseen_curve(*sides)
    scores["AUSUC"] = curve.area
    scores.update(calibrated_scores(*sides, curve.best_gamma if gamma is None else gamma))
    strays = torch.isin(predicted, dataset.unseen_classes) != is_unseen_row
    scores["leak_seen_to_unseen"] = class_mean(strays[~is_unseen_row], labels[~is_unseen_row])
    scores["leak_unseen_to_seen"] = class_mean(strays[is_unseen_row], labels[is_unseen_row])
    return Evaluation(scores, seen, unseen, t1, rows, labels, predicted, among_unseen, curve)
