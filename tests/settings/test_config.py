"""Every parameter is declared once, explains itself, and refuses what makes no sense."""

import dataclasses
import math
from typing import get_args, get_origin, get_type_hints

import pytest

from cwgan.config import Config, DataConfig, GenerateConfig
from cwgan.errors import InputError
from cwgan.gan_config import FitConfig, GanConfig, SaveConfig


def every_field(kind: type, prefix: str = "") -> list[tuple[str, type, dataclasses.Field]]:
    """The dotted name, type and field of every parameter."""
    types, found = get_type_hints(kind), []
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[item.name]):
            found += every_field(types[item.name], f"{prefix}{item.name}.")
        else:
            found.append((f"{prefix}{item.name}", types[item.name], item))
    return found


FIELDS = {name: (kind, item) for name, kind, item in every_field(Config)}


@pytest.mark.parametrize("name", FIELDS)
def test_every_parameter_has_help_of_some_words(name):
    assert len(FIELDS[name][1].metadata["help"].split()) >= 3


@pytest.mark.parametrize("name", [name for name, (kind, _) in FIELDS.items() if kind in (int, float)])
def test_every_number_has_a_range(name):
    assert any(bound is not None for bound in FIELDS[name][1].metadata["range"].values())


@pytest.mark.parametrize("name", [name for name, (_, item) in FIELDS.items() if "(" in item.metadata["help"]])
def test_brackets_in_help_are_closed(name):
    text = FIELDS[name][1].metadata["help"]
    assert text.count("(") == text.count(")")


@pytest.mark.parametrize(
    "name", [name for name, (kind, _) in FIELDS.items() if get_args(kind) and get_origin(kind) is not list]
)
def test_the_default_of_a_choice_is_one_of_its_values(name):
    kind, item = FIELDS[name]
    assert item.default in get_args(kind)


@pytest.mark.parametrize(
    ("section", "values", "allowed"),
    [
        (GanConfig, {"epochs": 0}, "at least 1 and at most 1000000"),
        (GanConfig, {"beta1": 1.0}, "at least 0 and below 1"),
        (FitConfig, {"lr": 0.0}, "above 0"),
        (DataConfig, {"holdout": 1.0}, "above 0 and below 1"),
        (SaveConfig, {"epochs": [3, 0]}, "at least 1"),
        (Config, {"seed": -1}, "at least 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(section, values, allowed):
    name, value = next(iter(values.items()))
    with pytest.raises(InputError) as refusal:
        section(**values)
    assert str(refusal.value) == f"configuration: {section.section}{name}: found {value}; allowed: {allowed}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match=r"gan\.cycle_weight: found -?(nan|inf); allowed: a finite number"):
        GanConfig(cycle_weight=value)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_a_device_of_no_kind_is_refused(device):
    with pytest.raises(InputError, match=r"device: found '.*'; allowed: auto, cpu, cuda, or one of several"):
        Config(device=device)


def test_an_unknown_score_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"metrics: found 'T3'; allowed: S, U, H, T1, .*; nearest: T"):
        Config(metrics=["H", "T3"])


@pytest.mark.parametrize(("domain", "counts"), [("unseen", [1200, 300]), ("seen", []), ("all", [300])])
def test_generation_needs_one_count_per_domain(domain, counts):
    with pytest.raises(InputError, match=r"generate\.counts"):
        GenerateConfig(domain=domain, counts=counts)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().gan.epochs = 3


def test_lists_are_not_shared_between_configurations():
    first, second = Config(), Config()
    assert first.generate.counts == second.generate.counts
    assert first.generate.counts is not second.generate.counts
