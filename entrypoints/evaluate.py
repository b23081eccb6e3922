"""Score a saved classifier again, also on other rows of the same classes."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "evaluate",
    "Score a saved classifier on a data set with the same classes; write results.json and predictions.h5.",
    ("data",),
    {"classifier": "run id or checkpoint of the final classifier (required); its configuration is inherited"},
    required=("classifier",),
    inherits="classifier",
    work="cwgan.experiment.steps:evaluate",
    artifacts={"classifier": "classifier.safetensors"},
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
