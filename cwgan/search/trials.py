"""The trials of a search as plain values: which is the best, what it becomes, and the table of them all."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cwgan.command_line import flatten, nested, to_dict
from cwgan.config import Config
from cwgan.search.space import Point, placed

FINISHED = ("COMPLETE", "PRUNED")


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Args:
        number: from 0, in the order in which trials began.
        state: Optuna's: WAITING, RUNNING, COMPLETE, PRUNED or FAIL.
        value: the objective; of a pruned trial its last scored epoch's; None where there is none.
        point: the setting.
        notes: what was written down of it, such as run_id, epoch, gamma, error.
        curve: the objective by scored epoch.
        began: seconds since 1970; 0 if it has not.
        ended: seconds since 1970; 0 if it has not.
    """

    number: int
    state: str
    value: float | None
    point: Point
    notes: Mapping[str, Any]
    curve: Mapping[int, float]
    began: float
    ended: float


def in_state(trials: Sequence[Trial], *states: str) -> list[Trial]:
    """Return the trials in one of some states."""
    return [trial for trial in trials if trial.state in states]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the completed trial of highest value, the earliest of equals."""
    return max(in_state(trials, "COMPLETE"), key=lambda trial: (trial.value, -trial.number), default=None)


def broken_in_a_row(trials: Sequence[Trial], first: int) -> int:
    """Return how many of the trials that ended last, among those from a number on, broke by an error of their own."""
    ended = sorted(
        (trial for trial in trials if trial.ended and trial.number >= first),
        key=lambda trial: trial.ended,
        reverse=True,
    )
    count = 0
    for trial in ended:
        if trial.state != "FAIL":
            break
        count += "error" in trial.notes
    return count


def configured(config: Config, trial: Trial) -> Config:
    """Return the configuration of a completed trial's final model: its point, its epoch and its bias gamma."""
    setting = placed(config, trial.point)
    gan = dataclasses.replace(setting.gan, epochs=trial.notes["epoch"])
    return dataclasses.replace(
        setting, gan=gan, classifier=dataclasses.replace(setting.classifier, gamma=trial.notes["gamma"])
    )


def layer_of(config: Config) -> dict[str, Any]:
    """Return a configuration as a layer: what differs from the defaults, less what belongs to a run and not to a recipe."""
    kept = ("data", "monitor", "regressor", "gan", "generate", "classifier", "precision")
    defaults = flatten(to_dict(Config()))
    flat = {
        key: value
        for key, value in flatten(to_dict(config)).items()
        if value != defaults[key] and key.partition(".")[0] in kept
    }
    return nested(flat)


def table(trials: Sequence[Trial], names: Sequence[str], link: str = "", limit: int | None = None) -> str:
    """Return the trials as a Markdown table, the best first.

    Args:
        trials: all of a study.
        names: parameters that are searched.
        link: prefix of the address of a trial's run; empty: no links.
        limit: so many of them; None: all.
    """
    ranks = {"COMPLETE": 0, "PRUNED": 1}
    ordered = sorted(trials, key=lambda trial: (ranks.get(trial.state, 2), -(trial.value or 0), trial.number))
    lines = [
        f"| trial | state | value | epoch | {' | '.join(names)} |",
        "|---:|---|---:|---:|" + "---:|" * len(names),
    ]
    for trial in ordered[:limit]:
        run_id = trial.notes.get("run_id")
        label = f"[{trial.number}]({link}{run_id})" if link and run_id else str(trial.number)
        value = "" if trial.value is None else f"{100 * trial.value:.1f}"
        epoch = trial.notes.get("epoch") or max(trial.curve, default="")
        cells = [
            label,
            trial.state.lower(),
            value,
            str(epoch),
            *(shown(trial.point.get(name, "")) for name in names),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    more = f"\nand {len(ordered) - limit} more in trials.md\n" if limit and len(ordered) > limit else ""
    return "\n".join(lines) + "\n" + more


def shown(value: object) -> str:
    """Return a value for a person: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
