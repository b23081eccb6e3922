"""Several roads under one run: over seeds, and over loss variants."""

from collections.abc import Mapping, Sequence

from cwgan import tracking
from cwgan.command_line import STAGE_SECTIONS, override
from cwgan.config import Config
from cwgan.experiment.road import run_road, say_where, show_table
from cwgan.experiment.steps import Files
from cwgan.scoring import comparison
from cwgan.scoring.comparison import Spread, split_protocols, tabulate_scores, to_metrics
from cwgan.stages.figures import draw_variants
from cwgan.tracking import Run

Spreads = dict[str, dict[str, Spread]]


def run_side_by_side(run: Run, configs: Mapping[str, Config], seeds: Sequence[int], files: Files) -> Spreads:
    """Go the whole road with every configuration and every seed; return the scores' spread over the seeds.

    The run, open in this process, becomes the parent of runs named "<name> seed <seed>".
    """
    spreads = {}
    for name, config in configs.items():
        scores = []
        for seed in seeds:
            seeded, title = override(config, {"seed": seed, "seeds": []}), f"{name} seed {seed}".strip()
            with tracking.run(title, seeded, STAGE_SECTIONS, {}, run.scratch, is_child=True) as child:
                scores.append(run_road(child, seeded, files))
        spreads[name] = comparison.spread(scores)
    return spreads


def run_main(run: Run, config: Config, files: Files) -> None:
    """Go the whole road once, or once per seed, and print where to look."""
    if config.seeds:
        spreads = run_side_by_side(run, {"": config}, config.seeds, files)[""]
        run.log_scores(to_metrics(spreads))
        rows = split_protocols(spreads)
        show_table(run, "summary.md", tabulate_scores(f"{len(config.seeds)} seeds", rows))
    else:
        run_road(run, config, files)
    say_where(run)


def run_ablation(run: Run, config: Config, files: Files) -> None:
    """Go the whole road with every loss variant and every seed; one table, one bar chart."""
    seeds = config.seeds or [0, 1, 2]
    spreads: Spreads = {}
    for variant, changed in comparison.list_variants(config).items():
        spreads |= run_side_by_side(run, {variant: changed}, seeds, files)
        run.log_scores(to_metrics(spreads[variant], f"{variant}/"))
    rows = {variant: row for variant, each in spreads.items() for row in split_protocols(each).values()}
    draw_variants(run.folder / "ablation.png", spreads)
    show_table(run, "ablation.md", tabulate_scores(f"{len(seeds)} seeds", rows))
