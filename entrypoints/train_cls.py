"""Train the final softmax classifier on real and synthetic features and score it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from entrypoints.launch import launch, open_data, percent

if TYPE_CHECKING:
    from cwgan.data.dataset import GzslDataset
    from cwgan.scoring.evaluation import Evaluation
    from cwgan.tracking import Run

COMMAND = Command(
    "train_cls",
    "Train the final softmax classifier on real and synthetic features; log S, U, H and T1.",
    ("data", "classifier"),
    {"synthetic": "run id or file of the synthetic features (required); their configuration is inherited"},
    required=("synthetic",),
    inherits="synthetic",
)
ARTIFACTS = {"synthetic": "synthetic.h5"}


def stage(run: "Run", config: Config, dataset: "GzslDataset", synthetic_file: Path) -> dict[str, float]:
    """Fit, score, log and draw; return the scores by their logged names."""
    from cwgan.stages import pipeline

    result = pipeline.train_classifier(config, dataset, synthetic_file, run.folder, run.log)
    return report(run, config, dataset, result)


def report(run: "Run", config: Config, dataset: "GzslDataset", result: "Evaluation") -> dict[str, float]:
    """Log the scores of an evaluation and draw the accuracy of every class; return the scores by their logged names."""
    from cwgan.stages import figures, pipeline

    scores = pipeline.scores_of(result, config)
    run.log_scores(scores)
    figures.class_accuracies(
        run.folder / "class_accuracies.png", result, dataset, pipeline.chosen(scores, pipeline.HEADLINE)
    )
    if result.curve:
        figures.seen_unseen(run.folder / "seen_unseen_curve.png", result.curve, result.scores)
    return scores


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    from cwgan.stages import pipeline

    dataset = open_data(run, config)
    scores = stage(run, config, dataset, files["synthetic"])
    print(percent(pipeline.worth_showing(scores)))


if __name__ == "__main__":
    sys.exit(launch(COMMAND, ARTIFACTS, body))
