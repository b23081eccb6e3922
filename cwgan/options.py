"""What a parameter is: a default, a meaning, a unit and a range that is checked when its section is made."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cwgan.errors import InputError


def option(
    default: Any, help: str, *, unit: str = "", at_least: float | None = None, above: float | None = None,
    at_most: float | None = None, below: float | None = None,
) -> Any:  # fmt: skip
    """Declare one parameter: its default, its meaning, its unit and the range it must lie in."""
    metadata = {
        "help": f"{help} [{unit}]" if unit else help,
        "range": {"at least": at_least, "above": above, "at most": at_most, "below": below},
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


_COMPARISONS = {
    "at least": lambda value, bound: value >= bound,
    "above": lambda value, bound: value > bound,
    "at most": lambda value, bound: value <= bound,
    "below": lambda value, bound: value < bound,
}


@dataclass(frozen=True)
class Section:
    """A group of parameters whose values are checked against their declared ranges when it is made."""

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            bounds = {
                word: bound for word, bound in item.metadata.get("range", {}).items() if bound is not None
            }
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise InputError("configuration", f"{self.section}{item.name}", value, "a finite number")
            if not all(
                _COMPARISONS[word](number, bound) for word, bound in bounds.items() for number in numbers
            ):
                allowed = " and ".join(f"{word} {bound}" for word, bound in bounds.items())
                raise InputError("configuration", f"{self.section}{item.name}", value, allowed)
