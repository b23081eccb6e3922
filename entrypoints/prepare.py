"""Convert a data set into the original code's HDF5 pair."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "prepare",
    "Convert a data set, such as an xlsa17 folder, into the original HDF5 pair data.h5 and knn.h5.",
    ("data",),
    {"out": "folder for the pair (required), by convention data/<name in lower case>"},
    required=("out",),
    work="cwgan.experiment.steps:prepare",
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
