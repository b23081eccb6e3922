"""What a search varies: how its file is read and refused, and how points and configurations become one another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cwgan.command_line import flatten, to_dict
from cwgan.config import ClassifierConfig, Config, GanConfig, GenerateConfig
from cwgan.errors import InputError
from cwgan.search.space import (
    Choices,
    Range,
    all_points,
    described,
    of_gan,
    placed,
    point_of,
    read_space,
    size,
)

Write = Callable[[str], str]
SEVERAL = "a list of at least two different values, each a number, text, true or false"
A_RANGE = "{low: number, high: number, log: true or false}, or {choices: [values]}"
SPACE = {"gan.cycle_weight": Range(0.001, 10, True, False), "generate.counts": Range(25, 800, True, True)}


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write a search space and return its path as text."""

    def write(text: str) -> str:
        (tmp_path / "space.yaml").write_text(text)
        return str(tmp_path / "space.yaml")

    return write


# Reading


def test_the_default_space_is_the_cycle_weight_and_the_synthetic_count_both_on_logarithmic_scales() -> None:
    assert read_space("sweep", Config()) == SPACE


def test_every_number_that_the_parser_reads_is_read_here_too(written: Write) -> None:
    space = read_space(
        written("gan.cycle_weight: {low: 1e-3, high: 1E1, log: true}\ngan.beta1: {choices: [5e-1, 0]}"),
        Config(),
    )
    assert space == {"gan.cycle_weight": Range(0.001, 10, True, False), "gan.beta1": Choices((0.5, 0.0))}


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("gan.epochs: {low: 1, high: 9}", Range(1, 9, False, True)),
        ("gan.beta1: {low: 0, high: 0.9}", Range(0, 0.9, False, False)),
        ("gan.legacy_cycle: {choices: [false, true]}", Choices((False, True))),
        ("gan.output: {choices: [relu, sigmoid]}", Choices(("relu", "sigmoid"))),
        ("generate.counts: {choices: [100, 50]}", Choices((100, 50))),
        ("gan.cycle_weight: {choices: [1, 0]}", Choices((1.0, 0.0))),
        ("data.scaling: {choices: [none, min_max]}", Choices(("none", "min_max"))),
    ],
)
def test_an_entry_is_a_range_or_choices_of_its_parameters_type(
    line: str, entry: Range | Choices, written: Write
) -> None:
    (found,) = read_space(written(line), Config()).values()
    assert found == entry
    if isinstance(entry, Choices) and isinstance(found, Choices):
        assert [type(value) for value in found.values] == [type(value) for value in entry.values]


def test_a_space_is_described_in_plain_values() -> None:
    plain = {"low": 0.001, "high": 10, "log": True, "is_whole": False}
    assert described({**SPACE, "gan.output": Choices(("relu",))})["gan.cycle_weight"] == plain
    assert described({"gan.output": Choices(("relu", "linear"))}) == {
        "gan.output": {"values": ("relu", "linear")}
    }


# What is refused, in one line that names file, field, what was found and what is allowed


@pytest.mark.parametrize(
    ("line", "found", "allowed"),
    [
        ("gan.cycle_weight: {low: 2, high: 1}", "2 to 1", "low below high"),
        ("gan.cycle_weight: {low: 1, high: 1}", "1 to 1", "low below high"),
        (
            "gan.cycle_weight: {low: 0, high: 1, log: true}",
            "0 to 1",
            "low below high, and low above 0 with log",
        ),
        ("gan.cycle_weight: {low: .nan, high: 1}", "nan to 1", "low below high"),
        ("gan.cycle_weight: {low: 1, high: .nan}", "1 to nan", "low below high"),
        ("gan.cycle_weight: {low: 1, high: .inf}", "inf", "a finite number"),
        ("gan.cycle_weight: {low: -.inf, high: 1}", "-inf", "a finite number"),
        ("gan.cycle_weight: {low: -1, high: 1}", "-1", "at least 0"),
        ("gan.beta1: {low: 0, high: 1}", "1", "at least 0 and below 1"),
        ("gan.epochs: {low: 1, high: 2.5}", "1 to 2.5", "whole numbers"),
        ("gan.epochs: {low: 1.0, high: 2}", "1.0 to 2", "whole numbers"),
        ("gan.epochs: {low: 0, high: 5}", "0", "at least 1"),
        ("generate.counts: {low: 0.5, high: 5}", "0.5 to 5", "whole numbers"),
        ("generate.counts: {low: 0, high: 5}", "0", "at least 1"),
        ("gan.legacy_cycle: {low: 0, high: 1}", "a range", "{choices: [values]}, as it is no number"),
        ("gan.output: {low: 0, high: 1}", "a range", "{choices: [values]}, as it is no number"),
        ("gan.output: {choices: [relu, tanh]}", "tanh", "one of 'relu', 'sigmoid', 'linear'"),
        ("gan.legacy_cycle: {choices: [true, 2]}", "2", "true or false"),
        ("gan.epochs: {choices: [5, 7.5]}", "7.5", "a whole number"),
        ("gan.cycle_weight: {choices: [1, true]}", "True", "a finite number"),
        ("gan.cycle_weight: {choices: [1, much]}", "much", "a finite number"),
        ("gan.cycle_weight: {choices: [1, .inf]}", "inf", "a finite number"),
        ("gan.cycle_weight: {choices: [1, -1]}", "-1", "at least 0"),
        ("gan.cycle_weight: {choices: [1, null]}", "choices [1, None]", SEVERAL),
        ("gan.cycle_weight: {choices: [1, {low: 2}]}", "choices [1, {'low': 2}]", SEVERAL),
        ("generate.counts: {choices: [[100], [200]]}", "choices [[100], [200]]", SEVERAL),
        ("gan.cycle_weight: {choices: [0.1, 0.1]}", "choices [0.1, 0.1]", SEVERAL),
        ("gan.cycle_weight: {choices: [1, 1.0]}", "choices [1.0, 1.0]", SEVERAL),
        ("gan.cycle_weight: {choices: [1]}", "choices [1]", SEVERAL),
        ("gan.cycle_weight: {choices: []}", "choices []", SEVERAL),
        ("gan.cycle_weight: {choices: 3}", "choices 3", SEVERAL),
        ("gan.cycle_weight: 3", "3", A_RANGE),
        ("gan.cycle_weight:", "None", A_RANGE),
        ("gan.cycle_weight: {low: 1}", "{'low': 1}", A_RANGE),
        ("gan.cycle_weight: {low: few, high: 2}", "{'low': 'few', 'high': 2}", A_RANGE),
        ("gan.cycle_weight: {low: false, high: true}", "{'low': False, 'high': True}", A_RANGE),
        ("gan.cycle_weight: {low: 1, high: 2, step: 1}", "{'low': 1, 'high': 2, 'step': 1}", A_RANGE),
        ("gan.cycle_weight: {low: 1, high: 2, log: 1}", "{'low': 1, 'high': 2, 'log': 1}", A_RANGE),
        (
            "gan.cycle_weight: {low: 1, high: 2, choices: [1, 2]}",
            "{'low': 1, 'high': 2, 'choices': [1, 2]}",
            A_RANGE,
        ),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(line: str, found: str, allowed: str, written: Write) -> None:
    path = written(line)
    with pytest.raises(InputError) as refusal:
        read_space(path, Config())
    assert str(refusal.value) == f"{path}: {line.partition(':')[0]}: found {found}; allowed: {allowed}"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gan.cicle_weight", "gan.cycle_weight"),
        ("cycle_weight", "gan.cycle_weight"),
        ("generate.count", "generate.counts"),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_that_can_be_searched(
    name: str, nearest: str, written: Write
) -> None:
    path = written(f"{name}: {{low: 1, high: 2}}")
    with pytest.raises(InputError) as refusal:
        read_space(path, Config())
    message, _, names = str(refusal.value).partition("; nearest: ")
    assert (
        message
        == f"{path}: {name}: found a parameter that cannot be searched; allowed: those of the configuration, by their dotted names"
    )
    assert nearest in names.split(", ")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "data.path",
            "data.holdout",
            "gan.save.every",
            "monitor.save.epochs",
            "gan.train",
            "gan.score_every",
            "generate.domain",
        ),
        *(
            "classifier.gamma",
            "classifier.domain",
            "seed",
            "seeds",
            "protocol",
            "device",
            "sweep.trials",
            "gan",
        ),
    ],
)
def test_what_decides_what_is_measured_or_belongs_to_the_run_cannot_be_searched(
    name: str, written: Write
) -> None:
    with pytest.raises(InputError, match=rf"space\.yaml: {name}: found a parameter that cannot be searched"):
        read_space(written(f"{name}: {{choices: [1, 2]}}"), Config())


@pytest.mark.parametrize("text", ["", "# nothing yet", "{}"])
def test_a_space_without_a_parameter_is_refused_with_an_example(text: str, written: Write) -> None:
    with pytest.raises(
        InputError,
        match=r"search space: found no parameter; allowed: at least one, as gan\.cycle_weight: \{low",
    ):
        read_space(written(text), Config())


def test_a_list_in_the_place_of_a_mapping_is_refused(written: Write) -> None:
    with pytest.raises(InputError, match="YAML: found a list; allowed: a mapping"):
        read_space(written("- gan.cycle_weight"), Config())


def test_a_file_that_is_not_there_is_refused_under_the_parameters_name() -> None:
    with pytest.raises(InputError, match=r"--sweep\.space: preset: found '/no/such\.yaml'"):
        read_space("/no/such.yaml", Config())


# Points and configurations


def test_placing_a_point_changes_what_it_names_and_nothing_else() -> None:
    config = Config(seed=3, gan=GanConfig(epochs=7))
    flat, changed = (
        flatten(to_dict(one))
        for one in (config, placed(config, {"gan.cycle_weight": 2.5, "classifier.lr": 0.1}))
    )
    assert {key: value for key, value in changed.items() if value != flat[key]} == {
        "gan.cycle_weight": 2.5,
        "classifier.lr": 0.1,
    }


def test_a_count_is_that_of_unseen_classes_and_leaves_the_one_of_seen_classes() -> None:
    config = Config(generate=GenerateConfig(domain="all", counts=[1200, 300]))
    assert placed(config, {"generate.counts": 70}).generate.counts == [70, 300]
    assert placed(Config(), {"generate.counts": 70}).generate.counts == [70]


def test_a_value_out_of_its_parameters_range_is_not_placed() -> None:
    with pytest.raises(InputError, match=r"gan\.cycle_weight: found -1\.0; allowed: at least 0"):
        placed(Config(), {"gan.cycle_weight": -1.0})


def test_the_point_of_a_configuration_is_what_was_placed_in_it() -> None:
    space = {
        **SPACE,
        "gan.output": Choices(("relu", "linear")),
        "classifier.epochs": Range(1, 50, False, True),
    }
    point = {"gan.cycle_weight": 0.25, "generate.counts": 400, "gan.output": "linear", "classifier.epochs": 7}
    assert point_of(placed(Config(), point), space) == point
    assert placed(placed(Config(), point), point) == placed(Config(), point)


@pytest.mark.parametrize(
    ("config", "is_inside"),
    [
        (Config(), True),
        (Config(gan=GanConfig(cycle_weight=0.001), generate=GenerateConfig(counts=[800])), True),
        (Config(gan=GanConfig(cycle_weight=0.0)), False),
        (Config(generate=GenerateConfig(counts=[801])), False),
    ],
)
def test_a_configuration_outside_the_space_has_no_point_and_both_ends_are_inside(
    config: Config, is_inside: bool
) -> None:
    assert (point_of(config, SPACE) is not None) == is_inside


def test_a_choice_that_is_not_offered_lies_outside() -> None:
    space = {"gan.output": Choices(("sigmoid", "linear"))}
    assert point_of(Config(), space) is None
    assert point_of(Config(gan=GanConfig(output="linear")), space) == {"gan.output": "linear"}


def test_the_point_of_a_space_as_it_was_read_finds_whole_numbers_among_floats(written: Write) -> None:
    space = read_space(written("gan.cycle_weight: {choices: [1, 2]}"), Config())
    assert point_of(Config(gan=GanConfig(cycle_weight=1.0)), space) == {"gan.cycle_weight": 1.0}


def test_what_shapes_the_gan_is_all_but_the_settings_after_it() -> None:
    point = {
        "gan.cycle_weight": 1.0,
        "generate.counts": 5,
        "classifier.lr": 0.1,
        "monitor.lr": 0.1,
        "data.scaling": "none",
    }
    assert of_gan(point) == {"gan.cycle_weight": 1.0, "monitor.lr": 0.1, "data.scaling": "none"}
    config = replace(Config(), classifier=ClassifierConfig(lr=0.5))
    assert placed(config, of_gan(point)).classifier == config.classifier


# Counting


@pytest.mark.parametrize(
    ("space", "count"),
    [
        ({"gan.epochs": Range(3, 3 + 4, False, True)}, 5),
        ({"gan.epochs": Range(1, 3, True, True), "gan.output": Choices(("relu", "linear"))}, 6),
        ({"gan.output": Choices(("relu", "linear")), "gan.legacy_cycle": Choices((True, False))}, 4),
    ],
)
def test_every_point_of_a_small_space_is_listed_once(space: dict[str, Range | Choices], count: int) -> None:
    points = all_points(space)
    assert size(space) == count == len(points) == len({tuple(sorted(point.items())) for point in points})
    for point in points:
        assert list(point) == list(space)
        for key, entry in space.items():
            assert (
                point[key] in entry.values
                if isinstance(entry, Choices)
                else entry.low <= point[key] <= entry.high
            )


def test_a_space_with_a_real_number_has_no_end_and_no_list() -> None:
    assert size(SPACE) == float("inf")
    assert all_points(SPACE) == []


def test_a_space_of_more_points_than_the_limit_is_not_listed() -> None:
    space = {"gan.epochs": Range(1, 10, False, True)}
    assert len(all_points(space, limit=10)) == 10
    assert all_points(space, limit=9) == []
