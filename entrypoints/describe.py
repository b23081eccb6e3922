"""Complete features of images to a data set, with a description of every class."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "describe",
    "Complete the features that extract made to a data set, with a description of every class.",
    ("describe",),
    {
        "descriptions": "CSV file: a class, then named attributes; or YAML file of class: text (required)",
        "out": "folder that holds features.h5, for data.h5, knn.h5 and splits.yaml (required)",
        "splits": "YAML file that names unseen and validation classes or test files, as in splits.yaml; "
        "what it does not name is drawn",
    },
    required=("descriptions", "out"),
    work="cwgan.images.describe:describe",
    opens_run=False,
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
