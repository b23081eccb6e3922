"""What a sweep leaves on its parent run: the best setting, the evidence for it, and what it is worth on test rows."""

import dataclasses
from typing import TYPE_CHECKING

import yaml

from cwgan.config import Config
from entrypoints import main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cwgan.search.space import Point, Space
    from cwgan.search.study import Search
    from cwgan.search.trials import Trial
    from cwgan.tracking import Run

SHOWN = 40
"""Trials in the table at the head of the parent's page, which MLflow cuts at 8,000 characters; trials.md has all."""


def report(run: "Run", config: Config, space: "Space", search: "Search") -> tuple[str, str]:
    """Put on the parent run what came out: the best setting as values, metrics and a layer, the table of trials, and pictures.

    Args:
        run: the parent.
        config: that the search started from.
        space: what is searched.
        search: as far as it has got.

    Returns:
        What stands at the head of the run's page, in Markdown: the answer, and the table of trials.
    """
    from cwgan.search import figures
    from cwgan.search.space import COUNT, Range, point_of
    from cwgan.search.trials import best_of, configured, in_state, layer_of, shown, table

    trials, objective = search.trials(), search.options.objective
    best = best_of(trials)
    # A GAN is trained once on every machine that tried a setting of it.
    begun = len(
        {
            (note["gan"], note["worker"].rpartition(":")[0])
            for trial in trials
            if "gan" in (note := trial.notes)
        }
    )
    begun *= len(config.sweep.seeds or [config.seed])
    counts = {f"trials_{state.lower()}": len(in_state(trials, state)) for state in ("COMPLETE", "PRUNED")}
    counts["trials_broken"] = sum("error" in trial.notes for trial in trials)
    run.log_scores({**counts, "gan_trainings": begun})
    listed = table(trials, list(space), f"#/experiments/{run.experiment_id}/runs/", SHOWN)
    (run.folder / "trials.md").write_text(table(trials, list(space)))
    if best is None:
        run.describe(f"No trial was completed.\n\n{listed}")
        return "No trial was completed.", listed
    lines = [
        f"**Best: {objective} {100 * (best.value or 0):.1f} %** on validation classes, trial {best.number}, epoch {best.notes['epoch']}: "
    ]
    lines[0] += ", ".join(f"`{name}` **{shown(value)}**" for name, value in best.point.items()) + "."
    lines.append(against_default(trials, best, point_of(config, space)))
    lines.append(
        f"{counts['trials_complete']} trials complete, {counts['trials_pruned']} pruned, {counts['trials_broken']} broken; "
    )
    lines[-1] += (
        f"{begun} GANs trained. Use it: `-P config={run.folder / 'best.yaml'}`, or download that file from the artifacts."
    )
    text = "\n\n".join(lines)
    run.log_scores({"best_value": best.value or 0})
    if default := finished_at(trials, point_of(config, space)):
        run.log_scores(
            {"default_value": default.value or 0, "gain": (best.value or 0) - (default.value or 0)}
        )
    run.tag(
        {f"best.{name}": shown(value) for name, value in best.point.items()}
        | {"best.trial": str(best.number)}
    )
    layer = yaml.safe_dump(layer_of(configured(config, best)), sort_keys=False)
    (run.folder / "best.yaml").write_text(
        f"# Best of {len(trials)} trials of study '{search.name}': trial {best.number}\n{layer}"
    )
    run.describe(f"{text}\n\n{listed}")
    figures.search_history(run.folder / "history.png", trials, objective)
    figures.search_slices(run.folder / "slices.png", trials, space, objective)
    if shares := search.importances():
        figures.search_importances(run.folder / "importances.png", shares, objective)
    numeric = sorted(
        (name for name, entry in space.items() if isinstance(entry, Range)), key=lambda name: name == COUNT
    )
    if len(numeric) > 1:
        pair = (numeric[0], COUNT if COUNT in numeric else numeric[1])
        figures.search_surface(run.folder / "surface.png", trials, space, pair, objective)
    print("\n" + text.replace("**", "").replace("`", ""), flush=True)
    return text, listed


def finished_at(trials: "Sequence[Trial]", point: "Point | None") -> "Trial | None":
    """Return the completed trial of a setting, if there is one."""
    return next((trial for trial in trials if trial.state == "COMPLETE" and trial.point == point), None)


def against_default(trials: "Sequence[Trial]", best: "Trial", point: "Point | None") -> str:
    """Return a sentence on how much better than the preset's own setting the best is, or why that cannot be said."""
    if default := finished_at(trials, point):
        gain = 100 * ((best.value or 0) - (default.value or 0))
        said = f"{gain:.1f} points more than" if gain > 0 else "no more than"
        return f"That is {said} the preset's own setting, {100 * (default.value or 0):.1f} % (trial {default.number})."
    if point is None:
        return "The preset's own setting lies outside the search space and was not tried: what tuning bought is not known."
    found = next((trial for trial in trials if trial.point == point), None)
    became = {"PRUNED": "pruned before its last epoch", "FAIL": "broken"}.get(
        found.state if found else "", "not finished"
    )
    return f"The preset's own setting was {became}: what tuning bought is not known."


def final(run: "Run", config: Config, search: "Search", text: str, listed: str) -> None:
    """Train the best and the preset's own setting under the final protocol, once per seed, and put them side by side.

    Args:
        run: the parent.
        config: that the search started from.
        search: done.
        text, listed: what stands at the head of the parent's page; the new table comes between them.
    """
    from cwgan.scoring import comparison
    from cwgan.search.trials import best_of, configured

    best = best_of(search.trials())
    seeds = config.seeds or [config.seed]
    done = search.noted("final") or {}
    if best is None or (done.get("trial"), done.get("seeds")) == (best.number, seeds):
        run.describe(f"{text}\n\n{done.get('table', '')}\n{listed}")
        return
    plain = dataclasses.replace(config, protocol="final", select=False)
    spreads = {}
    for name, setting in (("best", configured(plain, best)), ("default", plain)):
        runs = {f"{name} {key}": each for key, each in comparison.of_seeds(setting, seeds).items()}
        spreads[name] = comparison.spread(main.repeated(run, runs, {}))
    run.log_scores(
        {**comparison.logged(spreads["best"]), **comparison.logged(spreads["default"], "default/")}
    )
    rows = {name: comparison.by_protocol(spread)["test"] for name, spread in spreads.items()}
    written = comparison.table(f"test rows, seeds {', '.join(map(str, seeds))}", rows)
    written += "\nBest: its epoch and gamma are from validation classes. Default: the preset as it is, last epoch, gamma 0.\n"
    (run.folder / "final.md").write_text(written)
    run.describe(f"{text}\n\n{written}\n{listed}")
    search.note("final", {"trial": best.number, "seeds": seeds, "table": written})
    print(f"\n{written}")
