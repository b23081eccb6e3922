"""From dataclass defaults, YAML layers and dotted flags to one `Config`.

Order, later wins: defaults, the configuration inherited from the run a stage builds on, `--config`, `--variant`, flags.
"""

import dataclasses
import difflib
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from cwgan.config import Config
from cwgan.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SECTIONS = tuple(item.name for item in dataclasses.fields(Config) if dataclasses.is_dataclass(get_type_hints(Config)[item.name]))


@dataclass(frozen=True)
class Command:
    """What one entry point accepts.

    Args:
        name: the entry point.
        help: one sentence for `--help`.
        sections: the parts of `Config` whose parameters it takes.
        references: parameters of its own, such as the run it builds on, as name -> help.
        config: the preset used where none is named and nothing is inherited.
        variant: likewise, the loss variant.
    """

    name: str
    help: str
    sections: tuple[str, ...]
    references: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config: str = ""
    variant: str = ""


@dataclass(frozen=True)
class Arguments:
    """A parsed command line: the resolved configuration, the layers it came from, and the values of the references."""

    config: Config
    layers: dict[str, str]
    references: dict[str, str]


def parse(command: Command, argv: Sequence[str], inherited: Mapping[str, Any] | None = None) -> Arguments:
    """Parse a command line over its YAML layers.

    Args:
        command: what is accepted.
        argv: the flags, without the program's name.
        inherited: nested configuration of the run that the stage builds on, if any.

    Raises:
        InputError: an unknown preset, or a YAML layer or value that is not allowed.
        ArgumentError: a flag that is unknown or of the wrong type.
    """
    parser = _parser(command)
    given = parser.parse_args(list(argv))
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if inherited is not None:
        layers.append(("the configuration of the run built upon", inherited))
    used: dict[str, str] = {}
    for kind, fallback in (("config", command.config), ("variant", command.variant)):
        name = getattr(given, kind) or (fallback if inherited is None else "")
        if name:
            path = find_layer(name, kind)
            layers.append((str(path), read_layer(path)))
            used[kind] = name
    values = flatten(to_dict(Config()))
    for source, layer in layers:
        values.update(_checked(source, layer))
    parser.set_defaults({key: value for key, value in values.items() if _in_sections(key, command.sections)})
    final = parser.parse_args(list(argv)).as_dict()
    references = {name: final.pop(name) for name in command.references}
    values.update({key: value for key, value in flatten(final).items() if key in values})
    return Arguments(from_dict(_nest(values)), used, references)


def find_layer(name: str, kind: str) -> Path:
    """Return the file of a named preset or variant, or of a path to a YAML file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise InputError(f"--{kind}", "preset", repr(name), f"a YAML file's path or one of {known}")
    return path


def read_layer(path: Path) -> Mapping[str, Any]:
    """Read one YAML layer as nested dictionaries."""
    try:
        layer = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "YAML", " ".join(str(error).split()), "a readable YAML file") from None
    if not isinstance(layer, dict):
        raise InputError(path, "YAML", type(layer).__name__, "a mapping of sections to parameters")
    return layer


def to_dict(config: Config) -> dict[str, Any]:
    """Return a configuration as nested dictionaries of plain values."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """Build a configuration from nested dictionaries; the inverse of `to_dict`."""
    return _build(Config, values)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dictionaries into dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nearest(key: str, known: Sequence[str]) -> str:
    """Return a phrase that names the known parameters most like a misspelt one."""
    tails = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = list(dict.fromkeys(difflib.get_close_matches(key, known, n=3) + tails))[:3]
    return f"nearest: {', '.join(close)}" if close else "see --help"


class _Parser(ArgumentParser):
    """jsonargparse that names the nearest parameters when one is unknown."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        unknown = re.findall(r"--([\w.]+)", message) if "nrecognized arguments" in message else []
        known = [option[2:] for action in self._actions for option in action.option_strings if option[:2] == "--" and option[-1] != "+"]
        hints = "; ".join(f"--{key}: {nearest(key, known)}" for key in unknown)
        raise ArgumentError(None, f"unknown parameter {hints}" if hints else " ".join(message.split()))


def _parser(command: Command) -> _Parser:
    program = f"python -m entrypoints.{command.name}"
    parser = _Parser(prog=program, usage="%(prog)s [--parameter value ...]", description=command.help, allow_abbrev=False)
    for kind, what in (("config", "preset"), ("variant", "loss variant")):
        used = getattr(command, kind) or "none"
        parser.add_argument(f"--{kind}", type=str, default="", help=f"{what} in configs/, or a YAML file; empty: {used}")
    for name, help in command.references.items():
        parser.add_argument(f"--{name}", type=str, default="", help=help)
    _add_fields(parser, parser, Config, "", command.sections)
    return parser


def _add_fields(parser: _Parser, group: Any, kind: type, prefix: str, sections: Sequence[str]) -> None:
    types = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        dotted = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(types[item.name]):
            if prefix or item.name in sections:
                title = f"{dotted}: {(types[item.name].__doc__ or '').strip()}"
                _add_fields(parser, parser.add_argument_group(title), types[item.name], f"{dotted}.", sections)
            continue
        default = item.default_factory() if callable(item.default_factory) else item.default
        group.add_argument(f"--{dotted}", type=types[item.name], default=default, help=item.metadata["help"].replace("%", "%%"))


def _checked(source: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    known = list(flatten(to_dict(Config())))
    flat = flatten(layer)
    for key in flat:
        if key not in known:
            raise InputError(source, key, "an unknown parameter", nearest(key, known))
    parser = _parser(Command("layer", "", SECTIONS))
    try:
        parsed = parser.parse_object(_nest(flat)).as_dict()
    except ArgumentError as error:
        raise InputError(source, "value", error.message, "see --help") from None
    return {key: value for key, value in flatten(parsed).items() if key in flat}


def _in_sections(key: str, sections: Sequence[str]) -> bool:
    return "." not in key or key.partition(".")[0] in sections


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return nested


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    types = get_type_hints(kind)
    return kind(**{key: _build(types[key], value) if dataclasses.is_dataclass(types[key]) else value for key, value in values.items()})
