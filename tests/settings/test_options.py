"""How a parameter is declared: its help, its default, and the range of its value or of a list's entries."""

import dataclasses
from dataclasses import dataclass

import pytest

from cwgan.errors import InputError
from cwgan.options import Section, option


@dataclass(frozen=True)
class Kiln(Section, section="kiln."):
    """A section of its own, so that nothing here depends on a real parameter."""

    heat: float = option(900.0, "how hot it gets", unit="°C", above=0, at_most=1300)
    share: float = option(0.5, "how full it is", at_least=0, below=1)
    stops: list[int] = option([1, 2], "hours at which it is opened", at_least=1, at_most=24)
    name: str = option("", "what it is called")
    lit: bool = option(False, "whether it burns")
    free: float = option(0.0, "a number of any size")


def help_of(name: str) -> str:
    return {item.name: item.metadata["help"] for item in dataclasses.fields(Kiln)}[name]


def test_the_unit_stands_in_brackets_behind_the_meaning() -> None:
    assert help_of("heat") == "how hot it gets [°C]"
    assert help_of("share") == "how full it is"


def test_the_default_of_a_list_is_nobodys_own() -> None:
    first, second = Kiln(), Kiln()
    assert first.stops == second.stops == [1, 2]
    assert first.stops is not second.stops


def test_a_misspelt_bound_is_refused() -> None:
    with pytest.raises(TypeError, match="no such bounds: at_leest"):
        option(0, "a number", at_leest=1)


@pytest.mark.parametrize(
    "values",
    [{"heat": 1300}, {"heat": 1e-9}, {"share": 0}, {"share": 0.999}, {"stops": [1, 24]}, {"stops": []}],
)
def test_values_up_to_the_bounds_are_taken(values: dict[str, object]) -> None:
    kiln = Kiln(**values)  # type: ignore[arg-type]
    assert {name: getattr(kiln, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"heat": 0}, "above 0 and at most 1300"),
        ({"heat": 1300.5}, "above 0 and at most 1300"),
        ({"share": -0.1}, "at least 0 and below 1"),
        ({"share": 1}, "at least 0 and below 1"),
        ({"stops": [5, 0]}, "at least 1 and at most 24"),
        ({"stops": [25, 5]}, "at least 1 and at most 24"),
    ],
)
def test_a_value_beyond_a_bound_is_refused_with_all_bounds_in_words(
    values: dict[str, object], allowed: str
) -> None:
    ((name, value),) = values.items()
    with pytest.raises(InputError) as refusal:
        Kiln(**values)  # type: ignore[arg-type]
    assert str(refusal.value) == f"configuration: kiln.{name}: found {value}; allowed: {allowed}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_of_any_size_must_still_be_finite_also_within_a_list(value: float) -> None:
    with pytest.raises(InputError, match=r"kiln\.free: found -?(nan|inf); allowed: a finite number"):
        Kiln(free=value)
    with pytest.raises(InputError, match=r"kiln\.stops: found \[1, -?(nan|inf)\]; allowed: a finite number"):
        Kiln(stops=[1, value])  # type: ignore[list-item]


def test_texts_and_switches_have_no_range() -> None:
    assert Kiln(name="nan", lit=True) == dataclasses.replace(Kiln(), name="nan", lit=True)


def test_a_replaced_value_is_checked_too() -> None:
    with pytest.raises(InputError, match=r"kiln\.share: found 2"):
        dataclasses.replace(Kiln(), share=2)
