"""What a search varies: parameters by their dotted names, each a range of numbers or a list of choices.

A point of the space is a plain mapping from those names to values. `generate.counts` stands for the number of
synthetic rows per unseen class, the first of that list.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cwgan.command_line import nearest, override, to_dict
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.layers import find_layer, flatten, read_layer

COUNT = "generate.counts"
AFTER_THE_GAN = ("generate.", "classifier.")  # settings that differ in nothing else share one GAN
SECTIONS = ("data.", "monitor.", "regressor.", "gan.", "generate.", "classifier.")
FIXED = (
    *("data.path", "data.name", "data.attributes", "data.seed", "data.holdout", "data.fold"),
    *("data.division", "data.memory", "generate.largest_file"),
    *("data.other_split", "monitor.train", "monitor.save.", "regressor.train", "regressor.save."),
    *("gan.train", "gan.save.", "gan.score_every", "generate.domain", "generate.merge", "generate.npy"),
    *("classifier.domain", "classifier.gamma", "classifier.save.", "classifier.store_scores"),
)
"""Parameters that decide what is measured rather than how well, or that a search chooses by itself."""
LARGEST = 2**53  # of whole numbers, beyond which a sampler, whose numbers are floats, cannot tell them apart
FORMS = "{low: number, high: number, log: true or false}, or {choices: [values]}"

Value = float | int | bool | str
Point = Mapping[str, Value]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if `is_whole`; searched by ratios if `log`."""

    low: float
    high: float
    log: bool
    is_whole: bool

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choices:
    """A few values without an order."""

    values: tuple[Value, ...]

    def __contains__(self, value: Value) -> bool:
        return value in self.values


Space = Mapping[str, Range | Choices]


def read_space(name: str, config: Config) -> Space:
    """Read a search space: a file in configs/spaces/ by name, or a YAML file by path.

    It maps dotted parameter names to {low: .., high: .., log: true or false} or {choices: [..]}. Every end
    and every choice is tried on the configuration; InputError for what cannot be searched or taken.
    """
    path = find_layer(name, "sweep.space")
    known = [
        key for key in flatten(to_dict(config)) if key.startswith(SECTIONS) and not key.startswith(FIXED)
    ]
    space: dict[str, Range | Choices] = {}
    for key, entry in read_layer(path).items():
        if key not in known:
            allowed = nearest(str(key), known).replace("--help", "the configuration, by their dotted names")
            raise InputError(path, key, "a parameter that cannot be searched", allowed)
        fields = set(entry) if isinstance(entry, Mapping) else set()
        if fields == {"choices"} and isinstance(entry["choices"], list):
            values = [_try_value(path, config, key, value) for value in entry["choices"]]
            if len(set(values)) < max(2, len(values)):
                raise InputError(path, key, f"choices {values}", "at least two, all different")
            space[key] = Choices(tuple(values))
        elif {"low", "high"} <= fields <= {"low", "high", "log"} and isinstance(
            entry.get("log", False), bool
        ):
            low, high = (_try_value(path, config, key, entry[end]) for end in ("low", "high"))
            if isinstance(low, str | bool) or isinstance(high, str | bool):
                raise InputError(path, key, "a range", "{choices: [values]}, as it is no number")
            log = entry.get("log", False)
            if not low < high or (log and low <= 0):
                raise InputError(path, key, f"{low} to {high}", "low below high, and low above 0 with log")
            if isinstance(low, int) and high > LARGEST:
                raise InputError(path, key, f"a whole number of {high}", f"at most {LARGEST}")
            space[key] = Range(low, high, log, isinstance(low, int))
        else:
            raise InputError(path, key, repr(entry), FORMS)
    if not space:
        allowed = "at least one, as gan.cycle_weight: {low: 0.001, high: 10, log: true}"
        raise InputError(path, "search space", "no parameter", allowed)
    return space


def _try_value(path: Path, config: Config, key: str, value: Any) -> Value:
    """Return a value as its parameter takes it: 1 as 1.0 where that is a float; else an InputError."""
    try:
        taken = flatten(to_dict(apply_point(config, {key: value})))[key]
    except InputError as error:
        allowed = "a whole number, at least 1" if key == COUNT else error.allowed
        raise InputError(path, key, value, allowed) from None
    return taken[0] if key == COUNT else taken


def apply_point(config: Config, point: Mapping[str, Any]) -> Config:
    """Return the configuration with the values of a point in it; errors as `override`."""
    counts = {COUNT: [point[COUNT], *config.generate.counts[1:]]} if COUNT in point else {}
    return override(config, {**point, **counts})


def find_point(config: Config, space: Space) -> Point | None:
    """Return the point where a configuration stands, or None where it lies outside the space."""
    flat = flatten(to_dict(config)) | {COUNT: config.generate.counts[0]}
    is_inside = all(flat[key] in entry for key, entry in space.items())
    return {key: flat[key] for key in space} if is_inside else None


def take_gan_part(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a point, or of a space, that shapes the GAN."""
    return {key: value for key, value in point.items() if not key.startswith(AFTER_THE_GAN)}


def list_points(space: Space, limit: int = 100_000) -> list[Point]:
    """Return every point of a space, or none where it has more than the limit."""
    sides: list[Sequence[Value]] = []
    for entry in space.values():
        if isinstance(entry, Choices):
            sides.append(entry.values)
        elif entry.is_whole:
            sides.append(range(int(entry.low), int(entry.high) + 1))
        else:
            return []
    if math.prod(map(len, sides)) > limit:
        return []
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*sides)]
