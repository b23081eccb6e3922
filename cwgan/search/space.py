"""What a search varies: parameters by their dotted names, each a range of numbers or a list of choices.

A point of the space is a plain mapping from those names to values. `generate.counts` stands for the number of
synthetic rows per unseen class, the first of that list.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cwgan.command_line import (
    find_layer,
    flatten,
    from_dict,
    nearest,
    nested,
    of_declared_types,
    read_layer,
    to_dict,
)
from cwgan.config import Config
from cwgan.errors import InputError

COUNT = "generate.counts"
AFTER_THE_GAN = ("generate", "classifier")
"""Sections that shape no GAN: settings that differ in nothing else share one."""

FIXED = {
    "data": ("path", "name", "attributes", "seed", "holdout"),
    "monitor": ("train", "save"),
    "regressor": ("train", "save"),
    "gan": ("train", "save", "score_every"),
    "generate": ("domain", "merge", "npy"),
    "classifier": ("domain", "gamma"),
}
"""Parameters that decide what is measured rather than how well, or that a search chooses by itself."""

SEVERAL = "a list of at least two different values, each a number, text, true or false"

Value = float | int | bool | str
Point = Mapping[str, Value]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where `is_whole`, even on a logarithmic scale where `log`."""

    low: float
    high: float
    log: bool
    is_whole: bool


@dataclass(frozen=True)
class Choices:
    """A few values without an order."""

    values: tuple[Value, ...]


Space = Mapping[str, Range | Choices]


def read_space(name: str, config: Config) -> dict[str, Range | Choices]:
    """Read a search space and try every end of every range, and every choice, on the configuration.

    Args:
        name: of a file in configs/, or a YAML file's path. The file maps dotted parameter names to
            {low: .., high: .., log: true or false} or {choices: [..]}.
        config: that the search starts from.

    Raises:
        InputError: an unreadable file, an unknown parameter or one that cannot be searched, or a value it cannot take.
    """
    path = find_layer(name, "sweep.space")
    layer = read_layer(path)
    if not layer:
        raise InputError(
            path,
            "search space",
            "no parameter",
            "at least one, as gan.cycle_weight: {low: 0.001, high: 10, log: true}",
        )
    flat = flatten(to_dict(config))
    known = [key for key in flat if _is_searchable(key)]
    space: dict[str, Range | Choices] = {}
    for key, entry in layer.items():
        if key not in known:
            allowed = nearest(str(key), known).replace("--help", "the configuration, by their dotted names")
            raise InputError(path, key, "a parameter that cannot be searched", allowed)
        space[key] = _entry(path, key, entry, flat[key])
        taken = tuple(_taken(path, config, key, value) for value in _ends(space[key]))
        if isinstance(space[key], Choices):
            if len(set(taken)) < len(taken):
                raise InputError(path, key, f"choices {list(taken)}", SEVERAL)
            space[key] = Choices(taken)
    return space


def placed(config: Config, point: Point) -> Config:
    """Return the configuration with the values of a point, each of its parameter's type, in it.

    Raises:
        InputError: a value out of its parameter's range.
    """
    return from_dict(nested({**flatten(to_dict(config)), **_flat(config, point)}))


def _flat(config: Config, point: Point) -> dict[str, Any]:
    return {
        key: [value, *config.generate.counts[1:]] if key == COUNT else value for key, value in point.items()
    }


def point_of(config: Config, space: Space) -> dict[str, Value] | None:
    """Return the point where a configuration stands, or None where it lies outside the space."""
    flat = flatten(to_dict(config))
    point = {key: flat[key][0] if key == COUNT else flat[key] for key in space}
    for key, entry in space.items():
        if not (
            point[key] in entry.values
            if isinstance(entry, Choices)
            else entry.low <= point[key] <= entry.high
        ):
            return None
    return point


def of_gan(point: Point) -> dict[str, Value]:
    """Return the part of a point that shapes the GAN."""
    return {key: value for key, value in point.items() if key.partition(".")[0] not in AFTER_THE_GAN}


def size(space: Space) -> int | float:
    """Return how many points a space has."""
    counts: list[int | float] = []
    for entry in space.values():
        if isinstance(entry, Choices):
            counts.append(len(entry.values))
        else:
            counts.append(int(entry.high - entry.low) + 1 if entry.is_whole else math.inf)
    return math.prod(counts)


def all_points(space: Space, limit: int = 100_000) -> list[dict[str, Value]]:
    """Return every point of a space, or none where it has more than the limit."""
    if size(space) > limit:
        return []
    sides = [
        entry.values if isinstance(entry, Choices) else range(int(entry.low), int(entry.high) + 1)
        for entry in space.values()
    ]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*sides)]


def described(space: Space) -> dict[str, Any]:
    """Return a space as plain values."""
    return {key: dataclasses.asdict(entry) for key, entry in space.items()}


def _is_searchable(key: str) -> bool:
    section, _, rest = key.partition(".")
    return section in FIXED and rest.partition(".")[0] not in FIXED[section]


def _entry(path: Path, key: str, entry: Any, default: Any) -> Range | Choices:
    allowed = "{low: number, high: number, log: true or false}, or {choices: [values]}"
    if isinstance(entry, Mapping) and set(entry) == {"choices"}:
        choices = entry["choices"]
        if (
            isinstance(choices, list)
            and len(choices) > 1
            and all(isinstance(value, Value) for value in choices)
        ):
            return Choices(tuple(choices))
        raise InputError(path, key, f"choices {choices!r}", SEVERAL)
    if not isinstance(entry, Mapping) or not {"low", "high"} <= set(entry) <= {"low", "high", "log"}:
        raise InputError(path, key, repr(entry), allowed)
    low, high, log = _number(entry["low"]), _number(entry["high"]), entry.get("log", False)
    if any(
        isinstance(value, bool) or not isinstance(value, int | float) for value in (low, high)
    ) or not isinstance(log, bool):
        raise InputError(path, key, repr(dict(entry)), allowed)
    if isinstance(default, bool | str) or (isinstance(default, list) and key != COUNT):
        raise InputError(path, key, "a range", "{choices: [values]}, as it is no number")
    is_whole = isinstance(default, int | list)
    if is_whole and not (isinstance(low, int) and isinstance(high, int)):
        raise InputError(path, key, f"{low} to {high}", "whole numbers")
    if not low < high or (log and low <= 0):
        raise InputError(
            path, key, f"{low} to {high}", f"low below high{', and low above 0 with log' if log else ''}"
        )
    return Range(low, high, log, is_whole)


def _number(value: Any) -> Any:
    """Return as a number what YAML takes for text, such as 1e-3; anything else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _taken(path: Path, config: Config, key: str, value: Value) -> Value:
    """Return a value as its parameter takes it: 1 as 1.0 where that is a float.

    Raises:
        InputError: a value that its parameter cannot take.
    """
    try:
        typed = of_declared_types("search space", _flat(config, {key: value}))[key]
        taken: Value = typed[0] if key == COUNT else typed
        placed(config, {key: taken})
    except InputError as error:
        raise InputError(path, key, value, str(error).rpartition("allowed: ")[2]) from None
    return taken


def _ends(entry: Range | Choices) -> tuple[Value, ...]:
    return entry.values if isinstance(entry, Choices) else (entry.low, entry.high)
