"""YAML files as plain data: without aliases, which can make much of little, and without Python's objects."""

from pathlib import Path
from typing import Any

import yaml

from cwgan.errors import InputError

LARGEST = 100_000  # bytes; a file with every parameter has 4,000


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias, {self.peek_event().anchor}")
        return super().compose_node(parent, index)


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
