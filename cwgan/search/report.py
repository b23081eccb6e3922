"""What a sweep leaves on its parent run: the best setting, evidence and pictures, read off the study."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from cwgan import tracking
from cwgan.command_line import STAGE_SECTIONS, override, to_dict
from cwgan.config import Config
from cwgan.files import write_text
from cwgan.layers import flatten, nested
from cwgan.scoring.comparison import format_table, format_value
from cwgan.scoring.selection import Choice, final_half
from cwgan.search.space import COUNT, Range, apply_point, find_point, take_gan_part
from cwgan.search.study import Study, Trial, filter_state, filter_tried, find_best_trial
from cwgan.stages.figures import GREY, save

ENOUGH_GANS = 5  # fewer GAN settings say nothing of what lies between: no surface and no importances


def report(run: tracking.Run, config: Config, study: Study) -> str:
    """Put on the parent run what came out: the answer, best.yaml, metrics, the table of trials, and pictures.

    Returns the answer, to be printed. `config` is what the search started from.
    """
    trials = study.list_trials()
    best = find_best_trial(trials)
    # A GAN is trained once on every machine that tried a setting of it.
    notes = [trial.user_attrs for trial in trials if "gan" in trial.user_attrs]
    places = {(note["gan"], note["worker"].rpartition(":")[0]) for note in notes}
    metrics: dict[str, float] = {
        "trials_complete": len(filter_state(trials, "COMPLETE")),
        "trials_pruned": len(filter_state(trials, "PRUNED")),
        "trials_broken": sum("error" in trial.user_attrs for trial in trials),
        "gan_trainings": len(places) * len(config.sweep.seeds or [config.seed]),
    }
    text = "No trial was completed."
    if best is not None:
        answer, own = describe_best(best, config, study)
        complete, pruned, broken, gans = metrics.values()
        text = (
            f"{answer}\n\n{complete} trials complete, {pruned} pruned, {broken} broken; {gans} GANs trained. "
        )
        file = shlex.quote(str(run.folder / "best.yaml"))
        text += f"Use it: `-P config={file}`, or download that file from the artifacts."
        metrics |= {"best_value": best.value or 0, **own}
        run.tag({f"best.{name}": format_value(value) for name, value in best.params.items()})
        run.tag({"best.trial": str(best.number)})
        head = f"# Best of {len(trials)} trials of study '{study.name}': trial {best.number}"
        write_text(run.folder / "best.yaml", f"{head}\n{format_layer(configure_final(config, best))}")
        draw_pictures(run.folder, study)
    run.log_scores(metrics)
    table = list_trials(trials, list(study.space), f"#/experiments/{run.experiment_id}/runs/")
    write_text(run.folder / "trials.md", table)
    shown = "\n".join(table.splitlines()[:42])  # MLflow shows 8,000 characters: 40 trials; trials.md has all
    run.describe("\n\n".join(filter(None, [text, (study.read_note("final") or {}).get("table", ""), shown])))
    return "\n" + text.replace("**", "").replace("`", "")


def configure_final(config: Config, trial: Trial) -> Config:
    """Return the configuration of a completed trial's final model: its point, epoch, bias and first seed."""
    notes = trial.user_attrs
    choice = Choice(notes["epoch"], notes["epoch_steps"], notes["gamma"], {})
    final = final_half(apply_point(config, trial.params), choice)
    return override(final, {"seed": (config.sweep.seeds or [config.seed])[0]})


def format_layer(config: Config) -> str:
    """Return a configuration as a YAML layer: what differs from the defaults."""
    defaults = flatten(to_dict(Config()))
    flat = {key: value for key, value in flatten(to_dict(config)).items() if value != defaults[key]}
    kept = {
        key: flat[key]
        for key in flat
        if key.partition(".")[0] in ("seed", "select", *STAGE_SECTIONS, "precision")
    }
    return yaml.safe_dump(nested(kept), sort_keys=False)


def describe_best(best: Trial, config: Config, study: Study) -> tuple[str, dict[str, float]]:
    """Return what to say of the best setting against the preset's own, and the metrics of the comparison."""
    value, point = best.value or 0.0, find_point(config, study.space)
    setting = ", ".join(f"`{name}` **{format_value(found)}**" for name, found in best.params.items())
    where = f"on validation classes, trial {best.number}, epoch {best.user_attrs['epoch']}"
    answer = f"**Best: {study.options.objective} {100 * value:.1f} %** {where}: {setting}.\n\n"
    own = [trial for trial in study.list_trials() if trial.params == point]
    if not (complete := filter_state(own, "COMPLETE")):
        became = {"PRUNED": "was pruned", "FAIL": "broke", "": "lies outside the search space"}
        what = became.get(own[-1].state.name if own else "", "is not finished")
        return f"{answer}The preset's own setting {what}: what tuning bought is not known.", {}
    theirs = complete[0].value or 0.0
    gain = round(100 * value, 1) - round(100 * theirs, 1)  # of the two numbers that are shown
    said = f"{gain:.1f} points more than" if value > theirs else "no more than"
    answer += f"That is {said} the preset's own setting, {100 * theirs:.1f} % (trial {complete[0].number})."
    return answer, {"default_value": theirs, "gain": value - theirs}


def describe_trial(trial: Trial, study: Study) -> str:
    """Return one line on what a trial came to, and how far the study is."""
    trials, value = study.list_trials(), trial.user_attrs.get("error") or "lost, and repeated"
    if trial.value is not None:
        value = f"{study.options.objective} {100 * trial.value:.1f} %"
    done = f"{len(filter_tried(trials)):>3}/{study.count_asked()} trial {trial.number}"
    point = "  ".join(f"{name} {format_value(found)}" for name, found in trial.params.items())
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    best = find_best_trial(trials)
    so_far = f"best: trial {best.number}, {100 * (best.value or 0):.1f} %" if best else ""
    return f"{done} {trial.state.name.lower()}: {value}  {point}  ({seconds:.1f} s)  {so_far}"


def list_trials(trials: Sequence[Trial], names: Sequence[str], link: str) -> str:
    """Return trials as a table, the best first; `link` and the id of its run lead to a trial's page."""
    ranks, rows = {"COMPLETE": 0, "PRUNED": 1}, []
    for trial in sorted(
        trials, key=lambda one: (ranks.get(one.state.name, 2), -(one.value or 0), one.number)
    ):
        notes, value = trial.user_attrs, "" if trial.value is None else f"{100 * trial.value:.1f}"
        number = f"[{trial.number}]({link}{notes['run_id']})" if "run_id" in notes else str(trial.number)
        epoch = str(notes.get("epoch") or max(trial.intermediate_values, default=""))
        settings = [format_value(trial.params.get(name, "")) for name in names]
        rows.append([number, trial.state.name.lower(), value, epoch, *settings])
    return format_table(["trial", "state", "value", "epoch", *names], rows)


def draw_pictures(folder: Path, study: Study) -> None:
    """Draw final values of completed trials over time and over each parameter; pruned ones as crosses."""
    complete, pruned = (filter_state(study.list_trials(), state) for state in ("COMPLETE", "PRUNED"))
    title, values = f"{study.options.objective} on validation classes", [trial.value or 0 for trial in pruned]
    cross = {"marker": "x", "color": GREY, "label": "pruned: its last value"}
    history = study.plot("optimization_history", target_name=title)
    history.scatter([trial.number for trial in pruned], values, **cross)
    history.legend()
    save(history.figure, folder / "history.png")
    panels = np.ravel(study.plot("slice", target_name=title))
    for panel, name in zip(panels, sorted(study.space), strict=False):
        panel.scatter([trial.params[name] for trial in pruned], values, **cross)
        panel.tick_params(which="minor", labelbottom=False)  # of logarithms: they lie over one another
    save(panels[0].figure, folder / "slices.png")
    gans = {str(take_gan_part(trial.params)) for trial in complete}
    if len(gans) < ENOUGH_GANS or len({trial.value for trial in complete}) < 2 or len(study.space) < 2:
        return
    importances = study.plot("param_importances").figure
    importances.set_layout_engine("tight")  # else long names are cut off
    save(importances, folder / "importances.png")
    numeric = [name for name, entry in study.space.items() if isinstance(entry, Range)]
    if len(numeric) > 1:
        pair = [*(name for name in numeric if name != COUNT), *([COUNT] if COUNT in numeric else [])]
        contour = study.plot("contour", params=[pair[0], pair[-1]], target_name=title)
        save(contour.figure, folder / "surface.png")
