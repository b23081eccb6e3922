from pathlib import Path

import pytest

from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.gan_config import GanConfig
from cwgan.scoring.comparison import (
    VARIANTS,
    Spread,
    format_table,
    list_variants,
    split_protocols,
    spread,
    tabulate_scores,
    to_metrics,
)
from cwgan.stages.figures import draw_variants


def test_the_spread_is_mean_and_sample_deviation_of_what_all_runs_have() -> None:
    found = spread([{"H": 0.25, "T1": 0.5}, {"H": 0.75, "T1": 0.5, "S": 1.0}, {"H": 0.5, "T1": 0.5}])
    assert found == {"H": Spread(0.5, 0.25), "T1": Spread(0.5, 0.0)}
    assert spread([{"H": 0.5}]) == {"H": Spread(0.5, None)}
    assert to_metrics({"H": Spread(0.6, 0.1)}, "wgan/") == {"wgan/H": 0.6, "wgan/H_std": 0.1}


def test_a_variant_says_which_terms_there_are_and_how_much_the_cycle_counts() -> None:
    configs = list_variants(Config(gan=GanConfig(cycle_weight=0.5, hidden_size=7)))
    weights = {
        name: (
            config.gan.cycle_weight,
            config.gan.unseen_cycle_weight > 0,
            config.gan.classification_weight > 0,
        )
        for name, config in configs.items()
    }
    assert tuple(weights) == VARIANTS
    assert weights == {
        "wgan": (0, False, False),
        "clswgan": (0, False, True),
        "cycle_wgan": (1, False, False),
        "cycle_clswgan": (1, False, True),
        "cycle_uwgan": (1, True, False),
    }
    assert {config.gan.hidden_size for config in configs.values()} == {7}


def test_variants_may_be_named_and_defaults_is_the_configuration_itself() -> None:
    config = Config(variants=["defaults", "eszsl"], gan=GanConfig(hidden_size=7))
    configs = list_variants(config)
    assert configs["defaults"] == config
    assert (configs["eszsl"].classifier.method, configs["eszsl"].gan.hidden_size) == ("eszsl", 7)
    with pytest.raises(InputError, match="each of them once"):
        list_variants(Config(variants=["wgan", "wgan"]))
    with pytest.raises(InputError, match="'nothing'"):
        list_variants(Config(variants=["nothing"]))


def test_a_table_is_in_percent_but_for_gamma() -> None:
    text = tabulate_scores("runs", {"one": {"H": 0.5, "gamma": 1.25}, "mean": {"H": Spread(0.512, 0.014)}})
    assert text.splitlines() == [
        "| runs |          H | gamma |",
        "|-----:|-----------:|------:|",
        "|  one |       50.0 |   1.2 |",
        "| mean | 51.2 ± 1.4 |       |",
    ]


def test_every_table_of_the_project_is_aligned_to_the_right() -> None:
    assert format_table(["a", "long"], [["1.5", "2"]]).splitlines() == [
        "|   a | long |",
        "|----:|-----:|",
        "| 1.5 |    2 |",
    ]


def test_scores_of_validation_classes_and_of_test_rows_are_two_rows() -> None:
    scores = {"val_H": 0.5, "val_gamma": 1.0, "H": 0.4, "selected_epoch": 7.0, "seconds/generate": 1.0}
    assert split_protocols(scores) == {"validation": {"H": 0.5, "gamma": 1.0}, "test": {"H": 0.4}}
    assert split_protocols({"val_H": 0.5, "selected_epoch": 7.0}) == {"validation": {"H": 0.5}}


def test_the_bars_are_drawn(tmp_path: Path) -> None:
    draw_variants(
        tmp_path / "bars.png", {name: {"S": Spread(0.5, 0.1), "H": Spread(0.4, 0.0)} for name in VARIANTS}
    )
    assert (tmp_path / "bars.png").read_bytes()[1:4] == b"PNG"
