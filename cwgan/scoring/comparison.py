"""Scores of several runs side by side: mean and deviation over seeds, and tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.layers import find_layer, flatten, read_layer

VARIANTS = ("wgan", "clswgan", "cycle_wgan", "cycle_clswgan", "cycle_uwgan")
SHOWN = ("S", "U", "H", "T1", "AUSUC", "raw_S", "raw_U", "raw_H", "gamma")
Scores = Mapping[str, float]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for a single value) of one score over runs."""

    mean: float
    deviation: float | None


def spread(runs: Sequence[Scores]) -> dict[str, Spread]:
    """Return mean and standard deviation of every score that all runs have."""
    spreads = {}
    for name in runs[0]:
        if all(name in run for run in runs):
            values = [run[name] for run in runs]
            deviation = statistics.stdev(values) if len(values) > 1 else None
            spreads[name] = Spread(statistics.mean(values), deviation)
    return spreads


def to_metrics(spreads: Mapping[str, Spread], prefix: str = "") -> dict[str, float]:
    """Return spreads as metrics: means by the scores' own names, deviations, if any, as <name>_std."""
    means = {f"{prefix}{name}": value.mean for name, value in spreads.items()}
    deviations = {f"{prefix}{name}_std": value.deviation for name, value in spreads.items()}
    return means | {name: value for name, value in deviations.items() if value is not None}


def list_variants(config: Config) -> dict[str, Config]:
    """Return the configuration under each of `variants`, whose layers go over it; empty: the loss variants.

    "defaults" stands for the configuration itself. InputError for an unknown layer.
    """
    names = config.variants or VARIANTS
    paths = {name: find_layer(name, "variants") for name in names if name != "defaults"}
    layers = {name: flatten(read_layer(path)) for name, path in paths.items()}
    return {name: override(config, layers.get(name, {}), paths.get(name)) for name in names}


def split_protocols(scores: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Return the scores of validation classes, without prefix, and of test rows, where there are any."""
    rows = {
        protocol: {name: scores[prefix + name] for name in SHOWN if prefix + name in scores}
        for protocol, prefix in (("validation", "val_"), ("test", ""))
    }
    return {protocol: row for protocol, row in rows.items() if row}


def tabulate_scores(head: str, rows: Mapping[str, Mapping[str, float | Spread]]) -> str:
    """Return rows of scores as a table, in percent (gamma as it is), spreads as mean ± deviation."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[label, *(_format(name, row.get(name)) for name in columns)] for label, row in rows.items()]
    return format_table([head, *columns], cells)


def format_headline(scores: Mapping[str, float | Spread]) -> str:
    """Return one line of Markdown with H first: the scores on test rows, else those on validation classes."""
    rows = split_protocols(scores)
    row = rows.get("test") or rows.get("validation") or {}
    shown = [f"{name} {_format(name, row[name])}" for name in ("H", "S", "U", "T1", "AUSUC") if name in row]
    where = "" if "test" in rows else " on validation classes"
    return f"**{shown[0]} %**{where}" + "".join(f", {each}" for each in shown[1:]) if shown else ""


def format_value(value: object) -> str:
    """Return a value for a person: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["| " + " | ".join(map(str.rjust, row, widths)) + " |" for row in (heads, *rows)]
    rule = "|" + "|".join(f"{'-' * (width + 1)}:" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _format(name: str, value: float | Spread | None) -> str:
    scale = 1 if name == "gamma" else 100
    if isinstance(value, Spread):
        shown = f"{scale * value.mean:.1f}"
        return shown if value.deviation is None else f"{shown} ± {scale * value.deviation:.1f}"
    return "" if value is None else f"{scale * value:.1f}"
