"""From dataclass defaults, YAML layers and dotted flags to one `Config`.

Order, later wins: defaults, the configuration of the run a stage builds on, `--config`, `--variant`, flags.
"""

import dataclasses
import difflib
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from cwgan.config import Config
from cwgan.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SECTIONS = tuple(name for name, kind in get_type_hints(Config).items() if dataclasses.is_dataclass(kind))
STAGE_SECTIONS = ("data", "monitor", "regressor", "gan", "generate", "classifier")
KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text, in quotes"}
KINDS[list[int]] = "a list of whole numbers, as [200] or [1200,300]"


@dataclass(frozen=True)
class Command:
    """What one entry point accepts and does.

    Args:
        name: of the entry point.
        help: one sentence for `--help`.
        sections: the parts of `Config` whose parameters it takes.
        references: parameters of its own, such as the run it builds on, as name -> help.
        required: those of them that must be given.
        inherits: the one of them whose configuration is inherited.
        config: the preset used where none is named and nothing is inherited.
        work: "package.module:function" that does the work; imported after parsing.
        artifacts: reference -> file name of the artifact that a run id stands for; others are plain paths.
        opens_run: whether the work is given an open MLflow run.
    """

    name: str
    help: str
    sections: tuple[str, ...]
    references: Mapping[str, str] = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = ()
    inherits: str = ""
    config: str = ""
    work: str = ""
    artifacts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    opens_run: bool = True

    def takes(self, parameter: str) -> bool:
        """Return whether there is a flag for a parameter of `Config`."""
        return "." not in parameter or parameter.partition(".")[0] in self.sections


@dataclass(frozen=True)
class Arguments:
    """A parsed command line: the configuration, its layers' names, and the references that were given."""

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
    parser = _make_parser(command)
    given = _parse_flags(parser, command, argv)
    own = {name: given.get(name, "").strip() for name in ("config", "variant", *command.references)}
    for name in command.required:
        if not own[name]:
            raise InputError(f"--{name}", "value", "nothing", command.references[name])
    layers = {"config": own.pop("config"), "variant": own.pop("variant")}
    if inherited is None:
        layers["config"] = layers["config"] or command.config
    values = _check_types("the configuration of the run built upon", flatten(inherited or {}))
    layers = {kind: name for kind, name in layers.items() if name}
    for kind, name in layers.items():
        path = find_layer(name, kind)
        values |= _check_types(path, flatten(read_layer(path)))
    # Parsed again over the layers, as `--seeds+ 3` adds to the list that stands there.
    parser.set_defaults({name: value for name, value in values.items() if command.takes(name)})
    final = flatten(parser.parse_args(argv).as_dict())
    values |= {name: value for name, value in final.items() if name in ALLOWED and command.takes(name)}
    references = {name: value for name, value in own.items() if value}
    return Arguments(from_dict(nested(values)), layers, references)


def override(config: Config, values: Mapping[str, Any], source: object = "configuration") -> Config:
    """Return a configuration with values by dotted name, as {"gan.epochs": 5}, each checked as a flag is.

    Raises:
        InputError: an unknown name, or a value of another type or out of range; it names `source`.
    """
    typed = _check_types(source, values)
    try:
        return _replace(config, nested(typed))
    except InputError as error:
        raise InputError(source, error.field, error.got, error.allowed) from None


def find_layer(name: str, kind: str) -> Path:
    """Return the file of a named preset or variant, or of a path to a YAML file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        allowed = f"one of {known}, or a YAML file's path, absolute or from {Path.cwd()}"
        raise InputError(f"--{kind}", "preset", repr(name), allowed)
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
    return _replace(Config(), values)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dictionaries into dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested dictionaries; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        reduce(lambda place, part: place.setdefault(part, {}), path, tree)[last] = value
    return tree


def nearest(key: str, known: Sequence[str]) -> str:
    """Return a phrase that says what is allowed: the known parameters most like a misspelt one."""
    tails = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = list(dict.fromkeys(difflib.get_close_matches(key, known, n=3) + tails))[:3]
    return f"those of --help; nearest: {', '.join(close)}" if close else "those of --help"


def of_declared_types(source: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Do what `_check_types` does, for callers that do not use `override` yet."""
    return _check_types(source, flat)


def _parameters(kind: type, prefix: str = "") -> Iterator[tuple[str, type, Any, dataclasses.Field]]:
    """Yield the prefix, section, type and declaration of every parameter."""
    types = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[item.name]):
            yield from _parameters(types[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix, kind, types[item.name], item


ALLOWED = {
    f"{prefix}{item.name}": KINDS.get(kind) or f"one of {', '.join(map(repr, get_args(kind)))}"
    for prefix, _, kind, item in _parameters(Config)
}
"""What every parameter takes, in words, by its dotted name."""


def _make_parser(command: Command) -> ArgumentParser:
    parser = ArgumentParser(description=command.help, allow_abbrev=False, exit_on_error=False)
    parser.prog = f"python -m entrypoints.{command.name}"
    parser.usage = "%(prog)s [--parameter value ...]"
    own = {
        "config": f"preset in configs/, or a YAML file; empty: {command.config or 'none'}",
        "variant": "loss variant in configs/, or a YAML file; empty: none, as cycle_wgan",
        **command.references,
    }
    for name, text in own.items():
        parser.add_argument(f"--{name}", type=str, default="", help=text)
    groups: dict[str, Any] = {"": parser}
    defaults = flatten(to_dict(Config()))
    for prefix, section, kind, item in _parameters(Config):
        name, text = f"{prefix}{item.name}", item.metadata["help"].replace("%", "%%")
        if command.takes(name):
            if prefix not in groups:
                groups[prefix] = parser.add_argument_group(f"{prefix[:-1]}: {section.__doc__}")
            groups[prefix].add_argument(f"--{name}", type=kind, default=defaults[name], help=text)
    return parser


@cache
def _make_value_parser() -> ArgumentParser:
    return _make_parser(Command("values", "", SECTIONS))


def _parse_flags(parser: ArgumentParser, command: Command, argv: Sequence[str]) -> dict[str, Any]:
    """Return the flags that are given; an error names the first that is unknown, or refused when alone."""
    known = ["config", "variant", *command.references, *(name for name in ALLOWED if command.takes(name))]
    starts = [place for place, word in enumerate(argv) if word.startswith("--")]
    flags = [argv[start:stop] for start, stop in pairwise([*starts, len(argv)])]
    names = [flag[0][2:].partition("=")[0].removesuffix("+") for flag in flags]
    for name in names:
        if name not in (*known, "help"):
            raise InputError("command line", name, "an unknown parameter", nearest(name, known))
    try:
        return flatten(parser.parse_args(argv, defaults=False).as_dict())
    except ArgumentError:
        for name, flag in zip(names, flags, strict=True):
            try:
                parser.parse_args(flag, defaults=False)
            except ArgumentError:
                got = " ".join([flag[0].partition("=")[2], *flag[1:]]).strip() or "nothing"
                raise InputError("command line", name, got, ALLOWED.get(name, KINDS[str])) from None
        raise InputError("command line", "flags", argv[0], "--parameter value, see --help") from None


def _check_types(source: object, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted name, each of its parameter's type; a whole number may stand for a float."""
    typed: dict[str, Any] = {}
    for key, value in flat.items():
        got = "nothing" if value is None else repr(value)
        if any(name.startswith(f"{key}.") for name in ALLOWED):
            raise InputError(source, key, got, "parameters by name, this being a section")
        if key not in ALLOWED:
            raise InputError(source, key, "an unknown parameter", nearest(key, list(ALLOWED)))
        if value is None:
            raise InputError(source, key, got, "a value, or leave the parameter out")
        try:
            parsed = _make_value_parser().parse_object(nested({key: value}), defaults=False)
        except ArgumentError:
            raise InputError(source, key, value, ALLOWED[key]) from None
        typed |= flatten(parsed.as_dict())
    return typed


def _replace(section: Any, values: Mapping[str, Any]) -> Any:
    """Return a section, or the whole configuration, with values from nested dictionaries."""
    changes = {
        key: _replace(getattr(section, key), value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
    return dataclasses.replace(section, **changes)
