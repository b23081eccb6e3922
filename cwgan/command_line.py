"""From dataclass defaults, YAML layers and dotted flags to one `Config`.

Order, later wins: defaults, the configuration inherited from the run a stage builds on, `--config`, `--variant`, flags.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from cwgan.config import Config
from cwgan.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SECTIONS = tuple(
    item.name
    for item in dataclasses.fields(Config)
    if dataclasses.is_dataclass(get_type_hints(Config)[item.name])
)


@dataclass(frozen=True)
class Command:
    """What one entry point accepts.

    Args:
        name: the entry point.
        help: one sentence for `--help`.
        sections: the parts of `Config` whose parameters it takes.
        references: parameters of its own, such as the run it builds on, as name -> help.
        required: those of them that must be given.
        inherits: the one of them whose configuration is inherited.
        config: the preset used where none is named and nothing is inherited.
    """

    name: str
    help: str
    sections: tuple[str, ...]
    references: Mapping[str, str] = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = ()
    inherits: str = ""
    config: str = ""


@dataclass(frozen=True)
class Arguments:
    """A parsed command line: the resolved configuration, the names of its layers, and the references that were given."""

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
        InputError: an unknown flag or preset, a missing reference, or a value that is not allowed.
    """
    parser = _parser(command)
    given = parser.parse_args(list(argv))
    references = {name: value for name in command.references if (value := getattr(given, name).strip())}
    for name in command.required:
        if name not in references:
            raise InputError(f"--{name}", "value", "nothing", command.references[name])
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if inherited is not None:
        layers.append(("the configuration of the run built upon", inherited))
    used: dict[str, str] = {}
    for kind, fallback in (("config", command.config), ("variant", "")):
        if name := getattr(given, kind).strip() or (fallback if inherited is None else ""):
            path = find_layer(name, kind)
            layers.append((str(path), read_layer(path)))
            used[kind] = name
    values = flatten(to_dict(Config()))
    for source, layer in layers:
        values.update(_checked(source, layer))
    parser.set_defaults({key: value for key, value in values.items() if _in_sections(key, command.sections)})
    final = parser.parse_args(list(argv)).as_dict()
    values.update({key: value for key, value in flatten(final).items() if key in values})
    return Arguments(from_dict(nested(values)), used, references)


def find_layer(name: str, kind: str) -> Path:
    """Return the file of a named preset or variant, or of a path to a YAML file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise InputError(
            f"--{kind}",
            "preset",
            repr(name),
            f"one of {known}, or a YAML file's path, absolute or from {Path.cwd()}",
        )
    return path


def read_layer(path: Path) -> Mapping[str, Any]:
    """Read one YAML layer as nested dictionaries."""
    try:
        layer = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(path, "YAML", " ".join(str(error).split()), "a readable YAML file") from None
    if not isinstance(layer, dict | None):
        raise InputError(path, "YAML", f"a {type(layer).__name__}", "a mapping of sections to parameters")
    return layer or {}


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
    """Return a phrase that says what is allowed: the known parameters most like a misspelt one."""
    tails = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = list(dict.fromkeys(difflib.get_close_matches(key, known, n=3) + tails))[:3]
    return f"those of --help; nearest: {', '.join(close)}" if close else "those of --help"


_WRONG_VALUE = re.compile(
    r"""Parser key "([\w.]+)": Expected a (?:<class '(\w+)'>|typing\.Literal\[(.*)\])\. Got value: (.*)"""
)
_KINDS = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "str": "text, in quotes",
    "list": "a list, as [200] or [1200,300]",
}


class _Parser(ArgumentParser):
    """jsonargparse that says where the mistake is, what is allowed there, and which parameters are like an unknown one."""

    source = "command line"

    def error(self, message: str, ex: Exception | None = None) -> Any:
        message = " ".join(message.split())
        if wrong := _WRONG_VALUE.search(message):
            key, kind, choices, got = wrong.groups()
            raise InputError(self.source, key, got, _KINDS[kind] if kind else f"one of {choices}") from None
        if unknown := re.search(r"nrecognized arguments:.*?--([^\s=]+)", message):
            known = [
                option[2:]
                for action in self._actions
                for option in action.option_strings
                if option[:2] == "--" and option[-1] != "+"
            ]
            raise InputError(
                self.source, unknown[1], "an unknown parameter", nearest(unknown[1], known)
            ) from None
        raise InputError(self.source, "flags", message, "--parameter value, see --help") from None


def _parser(command: Command) -> _Parser:
    program = f"python -m entrypoints.{command.name}"
    parser = _Parser(
        prog=program, usage="%(prog)s [--parameter value ...]", description=command.help, allow_abbrev=False
    )
    parser.add_argument(
        "--config",
        type=str,
        default="",
        help=f"preset in configs/, or a YAML file; empty: {command.config or 'none'}",
    )
    parser.add_argument(
        "--variant",
        type=str,
        default="",
        help="loss variant in configs/, or a YAML file; empty: none, as cycle_wgan",
    )
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
                _add_fields(
                    parser, parser.add_argument_group(title), types[item.name], f"{dotted}.", sections
                )
            continue
        default = item.default_factory() if callable(item.default_factory) else item.default
        group.add_argument(
            f"--{dotted}",
            type=types[item.name],
            default=default,
            help=item.metadata["help"].replace("%", "%%"),
        )


def _checked(source: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    known = list(flatten(to_dict(Config())))
    flat = flatten(layer)
    for key, value in flat.items():
        if any(name.startswith(f"{key}.") for name in known):
            raise InputError(
                source,
                key,
                "nothing" if value is None else repr(value),
                "parameters by name, this being a section",
            )
        if key not in known:
            raise InputError(source, key, "an unknown parameter", nearest(key, known))
        if value is None:
            raise InputError(source, key, "nothing", "a value, or leave the parameter out")
    return of_declared_types(source, flat)


def of_declared_types(source: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted name after a check that each is of its parameter's type; a whole number may stand for a float.

    Raises:
        InputError: a value of another type.
    """
    parser = _parser(Command("layer", "", SECTIONS))
    parser.source = source
    parsed = parser.parse_object(nested(flat)).as_dict()
    return {key: value for key, value in flatten(parsed).items() if key in flat}


def _in_sections(key: str, sections: Sequence[str]) -> bool:
    return "." not in key or key.partition(".")[0] in sections


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested dictionaries; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    types = get_type_hints(kind)
    return kind(
        **{
            key: _build(types[key], value) if dataclasses.is_dataclass(types[key]) else value
            for key, value in values.items()
        }
    )
