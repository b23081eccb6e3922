"""What a scored classifier leaves behind: results.json, per_class_accuracy.csv and predictions.h5."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np

from cwgan.data.dataset import GzslDataset
from cwgan.files import written_whole
from cwgan.gan.checkpoint import describe
from cwgan.scoring.evaluation import Evaluation


def write_results(
    folder: Path, result: Evaluation, scores: dict[str, float], protocol: str, dataset: GzslDataset
) -> None:
    """Write the scores, the accuracy of every class and the prediction of every row.

    Args:
        folder: receives the three files.
        result: the evaluation.
        scores: by the names they are logged by, as fractions.
        protocol: "final" or "validation".
        dataset: that was scored.

    predictions.h5 holds, per scored row: `row` (1-based, in the data set's own order), `Y` (1-based true class),
    `prediction` (among all classes) and `prediction_unseen` (among unseen classes; 0 on seen rows), and `class_names`.
    """
    facts = {key: value for key, value in describe(dataset).items() if key != "class_names"}
    with written_whole(folder / "results.json") as path:
        path.write_text(json.dumps({"protocol": protocol, "scores": scores, "data": facts}, indent=2) + "\n")
    with written_whole(folder / "per_class_accuracy.csv") as path, open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["class", "kind", "test_rows", "accuracy", "accuracy_among_unseen"])
        table.writerows(class_rows(result, dataset))
    with written_whole(folder / "predictions.h5") as path, h5py.File(path, "w") as file:
        file["row"], file["Y"] = result.rows.numpy() + 1, result.labels.numpy() + 1
        file["prediction"], file["prediction_unseen"] = (
            result.predictions.numpy() + 1,
            result.conventional.numpy() + 1,
        )
        file["class_names"] = np.array([name.encode() for name in dataset.class_names])


def class_rows(result: Evaluation, dataset: GzslDataset) -> list[tuple[str, str, int, str, str]]:
    """Return class name, kind, test rows, accuracy and accuracy among unseen classes; empty text where not measured."""
    counts = result.labels.bincount(minlength=dataset.class_count).tolist()
    seen = [label for label in dataset.seen_classes.tolist() if counts[label]]
    unseen = dataset.unseen_classes.tolist()
    table = []
    for label, accuracy in zip(seen, result.seen_accuracy.tolist(), strict=False):
        table.append((dataset.class_names[label], "seen", counts[label], f"{accuracy:.4f}", ""))
    for place, label in enumerate(unseen):
        cells = [
            f"{values[place].item():.4f}" if len(values) else ""
            for values in (result.unseen_accuracy, result.conventional_accuracy)
        ]
        if any(cells):
            table.append((dataset.class_names[label], "unseen", counts[label], *cells))
    return table
