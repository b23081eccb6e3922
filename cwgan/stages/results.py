"""What a scored classifier leaves behind: results.json, per_class_accuracy.csv and predictions.h5."""

import csv
import json
from collections.abc import Mapping

import h5py
import numpy as np

from cwgan.data.dataset import GzslDataset
from cwgan.files import write_text, written_whole
from cwgan.gan.checkpoint import describe
from cwgan.scoring.evaluation import Evaluation
from cwgan.stages.job import Job


def write_results(job: Job, result: Evaluation, scores: Mapping[str, float]) -> None:
    """Write the scores by logged name, the accuracy of every class and the prediction of every row.

    predictions.h5 holds, per scored row, all 1-based: `row` (in the data set's own order, also under the
    validation protocol), `Y` (true class), `prediction` (among all classes), `prediction_unseen` (among
    unseen ones; 0 on seen rows); `class_names`.
    """
    folder, dataset = job.folder, job.dataset
    facts = {key: value for key, value in describe(dataset).items() if key != "class_names"}
    content = {"protocol": job.config.protocol, "scores": scores, "data": facts}
    write_text(folder / "results.json", json.dumps(content, indent=2) + "\n")
    with written_whole(folder / "per_class_accuracy.csv") as path, open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["class", "kind", "test_rows", "accuracy", "accuracy_among_unseen"])
        table.writerows(list_classes(result, dataset))
    rows = result.rows if dataset.origins is None else dataset.origins[result.rows]
    columns = {"row": rows, "Y": result.labels, "prediction": result.predictions}
    columns["prediction_unseen"] = result.conventional
    with written_whole(folder / "predictions.h5") as path, h5py.File(path, "w") as file:
        for name, numbers in columns.items():
            file[name] = numbers.numpy() + 1
        file["class_names"] = np.array([name.encode() for name in dataset.class_names])


def list_classes(result: Evaluation, dataset: GzslDataset) -> list[tuple[str, str, int, str, str]]:
    """Return class name, kind, test rows, accuracy and accuracy among unseen ones; "" if not measured."""
    counts = result.labels.bincount(minlength=dataset.class_count).tolist()
    seen = [label for label in dataset.seen_classes.tolist() if counts[label]]
    table = []
    for label, accuracy in zip(seen, result.seen_accuracy.tolist(), strict=False):
        table.append((dataset.class_names[label], "seen", counts[label], f"{accuracy:.4f}", ""))
    measured = (result.unseen_accuracy.tolist(), result.conventional_accuracy.tolist())
    for place, label in enumerate(label for label in dataset.unseen_classes.tolist() if counts[label]):
        plain, among_unseen = (f"{values[place]:.4f}" if values else "" for values in measured)
        if plain or among_unseen:
            table.append((dataset.class_names[label], "unseen", counts[label], plain, among_unseen))
    return table
