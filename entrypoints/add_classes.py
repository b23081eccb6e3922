"""Add classes to a trained model from their attributes alone, in seconds."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "add_classes",
    "Add classes to a trained model from their attributes alone, without training the GAN again.",
    ("generate", "classifier"),
    {
        "model": "run id of main, or run id or checkpoint of its classifier (required); its configuration "
        "is inherited",
        "attributes": "CSV file: a class's name, then its attributes in the training set's order (required)",
        "gan": "run id or checkpoint of the GAN, where `model` is not a run of main",
    },
    required=("model", "attributes"),
    inherits="model",
    work="cwgan.experiment.use:add_classes",
    artifacts={"model": "classifier.safetensors", "gan": "gan.safetensors"},
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
