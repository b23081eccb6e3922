"""Generate features of classes from their attributes with a trained GAN."""

import sys

from cwgan.command_line import Command
from cwgan.launch import RESUME, launch

COMMAND = Command(
    "generate",
    "Generate features of unseen, seen or all classes from their attributes, with a trained GAN.",
    ("data", "generate"),
    {"gan": "run id or checkpoint of the trained GAN (required); its configuration is inherited", **RESUME},
    required=("gan",),
    inherits="gan",
    work="cwgan.experiment.steps:generate_rows",
    artifacts={"gan": "gan.safetensors"},
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
