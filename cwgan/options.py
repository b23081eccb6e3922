"""How a parameter is declared: a default, a meaning, a unit and a range."""

import dataclasses
import math
import operator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cwgan.errors import InputError

COMPARISONS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    once: bool = False,
    only: tuple[str, ...] = (),
    **bounds: float,
) -> Any:
    """Declare one parameter: its default, its meaning, its unit and its bounds, named as in `COMPARISONS`.

    A list may hold nothing twice if `once`. `only` names the commands that take it; empty: all that have its
    section.
    """
    if unknown := bounds.keys() - COMPARISONS:
        raise TypeError(f"no such bounds: {', '.join(unknown)}")
    metadata = {"help": f"{help} [{unit}]" if unit else help, "range": bounds, "once": once, "only": only}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def check_text(where: str, field: str, text: str) -> None:
    """Refuse text that neither files nor databases take: zero characters, and bytes that are not UTF-8."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(where, field, repr(text), "text in UTF-8 without zero characters")


@dataclass(frozen=True)
class Section:
    """A group of parameters; checks, when it is made, that every value is finite and in its range."""

    section: ClassVar[str] = ""  # stands before the parameters' names, as "gan."

    def __init_subclass__(cls, section: str | None = None) -> None:
        if section is not None:
            cls.section = section

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value, bounds = getattr(self, item.name), item.metadata.get("range", {})
            numbers = value if isinstance(value, list) else [value]
            allowed = " and ".join(f"{word.replace('_', ' ')} {bound}" for word, bound in bounds.items())
            for text in numbers:
                if isinstance(text, str):
                    check_text("configuration", f"{self.section}{item.name}", text)
            if item.metadata.get("once") and len(set(value)) < len(value):
                raise InputError("configuration", f"{self.section}{item.name}", value, "each of them once")
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                allowed = "a finite number"
            elif all(COMPARISONS[word](number, bounds[word]) for word in bounds for number in numbers):
                continue
            raise InputError("configuration", f"{self.section}{item.name}", value, allowed)
