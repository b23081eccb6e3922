"""What a sweep leaves on its parent run: the best setting, the evidence for it, and pictures; all of it read off the study."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from cwgan import tracking
from cwgan.command_line import flatten, nested, override, to_dict
from cwgan.config import Config
from cwgan.files import write_text
from cwgan.scoring.comparison import format_table
from cwgan.search.space import COUNT, Range, apply_point, find_point, take_gan_part
from cwgan.search.study import Study, Trial, find_best_trial, filter_state
from cwgan.stages.figures import GREY, SEEN, UNSEEN, save

LISTED = 40
"""Trials in the table at the head of the parent's page, which MLflow cuts at 8,000 characters; trials.md has all."""

ENOUGH_GANS = 5
"""From so many GAN settings on, a surface and importances are drawn: fewer say nothing of what lies between."""

RECIPE = ("data", "monitor", "regressor", "gan", "generate", "classifier", "precision")
"""The parts of a configuration that best.yaml holds."""


def report(run: tracking.Run, config: Config, study: Study) -> None:
    """Put on the parent run what came out: the answer, best.yaml, metrics, the table of trials, and pictures.

    Args:
        run: the parent.
        config: that the search started from.
        study: as far as it has got.
    """
    trials, best = study.list_trials(), find_best_trial(study.list_trials())
    counts = {f"trials_{state.lower()}": float(len(filter_state(trials, state))) for state in ("COMPLETE", "PRUNED")}
    counts["trials_broken"] = sum("error" in trial.user_attrs for trial in trials)
    # A GAN is trained once on every machine that tried a setting of it.
    places = {
        (trial.user_attrs["gan"], _find_machine(trial)) for trial in trials if "gan" in trial.user_attrs
    }
    counts["gan_trainings"] = len(places) * len(config.sweep.seeds or [config.seed])
    run.log_scores(counts)
    write_text(run.folder / "trials.md", list_trials(trials, list(study.space)))
    text = "No trial was completed."
    if best is not None:
        text = "\n\n".join([*_describe_best(run, config, study, trials, best), _count(counts, run.folder)])
        layer = yaml.safe_dump(make_layer(configure_final(config, best)), sort_keys=False)
        head = f"# Best of {len(trials)} trials of study '{study.name}': trial {best.number}"
        write_text(run.folder / "best.yaml", f"{head}\n{layer}")
        draw_pictures(run.folder, study, trials)
    final = (study.read_note("final") or {}).get("table", "")
    link = f"#/experiments/{run.experiment_id}/runs/"
    run.describe(
        "\n\n".join(filter(None, [text, final, list_trials(trials, list(study.space), link, LISTED)]))
    )
    print("\n" + text.replace("**", "").replace("`", ""), flush=True)


def configure_final(config: Config, trial: Trial) -> Config:
    """Return the configuration of a completed trial's final model: its point, its epoch and its bias gamma."""
    chosen = {"gan.epochs": trial.user_attrs["epoch"], "classifier.gamma": trial.user_attrs["gamma"]}
    return override(apply_point(config, trial.params), chosen)


def make_layer(config: Config) -> dict[str, Any]:
    """Return a configuration as a layer: what differs from the defaults, less what is of the run and not of the recipe."""
    defaults = flatten(to_dict(Config()))
    flat = {key: value for key, value in flatten(to_dict(config)).items() if value != defaults[key]}
    return nested({key: value for key, value in flat.items() if key.partition(".")[0] in RECIPE})


def list_trials(
    trials: Sequence[Trial], names: Sequence[str], link: str = "", limit: int | None = None
) -> str:
    """Return the trials as a Markdown table, the best first.

    Args:
        trials: all of a study.
        names: parameters that are searched.
        link: prefix of the address of a trial's run; empty: no links.
        limit: so many of them; None: all.
    """
    ranks = {"COMPLETE": 0, "PRUNED": 1}
    ordered = sorted(trials, key=lambda one: (ranks.get(one.state.name, 2), -(one.value or 0), one.number))
    rows = []
    for trial in ordered[:limit]:
        run_id, notes, point = trial.user_attrs.get("run_id"), trial.user_attrs, trial.params
        number = f"[{trial.number}]({link}{run_id})" if link and run_id else str(trial.number)
        value = "" if trial.value is None else f"{100 * trial.value:.1f}"
        epoch = str(notes.get("epoch") or max(trial.intermediate_values, default=""))
        rows.append(
            [
                number,
                trial.state.name.lower(),
                value,
                epoch,
                *(format_value(point.get(name, "")) for name in names),
            ]
        )
    more = f"\nand {len(ordered) - limit} more in trials.md\n" if limit and len(ordered) > limit else ""
    return format_table(["trial", "state", "value", "epoch", *names], rows) + more


def format_value(value: object) -> str:
    """Return a value for a person: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _describe_best(
    run: tracking.Run, config: Config, study: Study, trials: Sequence[Trial], best: Trial
) -> list[str]:
    """Log the best setting; return what to say of it, and how much better it is than the preset's own."""
    objective, value, point = study.options.objective, best.value or 0.0, find_point(config, study.space)
    own = next((trial for trial in reversed(trials) if trial.params == point), None)
    run.log_scores({"best_value": value})
    run.tag(
        {f"best.{name}": format_value(found) for name, found in best.params.items()}
        | {"best.trial": str(best.number)}
    )
    if own is not None and own.state.name == "COMPLETE":
        gain = value - (own.value or 0)
        run.log_scores({"default_value": own.value or 0, "gain": gain})
        said = f"{100 * gain:.1f} points more than" if gain > 0 else "no more than"
        against = (
            f"That is {said} the preset's own setting, {100 * (own.value or 0):.1f} % (trial {own.number})."
        )
    else:
        became = {"PRUNED": "pruned before its last epoch", "FAIL": "broken"}
        what = (
            became.get(own.state.name, "not finished")
            if own
            else "not tried, as it lies outside the search space"
        )
        against = f"The preset's own setting was {what}: what tuning bought is not known."
    setting = ", ".join(f"`{name}` **{format_value(found)}**" for name, found in best.params.items())
    where = f"on validation classes, trial {best.number}, epoch {best.user_attrs['epoch']}"
    return [f"**Best: {objective} {100 * value:.1f} %** {where}: {setting}.", against]


def _count(counts: dict[str, float], folder: Path) -> str:
    complete, pruned, broken, gans = (int(count) for count in counts.values())
    use = f"Use it: `-P config={folder / 'best.yaml'}`, or download that file from the artifacts."
    return f"{complete} trials complete, {pruned} pruned, {broken} broken; {gans} GANs trained. {use}"


def _find_machine(trial: Trial) -> str:
    return str(trial.user_attrs["worker"]).rpartition(":")[0]


def draw_pictures(folder: Path, study: Study, trials: Sequence[Trial]) -> None:
    """Draw how the search went and what each parameter is worth; the final values of completed trials, pruned ones as crosses."""
    title = f"{study.options.objective} on validation classes [%]"
    complete, pruned = (
        [(t, 100 * (t.value or 0)) for t in filter_state(trials, state)] for state in ("COMPLETE", "PRUNED")
    )
    figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for found, colour, mark, label in (
        (complete, SEEN, "o", "complete"),
        (pruned, GREY, "x", "pruned: last value"),
    ):
        axes.scatter(
            [t.number for t, _ in found], [v for _, v in found], s=28, color=colour, marker=mark, label=label
        )
    best = list(accumulate((value for _, value in complete), max))
    axes.step(
        [t.number for t, _ in complete], best, color=UNSEEN, linewidth=1.3, where="post", label="best so far"
    )
    axes.set(xlabel="trial", ylabel=title)
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)
    save(figure, axes, folder / "history.png")

    columns = min(3, len(study.space))
    size = 3.4 * columns, 2.9 * -(-len(study.space) // columns)
    figure, panels = plt.subplots(
        -(-len(study.space) // columns),
        columns,
        figsize=size,
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for panel in panels.flat[len(study.space) :]:
        panel.set_axis_off()
    for panel, (name, entry) in zip(panels.flat, study.space.items(), strict=False):
        for found, colour, mark in ((pruned, GREY, "x"), (complete, SEEN, "o")):
            across = [t.params[name] if isinstance(entry, Range) else str(t.params[name]) for t, _ in found]
            panel.scatter(across, [value for _, value in found], s=30, color=colour, marker=mark, alpha=0.7)
        if isinstance(entry, Range) and entry.log:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 3) if entry.high / entry.low < 1000 else (1,)))
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(name, fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supylabel(title, fontsize=9)
    save(figure, None, folder / "slices.png")

    gans = {str(take_gan_part(t.params)) for t, _ in complete}
    if len(gans) >= ENOUGH_GANS and len(study.space) > 1 and len({value for _, value in complete}) > 1:
        save(study.plot_importances().figure, None, folder / "importances.png")
        numeric = sorted(
            (name for name, entry in study.space.items() if isinstance(entry, Range)),
            key=lambda n: n == COUNT,
        )
        if len(numeric) > 1:
            pair = (numeric[0], COUNT if COUNT in numeric else numeric[1])
            save(study.plot_surface(pair).figure, None, folder / "surface.png")
