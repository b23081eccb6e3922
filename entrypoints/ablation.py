"""Train the five loss variants over several seeds under one parent run: does the cycle loss help, and by how much?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from entrypoints import main
from entrypoints.launch import launch

if TYPE_CHECKING:
    from cwgan.tracking import Run

COMMAND = Command(
    "ablation",
    "Train the variants wgan, clswgan, cycle_wgan, cycle_clswgan and cycle_uwgan over seeds (0, 1, 2); one table, one bar chart.",
    main.COMMAND.sections,
    config=main.COMMAND.config,
)
SEEDS = [0, 1, 2]


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    from cwgan.scoring import comparison
    from cwgan.stages import figures

    spreads = {}
    for variant, configured in comparison.of_variants(config).items():
        seeds = comparison.of_seeds(configured, config.seeds or SEEDS)
        spreads[variant] = comparison.spread(
            main.repeated(run, {f"{variant} {seed}": each for seed, each in seeds.items()}, files)
        )
        run.log_scores(comparison.logged(spreads[variant], f"{variant}/"))
    rows = {
        variant: row for variant, spread in spreads.items() for row in comparison.by_protocol(spread).values()
    }
    table = comparison.table(f"{len(config.seeds or SEEDS)} seeds", rows)
    (run.folder / "ablation.md").write_text(table)
    run.describe(table)
    figures.variant_bars(run.folder / "ablation.png", spreads)
    print(f"\n{table}")


if __name__ == "__main__":
    sys.exit(launch(COMMAND, {}, body))
