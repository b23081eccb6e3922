"""What runs are called, where they are shown, and how tables look there."""

import pytest

from cwgan import pages
from cwgan.command_line import override
from cwgan.config import Config


@pytest.mark.parametrize(
    ("stage", "changes", "given", "name"),
    [
        ("main", {"seed": 3}, {"config": "numbers"}, "numbers seed 3"),
        ("main", {"data.name": "FLO"}, {"config": "flo", "variant": "wgan"}, "FLO wgan seed 0"),
        ("main", {"seeds": [0, 1]}, {"config": "numbers, my/own.yaml"}, "numbers own seeds 0 1"),
        ("train_gan", {}, {"gan.epochs": "5", "threads": "1"}, "train_gan numbers seed 0 gan.epochs=5"),
        ("wgan seed 3", {"seed": 3}, {}, "numbers wgan seed 3"),
        ("ablation", {}, {}, "ablation numbers"),
    ],
)
def test_a_run_is_named_by_what_tells_it_from_others(stage, changes, given, name):
    assert pages.name_run(stage, override(Config(), changes), given) == name


def test_the_addresses_open_the_pages_for_training():
    lines = pages.describe_place("http://server:1/mlflow", "5", "abc").splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(" http://server:1/mlflow/#/experiments/5/runs/abc?workflowType=machine_learning")
    assert "/#/experiments/5/runs?workflowType=machine_learning&" in lines[1]
    assert "ui --backend-store-uri 'sqlite:///a b/mlflow.db'" in pages.describe_place(
        "sqlite:///a b/mlflow.db", "0", "abc"
    )


def test_columns_of_tables_are_given_room_and_other_lines_stay():
    table = "| S | U |\n|--:|--:|\n| 1 | 2 |"
    wide = pages.widen_tables(f"a | b\n{table}").splitlines()
    assert wide == ["a | b", "| S &emsp;| U |", "|--:|--:|", "| 1 &emsp;| 2 |"]
