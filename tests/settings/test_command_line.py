"""The way from defaults, YAML layers and flags to a configuration, and what is refused on it."""

import math

import pytest
import yaml

from cwgan.command_line import SECTIONS, Command, from_dict, nearest, override, parse, to_dict
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.layers import CONFIGS, find_layer, flatten, read_layer
from entrypoints import ablation, main

COMMAND = Command("test", "For tests.", SECTIONS)
PRESETS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
VARIANTS = sorted(path.stem for path in CONFIGS.glob("variants/*.yaml"))


@pytest.fixture
def layer(tmp_path):
    """Write a YAML file and return its path as text."""

    def write(text: str, name: str = "layer.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def refusal(*flags: str, command: Command = COMMAND) -> str:
    with pytest.raises(InputError) as error:
        parse(command, flags)
    return str(error.value)


# Layers


def test_without_flags_the_defaults_hold():
    assert parse(COMMAND, []).config == Config()


def test_each_layer_overrides_those_before_it(layer):
    config = layer(
        "gan: {critic_steps: 3, cycle_weight: 3, unseen_cycle_weight: 3, classification_weight: 3}",
        "config.yaml",
    )
    variant = layer("gan: {unseen_cycle_weight: 4, classification_weight: 4}", "variant.yaml")
    inherited = {"gan": dict.fromkeys(["hidden_size", "critic_steps"], 2)}
    flags = ["--config", config, "--variant", variant, "--gan.classification_weight", "5"]
    gan = parse(COMMAND, flags, inherited).config.gan
    assert gan.batch_size == Config().gan.batch_size
    assert gan.hidden_size == 2
    assert (gan.critic_steps, gan.cycle_weight) == (3, 3)
    assert gan.unseen_cycle_weight == 4
    assert gan.classification_weight == 5


def test_of_several_layers_the_later_ones_win(layer):
    mine = layer("gan: {epochs: 3}")
    arguments = parse(COMMAND, ["--config", f"numbers, {mine}"])
    assert (arguments.config.gan.epochs, arguments.config.generate.counts) == (3, [100])
    assert parse(COMMAND, ["--config", f"{mine},numbers"]).config.gan.epochs == 15
    assert "found 'imagenet'" in refusal("--config", "numbers,imagenet")


def test_what_was_given_is_told_and_nothing_empty():
    flags = ["--variant=", "--config=numbers", "--gan.epochs=15", "--metrics=[H,U]"]
    told = {"config": "numbers", "gan.epochs": "15", "metrics": "['H', 'U']"}
    assert parse(COMMAND, flags).given == told
    assert parse(main.COMMAND, []).given == {"config": "numbers"}


def test_the_command_names_its_own_preset_where_none_is_given(layer):
    command = Command("test", "", SECTIONS, config=layer("seed: 7"))
    assert parse(command, []).config.seed == 7
    assert parse(command, ["--config", layer("seed: 8", "other.yaml")]).config.seed == 8


def test_what_is_inherited_stands_in_for_the_commands_own_preset(layer):
    command = Command("test", "", SECTIONS, config=layer("seed: 7"))
    assert parse(command, [], inherited={}).config.seed == 0


def test_the_names_of_the_layers_used_are_told():
    assert parse(COMMAND, ["--config", "numbers", "--variant", "wgan"]).layers == {
        "config": "numbers",
        "variant": "wgan",
    }
    assert parse(COMMAND, []).layers == {}


def test_sections_that_a_command_does_not_take_are_inherited_but_no_flags():
    command = Command("test", "", ("data",))
    assert parse(command, [], {"gan": {"epochs": 3}}).config.gan.epochs == 3
    assert "gan.epochs: found an unknown parameter" in refusal("--gan.epochs", "3", command=command)


@pytest.mark.parametrize(
    ("kind", "name"), [("config", name) for name in PRESETS] + [("variant", name) for name in VARIANTS]
)
def test_every_file_in_configs_parses(kind, name):
    arguments = parse(COMMAND, [f"--{kind}", name])
    written = flatten(yaml.safe_load(find_layer(name, kind).read_text()))
    written.pop("base", None)
    assert written
    assert written == {
        key: value for key, value in flatten(to_dict(arguments.config)).items() if key in written
    }


def test_a_layer_lies_over_its_base_and_a_circle_or_an_unknown_base_is_refused(tmp_path):
    (tmp_path / "low.yaml").write_text("base: original\ngan: {epochs: 3, beta1: 0.25}\n")
    (tmp_path / "high.yaml").write_text(f"base: {tmp_path}/low.yaml\ngan: {{epochs: 4}}\n")
    gan = parse(COMMAND, ["--config", str(tmp_path / "high.yaml")]).config.gan
    assert (gan.epochs, gan.beta1, gan.hidden_size) == (4, 0.25, 4096)
    for base, said in ((f"{tmp_path}/high.yaml", "built on this one"), ("nothing", "base of .*low.yaml")):
        (tmp_path / "low.yaml").write_text(f"base: {base}\n")
        with pytest.raises(InputError, match=said):
            parse(COMMAND, ["--config", str(tmp_path / "high.yaml")])


def test_data_of_ones_own_get_the_defaults_and_built_in_data_their_preset(tmp_path):
    assert parse(main.COMMAND, ["--data.path", str(tmp_path)]).config.gan == Config().gan
    for flags in ([], ["--data.path", "numbers"]):
        assert parse(main.COMMAND, flags).config.generate.counts == [100]


def test_wgan_is_what_the_defaults_are_and_the_original_presets_have_a_cycle_term():
    assert parse(COMMAND, ["--variant", "wgan"]).config == Config()
    gan = parse(COMMAND, ["--config", "cub"]).config.gan
    assert (gan.cycle_weight, gan.cycle_error) == (0.01, "squared")


def test_variants_differ_in_their_weights_alone():
    variants = [name for name in VARIANTS if "wgan" in name]
    assert len(variants) == 5
    for name in variants:
        keys = flatten(read_layer(find_layer(name, "variant"))).keys() - {"gan.cycle_error"}
        assert all(key.endswith("_weight") for key in keys)


def test_a_configuration_survives_being_written_and_read():
    config = parse(
        COMMAND, ["--config", "awa1", "--variant", "cycle_uwgan", "--gan.save.epochs", "[2,3]"]
    ).config
    assert from_dict(to_dict(config)) == config
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config
    assert parse(COMMAND, [], to_dict(config)).config == config


# Spelling, as `mlflow run -P` passes it


@pytest.mark.parametrize("flags", [["--generate.counts", "[1200,300]"], ["--generate.counts=[1200, 300]"]])
def test_a_list_is_spelt_with_brackets(flags):
    assert parse(COMMAND, ["--generate.domain", "all", *flags]).config.generate.counts == [1200, 300]


def test_a_list_of_one_needs_no_brackets_and_is_told_with_them(layer):
    for flags in (["--generate.counts", "5"], ["--config", layer("generate.counts: 5")]):
        assert parse(COMMAND, flags).config.generate.counts == [5]
    assert parse(COMMAND, ["--generate.counts", "5"]).given["generate.counts"] == "[5]"
    assert parse(ablation.COMMAND, ["--variants=no_gan"]).config.variants == ["no_gan"]
    assert override(Config(), {"seeds": 3}).seeds == [3]


def test_openset_stands_for_all_and_is_recorded_as_all():
    arguments = parse(COMMAND, ["--generate.domain=openset", "--generate.counts=[7]"])
    assert (arguments.config.generate.domain, arguments.config.generate.counts) == ("all", [7, 7])
    assert arguments.given["generate.domain"] == "all"
    assert arguments.given["generate.counts"] == "[7, 7]"
    both = parse(COMMAND, ["--generate.domain=openset", "--generate.counts=[1200,300]"])
    assert both.config == parse(COMMAND, ["--generate.domain=all", "--generate.counts=[1200,300]"]).config


def test_a_plus_adds_to_the_list_of_the_layers(layer):
    path = layer("seeds: [1, 2]")
    flags = ["--config", path, "--seeds+", "3", "--seeds+=4"]
    assert parse(main.COMMAND, flags).config.seeds == [1, 2, 3, 4]
    assert refusal("--generate.counts+", "x").startswith(
        "command line: generate.counts: found x; allowed: a list"
    )


def test_what_other_commands_take_is_refused_and_the_nearest_named():
    with pytest.raises(
        InputError, match=r"variants: found an unknown parameter; allowed: .*nearest: variant$"
    ):
        parse(main.COMMAND, ["--variants=[wgan]"])
    with pytest.raises(InputError, match=r"seeds: found an unknown parameter; allowed: .*nearest: seed"):
        parse(COMMAND, ["--seeds=[0,1]"])


@pytest.mark.parametrize("name", ["seeds", "divisions", "sweep.seeds"])
def test_a_seed_or_a_division_counts_once(name):
    with pytest.raises(InputError, match=rf"{name}: found \[0, 0\]; allowed: each of them once"):
        override(Config(), {name: [0, 0]})


@pytest.mark.parametrize(
    ("text", "value"), [("false", False), ("False", False), ("true", True), ("True", True)]
)
def test_a_switch_is_spelt_true_or_false(text, value):
    assert parse(COMMAND, ["--gan.train", text]).config.gan.train is value


@pytest.mark.parametrize("text", ["0.0001", "1e-4", "1.0E-4", ".0001"])
def test_a_number_may_be_spelt_in_every_usual_way(text, layer):
    assert parse(COMMAND, ["--gan.cycle_weight", text]).config.gan.cycle_weight == 1e-4
    path = layer(f"gan: {{cycle_weight: {text}}}")
    assert parse(COMMAND, ["--config", path]).config.gan.cycle_weight == 1e-4


@pytest.mark.parametrize("text", ["my data/FLO 'new'", "2024", "null", "a=b", "true", "[1]"])
def test_text_stays_as_it_is(text):
    assert parse(COMMAND, ["--data.path", text]).config.data.path == text


# What is refused


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("gan.epoch", "gan.epochs"),
        ("cycle_weight", "gan.cycle_weight"),
        ("gan.cicle_weight", "gan.cycle_weight"),
        ("sed", "seed"),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_names(flag, meant, layer):
    assert f"command line: {flag}: found an unknown parameter" in refusal(f"--{flag}", "1")
    assert meant in refusal(f"--{flag}", "1").partition("nearest: ")[2].split(", ")
    path = layer(f"{flag}: 1")
    assert f"{path}: {flag}: found an unknown parameter" in refusal("--config", path)
    assert meant in refusal("--config", path).partition("nearest: ")[2].split(", ")


def test_a_name_like_no_other_gets_no_false_hint():
    assert nearest("xyzzy", ["gan.epochs", "seed"]) == "those of --help"


def test_abbreviated_flags_are_refused():
    assert "unknown parameter" in refusal("--gan.epo", "1")


@pytest.mark.parametrize(
    ("kind", "fitting", "others"), [("config", PRESETS, VARIANTS), ("variant", VARIANTS, PRESETS)]
)
def test_an_unknown_layer_is_refused_with_those_that_fit_the_parameter(kind, fitting, others):
    message = refusal(f"--{kind}", "imagenet")
    assert message.startswith(
        f"--{kind}: layer: found 'imagenet'; allowed: one of {', '.join(fitting)}, or a"
    )
    assert f"--{kind}: layer: found '{others[0]}'" in refusal(f"--{kind}", others[0])
    assert f"(nearest: {fitting[0]})" in refusal(f"--{kind}", f"{fitting[0]}1")


def test_a_file_that_is_not_there_is_refused_with_the_folder_it_was_looked_for_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in refusal("--config", "mine.yaml")
    (tmp_path / "mine.yaml").write_text("seed: 3")
    assert find_layer("mine.yaml", "config").samefile(tmp_path / "mine.yaml")
    assert parse(COMMAND, ["--config", "mine.yaml"]).config.seed == 3


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("gan.epochs", "many", "a whole number"),
        ("gan.epochs", "1.5", "a whole number"),
        ("gan.cycle_weight", "heavy", "a finite number"),
        ("gan.train", "maybe", "true or false"),
        ("generate.counts", "1.5", "a list of whole numbers, as [200] or [1200,300]"),
        ("generate.counts", "[many]", "a list of whole numbers, as [200] or [1200,300]"),
        ("data.att_type", "fuzzy", "one of 'continuous', 'binary'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_is_allowed(key, value, allowed, layer):
    assert refusal(f"--{key}", value).startswith(f"command line: {key}: found ")
    assert refusal(f"--{key}", value).endswith(f"allowed: {allowed}")
    path = layer(f"{key}: {value}")
    assert refusal("--config", path).startswith(f"{path}: {key}: found ")
    assert refusal("--config", path).endswith(f"allowed: {allowed}")


def test_a_value_out_of_range_is_refused_wherever_it_comes_from(layer):
    message = "configuration: gan.beta1: found 1.0; allowed: at least 0 and below 1"
    assert refusal("--gan.beta1", "1") == message
    assert refusal("--config", layer("gan: {beta1: 1}")) == message


@pytest.mark.parametrize("spelling", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused(spelling, layer):
    assert "allowed: a finite number" in refusal(f"--gan.cycle_weight={spelling}")
    path = layer(f"gan: {{cycle_weight: {spelling.replace('nan', '.nan').replace('inf', '.inf')}}}")
    assert "allowed: a finite number" in refusal("--config", path)


@pytest.mark.parametrize("text", ["gan: {epochs: [", "gan:\n\tepochs: 3", "seed: 2024-13-45", "a: *b"])
def test_broken_yaml_is_refused_in_one_line(text, layer):
    path = layer(text)
    message = refusal("--config", path)
    assert message.startswith(f"{path}: YAML: found ")
    assert "\n" not in message


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "layer.yaml").write_bytes(b"\xff\xfe\x00")
    assert "allowed: a readable YAML file" in refusal("--config", str(tmp_path / "layer.yaml"))


@pytest.mark.parametrize("text", ["- 1\n- 2", "just words", "3"])
def test_yaml_that_is_no_mapping_is_refused(text, layer):
    assert "allowed: a mapping of sections to parameters" in refusal("--config", layer(text))


@pytest.mark.parametrize("text", ["", "# nothing but a comment", "{}", "gan: {}"])
def test_an_empty_layer_changes_nothing(text, layer):
    assert parse(COMMAND, ["--config", layer(text)]).config == Config()


@pytest.mark.parametrize("text", ["gan:", "gan: 3", "gan: {save: every}"])
def test_a_section_must_hold_parameters_by_name(text, layer):
    assert "allowed: parameters by name, this being a section" in refusal("--config", layer(text))


def test_a_parameter_without_a_value_is_refused(layer):
    assert "gan.epochs: found nothing" in refusal("--config", layer("gan: {epochs: }"))
    for flags in (["--gan.epochs"], ["--gan.epochs", "--seed", "1"], ["--seed", "1", "--gan.epochs"]):
        assert refusal(*flags) == "command line: gan.epochs: found nothing; allowed: a whole number"


def test_a_word_that_is_no_flag_is_refused_with_the_flag_before_it():
    assert refusal("stray") == "command line: flags: found stray; allowed: --parameter value, see --help"
    assert refusal("stray", "--seed", "1") == refusal("stray")
    message = "command line: data.path: found my folder; allowed: text, in quotes"
    assert refusal("--seed", "1", "--data.path", "my", "folder", "--threads", "1") == message


def test_of_several_flags_the_wrong_one_is_named():
    flags = ["--seed", "1", "--gan.epochs=many", "--gan.save.keep", "2"]
    assert refusal(*flags) == "command line: gan.epochs: found many; allowed: a whole number"


def test_unknown_keys_of_the_run_built_upon_are_named_as_such():
    with pytest.raises(
        InputError, match=r"the configuration of the run built upon: gan\.layers: found an unknown parameter"
    ):
        parse(COMMAND, [], {"gan": {"layers": 3}})


# Overriding by dotted name


def test_values_by_dotted_name_replace_those_of_a_configuration():
    config = parse(COMMAND, ["--config", "numbers"]).config
    changed = override(config, {"gan.epochs": 5, "gan.save.keep": 2, "gan.cycle_weight": 1, "seed": 3})
    expected = flatten(to_dict(config)) | {
        "gan.epochs": 5,
        "gan.save.keep": 2,
        "gan.cycle_weight": 1.0,
        "seed": 3,
    }
    assert flatten(to_dict(changed)) == expected
    assert isinstance(changed.gan.cycle_weight, float)
    assert config == parse(COMMAND, ["--config", "numbers"]).config
    assert override(config, {}) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gan.epochs", "many", "found many; allowed: a whole number"),
        ("gan.epochs", 1.5, "found 1.5; allowed: a whole number"),
        ("gan.epochs", True, "found True; allowed: a whole number"),
        ("gan.epochs", None, "found nothing; allowed: a whole number"),
        ("gan.epochs", 0, "found 0; allowed: at least 1"),
        ("gan.cycle_weight", math.nan, "found nan; allowed: a finite number"),
        ("generate.counts", [1, 2], "found [1, 2]; allowed: 1 number(s) for domain 'unseen'"),
        ("gan.epoch", 3, "found an unknown parameter; allowed: those of --help; nearest: gan.epochs"),
        ("gan", 3, "found 3; allowed: parameters by name, this being a section"),
    ],
)
def test_an_overriding_value_is_checked_as_a_flag_is(key, value, message):
    with pytest.raises(InputError) as error:
        override(Config(), {"seed": 1, key: value}, "search space")
    assert str(error.value).startswith(f"search space: {key}: {message}")


# References


BUILDS_ON = Command(
    "test", "", ("data",), {"gan": "run id of the GAN (required)", "out": "a folder"}, required=("gan",)
)


@pytest.mark.parametrize("flags", [[], ["--gan", ""], ["--gan", "  "], ["--out", "there"]])
def test_a_missing_reference_is_refused_with_what_it_is(flags):
    assert (
        refusal(*flags, command=BUILDS_ON)
        == "--gan: value: found nothing; allowed: run id of the GAN (required)"
    )


def test_references_come_apart_from_the_configuration_and_trimmed():
    arguments = parse(BUILDS_ON, ["--gan", " 0123456789abcdef \n", "--seed", "3"])
    assert arguments.references == {"gan": "0123456789abcdef"}
    assert arguments.config.seed == 3


def test_the_batches_of_xian2018_are_the_public_codes():
    config = parse(COMMAND, ["--config", "cub", "--variant", "xian2018"]).config
    assert config.monitor.batch_size == 100
    assert [config.classifier.batch_size] == config.generate.counts == [300]
