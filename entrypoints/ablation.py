"""Train the five loss variants over several seeds: does the cycle loss help, and by how much?"""

import sys

from cwgan.command_line import STAGE_SECTIONS, Command
from cwgan.launch import launch

COMMAND = Command(
    "ablation",
    "Train the variants wgan, clswgan, cycle_wgan, cycle_clswgan and cycle_uwgan over seeds (0, 1, 2); "
    "one table, one bar chart.",
    STAGE_SECTIONS,
    config="numbers",
    work="cwgan.experiment.side_by_side:run_ablation",
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
