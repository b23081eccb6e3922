"""Compare runs that were scored on the same data: scores, parameters that differ, and class by class."""

import sys

from cwgan.command_line import Command
from cwgan.launch import launch

COMMAND = Command(
    "compare",
    "Compare runs scored on the same data with the first: one table, one picture, a sign test over classes.",
    (),
    {"runs": "two or more run ids, or folders of runs' artifacts, as [id,id] (required)"},
    required=("runs",),
    work="cwgan.experiment.compare:compare",
    opens_run=False,
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
