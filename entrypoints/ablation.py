"""Train variants over several seeds and divisions of the classes: what does a part of the recipe add?"""

import sys

from cwgan.command_line import STAGE_SECTIONS, Command
from cwgan.launch import RESUME, launch

COMMAND = Command(
    "ablation",
    "Run variants, by default wgan, clswgan, cycle_wgan, cycle_clswgan and cycle_uwgan, over seeds (0, 1, 2) "
    "and divisions of the classes; two tables, one with paired tests, and one bar chart.",
    STAGE_SECTIONS,
    {**RESUME},
    config="numbers",
    work="cwgan.experiment.side_by_side:run_ablation",
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
