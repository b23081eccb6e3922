"""What a scored classifier leaves behind: scores, two tables by class, and the prediction of every row."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import in_chunks
from cwgan.errors import InputError
from cwgan.files import create_hdf5, write_table, write_text, written_whole
from cwgan.gan.checkpoint import describe
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.gan.shapes import Rows
from cwgan.scoring.confusion import find_confused_pairs
from cwgan.scoring.evaluation import Evaluation
from cwgan.stages.job import RESULTS_FILE, Job

CLASS_HEADS = ("class", "kind", "test_rows", "accuracy", "accuracy_among_unseen")
PAIR_HEADS = ("class", "answered_as", "rows", "share_of_class")


class ClassRow(NamedTuple):
    """One scored class: "seen" or "unseen", its test rows, and fractions, None where not measured."""

    name: str
    kind: str
    rows: int
    accuracy: float | None
    among_unseen: float | None

    @property
    def shown(self) -> float:
        """The accuracy among all classes; of a classifier of unseen classes only, that among these."""
        return (self.among_unseen if self.accuracy is None else self.accuracy) or 0.0


def write_results(
    job: Job, result: Evaluation, scores: Mapping[str, float], classifier: SoftmaxClassifier
) -> None:
    """Write results.json, per_class_accuracy.csv, confused_pairs.csv and predictions.h5.

    predictions.h5 holds, per scored row, all 1-based: `row` (in the data set's own order, also under the
    validation protocol), `Y` (true class), `prediction` (among all classes), `prediction_unseen` (among
    unseen ones; 0 on seen rows); `class_names`. With `classifier.store_scores` also `probabilities`, a column
    for each class that the classifier can answer, and these `classes`, 1-based.
    """
    folder, dataset = job.folder, job.dataset
    facts = {key: value for key, value in describe(dataset).items() if key != "class_names"}
    content = {"protocol": job.config.protocol, "scores": scores, "data": facts}
    write_text(folder / RESULTS_FILE, json.dumps(content, indent=2) + "\n")
    write_table(folder / "per_class_accuracy.csv", CLASS_HEADS, list_classes(result, dataset))
    names, pairs = dataset.class_names, find_confused_pairs(result.labels, result.predictions)
    confused = [(names[pair.label], names[pair.answer], pair.rows, pair.share) for pair in pairs]
    write_table(folder / "confused_pairs.csv", PAIR_HEADS, confused)
    rows = result.rows if dataset.origins is None else dataset.origins[result.rows]
    columns = {"row": rows, "Y": result.labels, "prediction": result.predictions}
    columns["prediction_unseen"] = result.conventional
    with written_whole(folder / "predictions.h5") as path, create_hdf5(path) as file:
        for name, numbers in columns.items():
            file[name] = numbers.numpy() + 1
        file["class_names"] = np.array([name.encode() for name in dataset.class_names])
        if job.config.classifier.store_scores:
            bias = result.scores.get("gamma", job.config.classifier.gamma)
            _write_probabilities(file, classifier, dataset, result.rows, bias)


@torch.no_grad()
def _write_probabilities(
    file: h5py.File, classifier: SoftmaxClassifier, dataset: GzslDataset, rows: Rows, bias: float
) -> None:
    """Write the softmax of the logits of some rows, less the bias on seen classes, and the classes."""
    file["classes"] = classifier.classes.numpy() + 1
    table = file.create_dataset("probabilities", (len(rows), len(classifier.classes)), np.float32)
    shift = bias * torch.isin(classifier.classes, dataset.seen_classes)
    start = 0
    for _, features in in_chunks(dataset.features, rows):
        table[start : start + len(features)] = (classifier(features) - shift).softmax(1).numpy()
        start += len(features)


def list_classes(result: Evaluation, dataset: GzslDataset) -> list[ClassRow]:
    """Return the classes that were scored, seen ones first, in the order of their numbers."""
    counts, names = result.labels.bincount(minlength=dataset.class_count).tolist(), dataset.class_names
    tested = torch.tensor(counts) > 0
    seen, unseen = (side[tested[side]].tolist() for side in (dataset.seen_classes, dataset.unseen_classes))
    plain, among = result.unseen_accuracy.tolist(), result.conventional_accuracy.tolist()
    table = [
        ClassRow(names[label], "seen", counts[label], accuracy, None)
        for label, accuracy in zip(seen, result.seen_accuracy.tolist(), strict=False)
    ]
    for place, label in enumerate(unseen if plain or among else []):
        accuracies = (values[place] if values else None for values in (plain, among))
        table.append(ClassRow(names[label], "unseen", counts[label], *accuracies))
    return table


def read_classes(path: Path) -> list[ClassRow]:
    """Read per_class_accuracy.csv; InputError if it is damaged or another table."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            heads, *rows = csv.reader(file)
        if tuple(heads) != CLASS_HEADS:
            raise ValueError(f"columns {', '.join(heads)}")
        return [
            ClassRow(name, kind, int(count), *(float(cell) if cell else None for cell in accuracies))
            for name, kind, count, *accuracies in rows
        ]
    except (ValueError, TypeError) as error:
        raise InputError(path, "table", error, f"columns {', '.join(CLASS_HEADS)}") from None
