"""Score a saved classifier again, on any data set with the same classes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from entrypoints.launch import launch, open_data, percent
from entrypoints.train_cls import report

if TYPE_CHECKING:
    from cwgan.tracking import Run

COMMAND = Command(
    "evaluate",
    "Score a saved classifier on a data set with the same classes; write results.json and predictions.h5.",
    ("data",),
    {"classifier": "run id or checkpoint of the final classifier (required); its configuration is inherited"},
    required=("classifier",),
    inherits="classifier",
)
ARTIFACTS = {"classifier": "classifier.safetensors"}


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    from cwgan.stages import pipeline

    dataset = open_data(run, config)
    result = pipeline.evaluate_classifier(config, dataset, files["classifier"], run.folder)
    print(percent(pipeline.worth_showing(report(run, config, dataset, result))))


if __name__ == "__main__":
    sys.exit(launch(COMMAND, ARTIFACTS, body))
