"""YAML layers of configurations: found by name, and read as plain data.

They hold no aliases, which can make much of little, and none of Python's objects.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from cwgan.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
# Where the layers lie that a parameter takes by name.
FOLDERS = {"config": ("",), "base": ("", "variants"), "sweep.space": ("spaces",)}
FOLDERS |= dict.fromkeys(("variant", "variants"), ("variants",))
LARGEST = 100_000  # bytes; a file with every parameter has 4,000


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        _refuse_alias(self)
        return super().compose_node(parent, index)


class TextLoader(yaml.BaseLoader):
    """Loads YAML without aliases; all values stay text, where others would take a class 07 for a number."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        _refuse_alias(self)
        return super().compose_node(parent, index)


def _refuse_alias(loader: _Loader | TextLoader) -> None:
    if loader.check_event(yaml.AliasEvent):
        raise yaml.YAMLError(f"an alias, {loader.peek_event().anchor}")


def read_mapping(path: Path) -> dict[Any, Any]:
    """Return what a YAML file maps to what; InputError if it is unreadable, too large, or holds an alias."""
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"{size} bytes")
        layer = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except Exception as error:  # PyYAML raises many kinds for tags that do not fit their values
        allowed = f"a readable YAML file without aliases, of at most {LARGEST} bytes"
        raise InputError(path, "YAML", " ".join(str(error).split()), allowed) from None
    if not isinstance(layer, dict | None):
        raise InputError(path, "YAML", f"a {type(layer).__name__}", "a mapping of sections to parameters")
    return dict(layer or {})


def find_layer(name: str, kind: str) -> Path:
    """Return the file of a layer for a parameter, one of `FOLDERS`: by name, or any YAML file by path."""
    folders = [CONFIGS / folder for folder in FOLDERS[kind.split(maxsplit=1)[0]]]
    known = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    path = Path(name) if name.endswith((".yaml", ".yml")) else known.get(name)
    if path is None or not os.path.isfile(path):  # unlike Path's, it takes a name that is too long
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (nearest: {close[0]})" if close else ""
        allowed = f"one of {', '.join(known)}{hint}, or a YAML file's path, absolute or from {Path.cwd()}"
        raise InputError(f"--{kind}", "layer", repr(name), allowed)
    return path


def read_layer(path: Path, above: Sequence[Path] = ()) -> Mapping[str, Any]:
    """Read one YAML layer as nested dictionaries; over the layer that it names as its `base`, if any."""
    own = read_mapping(path)
    if (base := own.pop("base", None)) is None:
        return own
    file = find_layer(str(base), f"base of {path}")
    if file in (path, *above):
        raise InputError(path, "base", base, "a layer that is not built on this one")
    return nested(flatten(read_layer(file, (path, *above))) | flatten(own))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dictionaries into dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested dictionaries; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        try:
            reduce(lambda place, part: place.setdefault(part, {}), path, tree)[last] = value
        except (AttributeError, TypeError):  # what it stands in has a value of its own
            allowed = f"a value of {'.'.join(path)}, or of what is in it, but not both"
            raise InputError("configuration", key, value, allowed) from None
    return tree
