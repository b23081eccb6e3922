"""Several runs side by side: over seeds, and over loss variants."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import TypeVar

from cwgan.command_line import find_layer, from_dict, read_layer, to_dict
from cwgan.config import Config

VARIANTS = ("wgan", "clswgan", "cycle_wgan", "cycle_clswgan", "cycle_uwgan")
SHOWN = ("S", "U", "H", "T1", "AUSUC", "calibrated_S", "calibrated_U", "calibrated_H", "gamma")
Scores = Mapping[str, float]
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (0 for a single value) of one score over runs."""

    mean: float
    deviation: float


def spread(runs: Sequence[Scores]) -> dict[str, Spread]:
    """Return mean and standard deviation of every score that all runs have."""
    names = [name for name in runs[0] if all(name in run for run in runs)]
    columns = {name: [run[name] for run in runs] for name in names}
    return {
        name: Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
        for name, values in columns.items()
    }


def logged(spreads: Mapping[str, Spread], prefix: str = "") -> dict[str, float]:
    """Return the spreads as metrics: the mean under the score's own name, the deviation as <name>_std."""
    means = {f"{prefix}{name}": value.mean for name, value in spreads.items()}
    return means | {f"{prefix}{name}_std": value.deviation for name, value in spreads.items()}


def of_seeds(config: Config, seeds: Sequence[int]) -> dict[str, Config]:
    """Return the configuration once per seed, by the name of the run."""
    return {f"seed {seed}": dataclasses.replace(config, seed=seed, seeds=[]) for seed in seeds}


def of_variants(config: Config) -> dict[str, Config]:
    """Return the configuration under each of the five loss variants: what a variant's layer says goes over the rest."""
    found = {}
    for name in VARIANTS:
        values = to_dict(config)
        for section, layer in read_layer(find_layer(name, "variant")).items():
            values[section].update(layer)
        found[name] = from_dict(values)
    return found


def by_protocol(scores: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Divide scores into those of validation classes, less their prefix, and those of test rows; what is empty is left out."""
    validation = {
        name.removeprefix("val_"): value for name, value in scores.items() if name.startswith("val_")
    }
    test = {name: value for name, value in scores.items() if not name.startswith("val_")}
    return {
        protocol: {name: found[name] for name in SHOWN if name in found}
        for protocol, found in (("validation", validation), ("test", test))
        if not found.keys().isdisjoint(SHOWN)
    }


def table(head: str, rows: Mapping[str, Mapping[str, float | Spread]]) -> str:
    """Return rows of scores as a Markdown table, in percent (gamma as it is), spreads as mean ± deviation."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [
        [head, *columns],
        *([label, *(_cell(name, row.get(name)) for name in columns)] for label, row in rows.items()),
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return (
        "\n".join([lines[0], "|" + "|".join(f"{'-' * (width + 1)}:" for width in widths) + "|", *lines[1:]])
        + "\n"
    )


def _cell(name: str, value: float | Spread | None) -> str:
    if value is None:
        return ""
    scale = 1 if name == "gamma" else 100
    if isinstance(value, Spread):
        return f"{scale * value.mean:.1f} ± {scale * value.deviation:.1f}"
    return f"{scale * value:.1f}"
