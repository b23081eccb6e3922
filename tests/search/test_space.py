"""What a search varies: how its file is read and refused; how points and configurations become each other."""

import pytest
import yaml

from cwgan.command_line import override, to_dict
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.layers import flatten
from cwgan.search.space import Choices, Range, apply_point, find_point, list_points, read_space, take_gan_part

WEIGHT, COUNT, EPOCHS = "gan.cycle_weight", "generate.counts", "gan.epochs"
OUTPUT, LEGACY = "gan.output", "monitor.relu_logits"
SPACE = {WEIGHT: Range(0.001, 10, True, False), COUNT: Range(25, 800, True, True)}
BOTH = {OUTPUT: Choices(("relu", "linear"))}
FORMS = "{low: number, high: number, log: true or false}, or {choices: [values]}"
ORDER, SEVERAL = "low below high, and low above 0 with log", "at least two, all different"
SHAPELESS = """3; null; {low: 1}; {low: 1, high: 2, step: 1}; {low: 1, high: 2, log: 1}; {choices: 3}; \
{low: 1, high: 2, choices: [1, 2]}"""
OF_THE_RUN = """data.path data.holdout data.fold gan.save.every monitor.save.epochs gan.train gan.score_every
gan seed seeds generate.domain classifier.gamma classifier.domain protocol device sweep.trials"""


def read(folder, text):
    (folder / "space.yaml").write_text(text)
    return read_space(str(folder / "space.yaml"), Config())


def find_refusal(folder, text):
    with pytest.raises(InputError) as refusal:
        read(folder, text)
    return str(refusal.value).removeprefix(f"{folder / 'space.yaml'}: ")


def test_the_default_space_is_the_cycle_weight_and_the_synthetic_count_both_on_logarithmic_scales():
    assert read_space("sweep", Config()) == SPACE


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("gan.epochs: {low: 1, high: 9}", Range(1, 9, False, True)),
        ("gan.beta1: {low: 0, high: 0.9}", Range(0.0, 0.9, False, False)),
        ("gan.cycle_weight: {low: 1e-3, high: 1E1, log: true}", Range(0.001, 10.0, True, False)),
        ("gan.beta1: {choices: [5e-1, 0]}", Choices((0.5, 0.0))),
        ("monitor.relu_logits: {choices: [false, true]}", Choices((False, True))),
        ("gan.output: {choices: [relu, sigmoid]}", Choices(("relu", "sigmoid"))),
        ("generate.counts: {choices: [100, 50]}", Choices((100, 50))),
        ("gan.cycle_weight: {choices: [1, 0]}", Choices((1.0, 0.0))),
        ("data.scaling: {choices: [none, min_max]}", Choices(("none", "min_max"))),
    ],
)
def test_an_entry_is_a_range_or_choices_of_its_parameters_type(line, entry, tmp_path):
    (found,) = read(tmp_path, line).values()
    assert repr(found) == repr(entry)  # 1 is not 1.0


@pytest.mark.parametrize(
    ("key", "entry", "found", "allowed"),
    [
        (WEIGHT, "{low: 2, high: 1}", "2.0 to 1.0", ORDER),
        (WEIGHT, "{low: 1, high: 1}", "1.0 to 1.0", ORDER),
        (WEIGHT, "{low: 0, high: 1, log: true}", "0.0 to 1.0", ORDER),
        (WEIGHT, "{low: 1, high: .nan}", "nan", "a finite number"),
        (WEIGHT, "{low: -.inf, high: 1}", "-inf", "a finite number"),
        (WEIGHT, "{low: false, high: 1}", "False", "a finite number"),
        (WEIGHT, "{low: few, high: 1}", "few", "a finite number"),
        (WEIGHT, "{low: -1, high: 1}", "-1", "at least 0"),
        ("gan.beta1", "{low: 0, high: 1}", "1", "at least 0 and below 1"),
        (EPOCHS, "{low: 1, high: 2.5}", "2.5", "a whole number"),
        (EPOCHS, "{low: 0, high: 5}", "0", "at least 1 and at most 1000000"),
        ("gan.hidden_size", f"{{low: 1, high: {10**20}}}", f"a whole number of {10**20}", f"at most {2**53}"),
        (COUNT, "{low: 0.5, high: 5}", "0.5", "a whole number, at least 1"),
        (COUNT, "{low: 0, high: 5}", "0", "a whole number, at least 1"),
        (COUNT, "{choices: [[100], [200]]}", "[100]", "a whole number, at least 1"),
        (LEGACY, "{low: 0, high: 1}", "0", "true or false"),
        (LEGACY, "{low: false, high: true}", "a range", "{choices: [values]}, as it is no number"),
        (OUTPUT, "{low: 0, high: 1}", "0", "one of 'auto', 'relu', 'sigmoid', 'linear'"),
        (OUTPUT, "{choices: [relu, tanh]}", "tanh", "one of 'auto', 'relu', 'sigmoid', 'linear'"),
        (EPOCHS, "{choices: [5, 7.5]}", "7.5", "a whole number"),
        (WEIGHT, "{choices: [1, null]}", "None", "a finite number"),
        (WEIGHT, "{choices: [1, -1]}", "-1", "at least 0"),
        (WEIGHT, "{choices: [1, 1.0]}", "choices [1.0, 1.0]", SEVERAL),
        (WEIGHT, "{choices: [1]}", "choices [1.0]", SEVERAL),
        (WEIGHT, "{choices: []}", "choices []", SEVERAL),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(key, entry, found, allowed, tmp_path):
    assert find_refusal(tmp_path, f"{key}: {entry}") == f"{key}: found {found}; allowed: {allowed}"


def test_an_entry_of_another_shape_is_refused(tmp_path):
    for entry in SHAPELESS.split("; "):
        said = f"{COUNT}: found {yaml.safe_load(entry)}; allowed: {FORMS}"
        assert find_refusal(tmp_path, f"{COUNT}: {entry}") == said


def test_what_is_unknown_or_belongs_to_the_run_is_refused_with_the_nearest_that_can_be_searched(tmp_path):
    misspelt = {"gan.cicle_weight": WEIGHT, "cycle_weight": WEIGHT, "generate.count": COUNT}
    for name in (*misspelt, *OF_THE_RUN.split()):
        found, _, names = find_refusal(tmp_path, f"{name}: {{low: 1, high: 2}}").partition("; nearest: ")
        allowed = "those of the configuration, by their dotted names"
        assert found == f"{name}: found a parameter that cannot be searched; allowed: {allowed}"
        assert name not in misspelt or misspelt[name] in names.split(", ")


def test_a_file_that_names_no_parameter_is_refused(tmp_path):
    for text in ("", "# nothing yet", "{}"):
        example = "at least one, as gan.cycle_weight: {low: 0.001, high: 10, log: true}"
        assert find_refusal(tmp_path, text) == f"search space: found no parameter; allowed: {example}"
    assert "YAML: found a list; allowed: a mapping" in find_refusal(tmp_path, "- gan.cycle_weight")
    with pytest.raises(InputError, match=r"--sweep\.space: layer: found '/no/such\.yaml'"):
        read_space("/no/such.yaml", Config())


def test_applying_a_point_changes_what_it_names_and_nothing_else_and_checks_it():
    config, point = override(Config(), {"seed": 3, "gan.epochs": 7}), {WEIGHT: 2.5, "classifier.lr": 0.1}
    before, after = flatten(to_dict(config)), flatten(to_dict(apply_point(config, point)))
    assert {key: value for key, value in after.items() if value != before[key]} == point
    with pytest.raises(InputError, match=r"gan\.cycle_weight: found -1\.0; allowed: at least 0"):
        apply_point(Config(), {WEIGHT: -1.0})


def test_an_applied_count_is_that_of_unseen_classes_and_leaves_the_one_of_seen_classes():
    config = override(Config(), {"generate.domain": "all", COUNT: [1200, 300]})
    assert apply_point(config, {COUNT: 70}).generate.counts == [70, 300]
    assert apply_point(Config(), {COUNT: 70}).generate.counts == [70]


def test_the_point_of_a_configuration_is_what_was_applied_to_it():
    point = {WEIGHT: 0.25, COUNT: 400, OUTPUT: "linear", "classifier.epochs": 7}
    config = apply_point(Config(), point)
    assert find_point(config, {**SPACE, **BOTH, "classifier.epochs": Range(1, 50, False, True)}) == point
    assert apply_point(config, point) == config


def test_a_configuration_outside_the_space_has_no_point_and_both_ends_are_inside(tmp_path):
    plain = override(Config(), {OUTPUT: "relu", WEIGHT: 1.0})
    for values in ({}, {WEIGHT: 0.001}, {WEIGHT: 10.0}, {COUNT: [25]}, {COUNT: [800]}, {OUTPUT: "linear"}):
        assert find_point(override(plain, values), SPACE | BOTH) is not None
    for values in ({WEIGHT: 0.0}, {WEIGHT: 10.1}, {COUNT: [24]}, {COUNT: [801]}, {OUTPUT: "sigmoid"}):
        assert find_point(override(plain, values), SPACE | BOTH) is None
    space = read(tmp_path, "gan.cycle_weight: {choices: [1, 2]}")
    assert find_point(override(Config(), {WEIGHT: 1.0}), space) == {WEIGHT: 1.0}


def test_what_shapes_the_gan_is_all_but_the_settings_after_it():
    shaping = {WEIGHT: 1.0, "monitor.lr": 0.1, "data.scaling": "none"}
    assert take_gan_part({**shaping, COUNT: 5, "classifier.lr": 0.1}) == shaping
    assert take_gan_part(SPACE) == {WEIGHT: SPACE[WEIGHT]}


def test_every_point_of_a_small_space_is_listed_once_and_none_of_a_large_or_real_one():
    epochs, legacy = {EPOCHS: Range(3, 7, True, True)}, {LEGACY: Choices((True, False))}
    for space, count in ((epochs, 5), (epochs | BOTH, 10), (BOTH | legacy, 4)):
        points = list_points(space)
        assert count == len(points) == len({str(point) for point in points})
        assert all(find_point(apply_point(Config(), point), space) == point for point in points)
    assert [len(list_points({EPOCHS: Range(1, 10, False, True)}, limit)) for limit in (10, 9)] == [10, 0]
    assert list_points(SPACE) == list_points({EPOCHS: Range(1, 2**40, False, True)}) == []
