"""Train the final softmax classifier on real and synthetic features and score it."""

import sys

from cwgan.command_line import Command
from cwgan.launch import RESUME, launch

COMMAND = Command(
    "train_cls",
    "Train the final softmax classifier on real and synthetic features; log S, U, H and T1.",
    ("data", "classifier"),
    {
        "synthetic": "run id or file of the synthetic features (required); their configuration is inherited",
        **RESUME,
    },
    required=("synthetic",),
    inherits="synthetic",
    work="cwgan.experiment.steps:train_cls",
    artifacts={"synthetic": "synthetic.h5"},
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
