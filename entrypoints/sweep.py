"""Search the setting of highest H on validation classes; a parent run for the study, a child run a trial."""

import sys

from cwgan.command_line import STAGE_SECTIONS, Command
from cwgan.launch import launch

COMMAND = Command(
    "sweep",
    "Search the setting of highest H on validation classes, such as cycle weight and synthetic count; "
    "one parent run, a child run a trial.",
    (*STAGE_SECTIONS, "sweep"),
    config="numbers",
    work="cwgan.search.sweep:sweep",
    opens_run=False,
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
