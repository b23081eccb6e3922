"""From dataclass defaults, YAML layers and dotted flags to one `Config`.

Order, later wins: defaults, the configuration of the run a stage builds on, `--config`, `--variant`, flags.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from cwgan.config import BUILT_IN, Config
from cwgan.errors import InputError
from cwgan.layers import find_layer, flatten, nested, read_layer
from cwgan.options import check_text

SECTIONS = tuple(name for name, kind in get_type_hints(Config).items() if is_dataclass(kind))
STAGE_SECTIONS = ("data", "monitor", "regressor", "gan", "generate", "classifier")
KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text, in quotes"}
KINDS[list[int]] = "a list of whole numbers, as [200] or [1200,300]"
KINDS[list[str]] = "a list of names, as [defaults,no_gan]"


@dataclass(frozen=True)
class Command:
    """What one entry point accepts and does; references are parameters of its own, as a run to build on."""

    name: str
    help: str  # one sentence
    sections: tuple[str, ...]  # the parts of `Config` whose parameters it takes
    references: Mapping[str, str] = field(default_factory=dict)  # name -> help
    required: tuple[str, ...] = ()  # the references that must be given
    inherits: str = ""  # the reference whose configuration is inherited
    config: str = ""  # the preset used where none is named and nothing is inherited
    work: str = ""  # "package.module:function" that does the work; imported after parsing
    artifacts: Mapping[str, str] = field(default_factory=dict)  # reference -> file that a run id stands for
    opens_run: bool = True  # whether the work is given an open MLflow run

    def has_flag(self, parameter: str) -> bool:
        is_meant = not self.name or self.name in ONLY.get(parameter, (self.name,))
        return is_meant and ("." not in parameter or parameter.partition(".")[0] in self.sections)


@dataclass(frozen=True)
class Arguments:
    """A parsed command line: the configuration, names of layers, references, and all that was given."""

    config: Config
    layers: dict[str, str]
    references: dict[str, str]
    given: dict[str, str]


def parse(command: Command, argv: Sequence[str], inherited: Mapping[str, Any] | None = None) -> Arguments:
    """Parse flags over YAML layers, and these over the nested configuration of the run built upon, if any.

    InputError for an unknown flag or preset, a missing reference, or a value that is not allowed.
    """
    parser = _make_parser(command)
    given = _parse_flags(parser, command, argv)
    references = {name: value for name in command.references if (value := given.get(name, "").strip())}
    for name, value in references.items():
        check_text("command line", f"--{name}", value)
    for name in command.required:
        if name not in references and "resume" not in references:  # which supplies it
            raise InputError(f"--{name}", "value", "nothing", command.references[name])
    values = _check_types("the configuration of the run built upon", flatten(inherited or {}))
    layers = {kind: name for kind in ("config", "variant") if (name := given.get(kind, "").strip())}
    if inherited is None and command.config and given.get("data.path", BUILT_IN) == BUILT_IN:
        layers = {"config": command.config} | layers
    for kind, names in layers.items():
        for name in names.split(","):
            path = find_layer(name.strip(), kind)
            values |= _check_types(path, flatten(read_layer(path)))
    # Parsed again over the layers, because `--seeds+ 3` adds to the list that stands there.
    parser.set_defaults({name: value for name, value in values.items() if command.has_flag(name)})
    final = flatten(parser.parse_args(argv).as_dict())
    values |= {name: _listed(name, value) for name, value in final.items() if name in ALLOWED}
    config = from_dict(nested(values))
    used = {**values, **flatten(to_dict(config))}
    typed = {name: str(used.get(name, value)).strip() for name, value in given.items()}
    told = {name: value for name, value in typed.items() if value} | layers
    return Arguments(config, layers, references, told)


def override(config: Config, values: Mapping[str, Any], source: object = "configuration") -> Config:
    """Return a configuration with values by dotted name, as {"gan.epochs": 5}, each checked as a flag is.

    InputError, which names `source`, for an unknown name, or a value of another type or out of range.
    """
    try:
        return _replace(config, nested(_check_types(source, values)))
    except InputError as error:
        raise InputError(source, error.field, error.got, error.allowed) from None


def to_dict(config: Config) -> dict[str, Any]:
    """Return a configuration as nested dictionaries of plain values."""
    return asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """Build a configuration from nested dictionaries; the inverse of `to_dict`."""
    return _replace(Config(), values)


def nearest(key: str, known: Sequence[str]) -> str:
    """Return a phrase that says what is allowed: the known parameters most like a misspelt one."""
    tails = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = list(dict.fromkeys(difflib.get_close_matches(key, known, n=3) + tails))[:3]
    return f"those of --help; nearest: {', '.join(close)}" if close else "those of --help"


def _list_parameters(kind: type, prefix: str = "") -> Iterator[tuple[str, type, Any, str]]:
    """Yield the dotted name, section, type and help of every parameter."""
    types = get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(types[item.name]):
            yield from _list_parameters(types[item.name], f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", kind, types[item.name], item.metadata["help"]


ALLOWED = {
    name: KINDS.get(kind) or f"one of {', '.join(map(repr, get_args(kind)))}"
    for name, _, kind, _ in _list_parameters(Config)
}
"""What every parameter takes, in words, by its dotted name."""
ONLY = {item.name: only for item in fields(Config) if (only := item.metadata.get("only"))}
"""The commands that take a parameter which is not for all of them."""
LISTS = {name for name, _, kind, _ in _list_parameters(Config) if get_origin(kind) is list}


def _make_parser(command: Command) -> ArgumentParser:
    parser = ArgumentParser(description=command.help, allow_abbrev=False, exit_on_error=False)
    parser.prog = f"python -m entrypoints.{command.name}"
    parser.usage = "%(prog)s [--parameter value ...]"
    preset = f"the defaults, for built-in data {command.config}" if command.config else "none"
    own = {
        "config": f"presets in configs/, or YAML files, as cub,mine.yaml; later ones win; empty: {preset}",
        "variant": "variant in configs/variants/, or a YAML file; empty: none, as cycle_wgan",
        **command.references,
    }
    for name, text in own.items():
        parser.add_argument(f"--{name}", type=str, default="", help=text)
    groups: dict[str, Any] = {"": parser}
    defaults = flatten(to_dict(Config()))
    for name, section, kind, text in _list_parameters(Config):
        if command.has_flag(name):
            place = name.rpartition(".")[0]
            if place not in groups:
                groups[place] = parser.add_argument_group(f"{place}: {section.__doc__}")
            form = kind | get_args(kind)[0] if name in LISTS else kind
            groups[place].add_argument(f"--{name}", type=form, default=defaults[name], help=text)
    return parser


_make_value_parser = cache(lambda: _make_parser(Command("", "", SECTIONS)))


def _parse_flags(parser: ArgumentParser, command: Command, argv: Sequence[str]) -> dict[str, Any]:
    """Return the flags that are given; an error names the first that is unknown, or refused when alone."""
    known = ["config", "variant", *command.references, *(name for name in ALLOWED if command.has_flag(name))]
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
        if any(name.startswith(f"{key}.") for name in ALLOWED):
            got = "nothing" if value is None else value
            raise InputError(source, key, got, "parameters by name, this being a section")
        if key not in ALLOWED:
            raise InputError(source, key, "an unknown parameter", nearest(key, list(ALLOWED)))
        if value is None:
            raise InputError(source, key, "nothing", ALLOWED[key])
        try:
            parsed = _make_value_parser().parse_object(nested({key: value}), defaults=False)
        except ArgumentError:
            raise InputError(source, key, value, ALLOWED[key]) from None
        typed |= flatten(parsed.as_dict())
    return {name: _listed(name, value) for name, value in typed.items()}


def _listed(name: str, value: Any) -> Any:
    """Return a parameter's value; one that is given alone where a list is wanted is a list of one."""
    return [value] if name in LISTS and not isinstance(value, list) else value


def _replace(section: Any, values: Mapping[str, Any]) -> Any:
    """Return a section, or the whole configuration, with values from nested dictionaries."""
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    changed = {key: _replace(getattr(section, key), value) for key, value in inner.items()}
    return replace(section, **{**values, **changed})
