"""Name the class of every row in a file of features, or of every image in a folder, with a trained model."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "predict",
    "Name the class of every row of features, or of every image, with a trained model; write a CSV file.",
    ("extract",),
    {
        "model": "run id, models:/<name>@<alias>, models:/<name>/<version>, or a model's folder (required)",
        "features": "rows in the units of the training data: .npy, .csv, .h5 or .mat (this or images)",
        "images": "folder of images, for a model that learnt from images",
        "weights": "file of the backbone's weights, where it is no longer where it was",
        "out": "CSV file for the answers (required)",
    },
    required=("model", "out"),
    work="cwgan.experiment.use:predict",
    opens_run=False,
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
