"""Runs side by side that were scored on the same data: what differs in parameters, scores and classes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from textwrap import shorten
from typing import Any

from cwgan import tracking
from cwgan.command_line import Arguments, override
from cwgan.errors import InputError
from cwgan.experiment.road import say_where, show_table
from cwgan.files import write_table
from cwgan.layers import flatten, read_layer
from cwgan.scoring.comparison import format_table, format_value, split_protocols, tabulate_scores
from cwgan.scoring.sign_test import compare_classes
from cwgan.stages.class_figures import Difference, draw_comparison
from cwgan.stages.results import read_classes

NOT_COMPARED = ("run_name", "description", "metrics", "experiment", "threads")
"""Settings that say nothing of the model."""

LONGEST_NAME = 24  # in the heads of tables
MEASURES = ("seen", "unseen", "unseen among unseen")
LEGEND = """How many classes have a higher, a lower and the same accuracy as in A, and p of a sign test over
those that differ: how likely so uneven a division would be if neither run were better. It is about these
classes, and does not say what other seeds would give.
"""


@dataclass(frozen=True)
class Scored:
    """A run that is compared: its title, facts of its data, settings, scores and accuracies.

    `classes` are accuracies, as fractions, by measure (`MEASURES`) and by class name.
    """

    title: str
    data: dict[str, Any]
    settings: dict[str, Any]
    scores: dict[str, float]
    classes: dict[str, dict[str, float]]


def compare(arguments: Arguments, scratch: Path) -> None:
    """Compare the runs that were given with the first of them, in a run of its own.

    InputError, before that run is opened, for fewer than two, for one without results, and for other data.
    """
    given = arguments.references["runs"].strip("[]").split(",")
    references = [name for part in given if (name := part.strip(" '\""))]
    if not 2 <= len(references) <= len(ascii_uppercase):
        raise InputError("--runs", "value", f"{len(references)} run(s)", "2 to 26 of them, as [id,id]")
    named = zip(ascii_uppercase, references, strict=False)
    runs = [read_run(letter, reference, scratch) for letter, reference in named]
    first, *others = runs
    for run in others:
        _check_same_data(run, first)
    data = {"data.name": first.data["name"], "data.path": first.settings["data.path"]}
    config = override(arguments.config, data)
    with tracking.run("compare", config, (), {"runs": ",".join(references)}, scratch) as opened:
        opened.tag({"data.digest": first.data["digest"]})
        differences = {run.title: list_differences(run, first) for run in others}
        draw_comparison(
            opened.folder / "comparison.png", {run.title: run.scores for run in runs}, differences
        )
        rows = [
            (name, measure, *(run.classes[measure].get(name) for run in runs))
            for measure in MEASURES
            for name in first.classes[measure]
        ]
        write_table(
            opened.folder / "class_differences.csv", ["class", "kind", *(run.title for run in runs)], rows
        )
        show_table(opened, "comparison.md", describe(runs))
        say_where(opened)


def read_run(letter: str, reference: str, scratch: Path) -> Scored:
    """Read what a scored run left; InputError if it is not one, or is damaged."""
    parameter = f"runs {letter}"  # a name of its own, as what is downloaded lies in a folder of that name
    results, table, layer = (
        tracking.resolve(reference, name, parameter, scratch)
        for name in ("results.json", "per_class_accuracy.csv", "config.yaml")
    )
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
        data, scores = content["data"], content["scores"]
        facts = {name: data[name] for name in ("name", "digest")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(results, "content", repr(error), "results.json of a run that was scored") from None
    rows = read_classes(table)
    measured = {
        "seen": {row.name: row.accuracy for row in rows if row.kind == "seen"},
        "unseen": {row.name: row.accuracy for row in rows if row.kind == "unseen"},
        "unseen among unseen": {row.name: row.among_unseen for row in rows},
    }
    classes = {
        measure: {name: value for name, value in each.items() if value is not None}
        for measure, each in measured.items()
    }
    name = shorten(tracking.find_name(reference) or Path(reference).name, LONGEST_NAME, placeholder=" ...")
    title = f"{letter} {name}"
    return Scored(title, facts, flatten(read_layer(layer)), scores, classes)


def list_differences(run: Scored, first: Scored) -> list[Difference]:
    """Return by how much the accuracy of every class is higher than in the first run, in points."""
    found = dict[str, Difference]()
    for measure in MEASURES:
        ours, theirs = run.classes[measure], first.classes[measure]
        for name in ours.keys() & theirs.keys():
            found.setdefault(name, Difference(name, measure.split()[0], 100 * (ours[name] - theirs[name])))
    return sorted(found.values(), key=lambda each: (-each.points, each.name))


def describe(runs: Sequence[Scored]) -> str:
    """Return three tables: scores, sign tests over classes beside the first run, and settings that differ."""
    first, *others = runs
    scores = {run.title: row for run in runs for row in split_protocols(run.scores).values()}
    tests = []
    for run in others:
        for measure in MEASURES:
            if first.classes[measure].keys() & run.classes[measure].keys():
                test = compare_classes(run.classes[measure], first.classes[measure])
                counts = (str(count) for count in (test.better, test.worse, test.equal))
                p = f"{test.p:.3f}" if test.p >= 0.001 else "< 0.001"
                tests.append([run.title, measure, *counts, p])
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    settings = [[name, *(format_value(run.settings.get(name, "")) for run in runs)] for name in names]
    differing = [row for row in settings if len({*row[1:]}) > 1 and row[0] not in NOT_COMPARED]
    tables = [
        tabulate_scores("test scores [%]", scores),
        format_table(["beside A", "classes", "better", "worse", "equal", "p"], tests),
        LEGEND,
        format_table(["parameter", *(run.title for run in runs)], differing)
        if differing
        else "No parameter differs.\n",
    ]
    return "\n".join(tables)


def _check_same_data(run: Scored, first: Scored) -> None:
    if run.data["digest"] != first.data["digest"]:
        found = f"{run.data['digest']} ({run.data['name']}) of {run.title}"
        allowed = f"{first.data['digest']} ({first.data['name']}), that of {first.title}"
        raise InputError("--runs", "data digest", found, f"{allowed}; it is of rows and attributes as scaled")
