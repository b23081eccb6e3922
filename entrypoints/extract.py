"""Turn images into features by a model of timm."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "extract",
    "Turn images, a folder per class, into features by a model of timm; the next step is describe.",
    ("extract",),
    {
        "images": "folder with a folder of images per class, or CSV file with the columns file and class "
        "(required)",
        "out": "folder for features.h5 (required), by convention data/<name in lower case>",
    },
    required=("images", "out"),
    work="cwgan.images.extract:extract",
    opens_run=False,
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
