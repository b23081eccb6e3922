"""Several roads under one run: over seeds, over variants, and over divisions of the classes."""

from collections.abc import Sequence
from functools import partial
from itertools import chain

from cwgan import tracking
from cwgan.command_line import STAGE_SECTIONS, override
from cwgan.config import Config
from cwgan.experiment.road import run_road, say_where, show_table
from cwgan.experiment.steps import Files
from cwgan.scoring.comparison import (
    Scores,
    format_headline,
    list_variants,
    split_protocols,
    spread,
    tabulate_scores,
    to_metrics,
)
from cwgan.scoring.paired import tabulate_pairs
from cwgan.stages.figures import draw_variants
from cwgan.tracking import Run


def run_seeds(run: Run, name: str, config: Config, seeds: Sequence[int], files: Files) -> list[Scores]:
    """Go the whole road with every seed; return the scores of each.

    The run, open in this process, becomes the parent of runs named "<name> seed <seed>".
    """
    scores = list[Scores]()
    for seed in seeds:
        seeded = override(config, {"seed": seed, "seeds": [], "variants": [], "divisions": []})
        title = f"{name} seed {seed}".strip()
        scores.append(run.remember(title, partial(_run_seed, run, title, seeded, files)))
    return scores


def _run_seed(run: Run, title: str, config: Config, files: Files) -> Scores:
    with tracking.run(title, config, STAGE_SECTIONS, {}, run.scratch, within=run) as child:
        scores = run_road(child, config, files)
    run.take_data(child)
    return scores


def run_main(run: Run, config: Config, files: Files) -> None:
    """Go the whole road once, or once per seed, and print where to look."""
    if len(config.seeds) > 1:
        found = run_seeds(run, run.references.get("variant", ""), config, config.seeds, files)
        spreads = spread(found)
        run.log_scores(to_metrics(spreads))
        rows = split_protocols(spreads)
        bars = {f"seed {seed}": spread([scores]) for seed, scores in zip(config.seeds, found, strict=True)}
        draw_variants(run.folder / "seeds.png", bars)
        title = f"{len(config.seeds)} seeds"
        show_table(run, "summary.md", tabulate_scores(title, rows), format_headline(spreads))
    else:
        seed = {"seed": config.seeds[0], "seeds": []} if config.seeds else {}
        run_road(run, override(config, seed), files)
    say_where(run)


def run_ablation(run: Run, config: Config, files: Files) -> None:
    """Go the whole road with every variant, division and seed; two tables, one bar chart."""
    seeds, divisions = config.seeds or [0, 1, 2], config.divisions or [config.data.division]
    found, spreads = dict[str, list[list[Scores]]](), {}
    for variant, changed in list_variants(config).items():
        found[variant] = []
        for division in divisions:
            title = f"{variant} division {division}" if len(divisions) > 1 else variant
            divided = override(changed, {"data.division": division})
            found[variant].append(run_seeds(run, title, divided, seeds, files))
        spreads[variant] = spread([*chain(*found[variant])])
        run.log_scores(to_metrics(spreads[variant], f"{variant}/"))
    rows = {variant: row for variant, each in spreads.items() for row in split_protocols(each).values()}
    draw_variants(run.folder / "ablation.png", spreads)
    counted = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    head = counted if len(divisions) == 1 else f"{len(divisions)} divisions, {counted}"
    show_table(
        run, "ablation.md", "\n".join(filter(None, [tabulate_scores(head, rows), tabulate_pairs(found)]))
    )
    say_where(run)
