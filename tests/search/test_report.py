"""The trials of a search as plain values: the best, those that broke, what the best becomes, and the table."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cwgan.command_line import SECTIONS, Command, flatten, parse
from cwgan.config import Config
from cwgan.search.trials import Trial, best_of, broken_in_a_row, configured, in_state, layer_of, shown, table

COMMAND = Command("test", "For tests.", SECTIONS)


def trial(
    number: int, state: str = "COMPLETE", value: float | None = None, ended: float = 0.0, **notes: object
) -> Trial:
    point = {"gan.cycle_weight": 0.5, "generate.counts": 40 + number}
    return Trial(number, state, value, point, notes, {}, ended - 1 if ended else 0.0, ended)


# The best


def test_the_best_is_the_completed_trial_of_highest_value_and_the_earliest_of_equals() -> None:
    trials = [trial(0, value=0.2), trial(1, value=0.5), trial(2, value=0.5), trial(3, value=0.1)]
    for order in (trials, trials[::-1]):
        found = best_of(order)
        assert found is not None
        assert found.number == 1


def test_a_pruned_trial_is_never_the_best_whatever_its_last_score() -> None:
    found = best_of(
        [
            trial(0, "PRUNED", 0.9),
            trial(1, value=0.1),
            trial(2, "RUNNING"),
            trial(3, "FAIL"),
            trial(4, "WAITING"),
        ]
    )
    assert found is not None
    assert found.number == 1


def test_without_a_completed_trial_there_is_no_best() -> None:
    assert best_of([]) is None
    assert best_of([trial(0, "PRUNED", 0.9), trial(1, "FAIL")]) is None


def test_trials_are_picked_by_state_in_their_order() -> None:
    trials = [trial(0), trial(1, "FAIL"), trial(2, "PRUNED"), trial(3)]
    assert [one.number for one in in_state(trials, "COMPLETE", "PRUNED")] == [0, 2, 3]


# Those that broke


def test_broken_trials_are_counted_back_from_the_one_that_ended_last() -> None:
    broken = [trial(number, "FAIL", ended=10 + number, error="ValueError: x") for number in range(3)]
    assert broken_in_a_row(broken, 0) == 3
    assert broken_in_a_row(broken[::-1], 0) == 3
    assert broken_in_a_row([], 0) == 0


@pytest.mark.parametrize("state", ["COMPLETE", "PRUNED"])
def test_a_success_interrupts_the_row(state: str) -> None:
    trials = [
        trial(0, "FAIL", ended=10, error="x"),
        trial(1, state, 0.5, ended=11),
        trial(2, "FAIL", ended=12, error="x"),
    ]
    assert broken_in_a_row(trials, 0) == 1
    assert broken_in_a_row([*trials, trial(3, state, 0.5, ended=13)], 0) == 0


def test_the_row_follows_the_order_of_ending_not_of_beginning() -> None:
    trials = [
        trial(0, "FAIL", ended=12, error="x"),
        trial(1, value=0.5, ended=11),
        trial(2, "FAIL", ended=10, error="x"),
    ]
    assert broken_in_a_row(trials, 0) == 1


def test_vanished_workers_neither_count_nor_interrupt() -> None:
    trials = [
        trial(0, "FAIL", ended=10, error="x"),
        trial(1, "FAIL", ended=11),
        trial(2, "FAIL", ended=12, error="x"),
    ]
    assert broken_in_a_row(trials, 0) == 2


def test_trials_of_an_earlier_command_and_those_under_way_do_not_count() -> None:
    trials = [
        trial(0, "FAIL", ended=10, error="x"),
        trial(1, "FAIL", ended=20, error="x"),
        trial(2, "RUNNING"),
        trial(3, "WAITING"),
    ]
    assert broken_in_a_row(trials, first=1) == 1


# What the best becomes


def test_the_final_model_has_the_point_the_epoch_and_the_bias_and_else_what_the_search_started_from() -> None:
    config = parse(COMMAND, ["--config", "numbers"]).config
    found = configured(config, trial(2, value=0.5, epoch=6, gamma=1.25))
    assert (found.gan.cycle_weight, found.generate.counts, found.gan.epochs, found.classifier.gamma) == (
        0.5,
        [42],
        6,
        1.25,
    )
    back = replace(
        found,
        gan=replace(found.gan, cycle_weight=config.gan.cycle_weight, epochs=config.gan.epochs),
        generate=config.generate,
        classifier=replace(found.classifier, gamma=config.classifier.gamma),
    )
    assert back == config


def test_an_epoch_that_is_searched_gives_way_to_the_scored_one() -> None:
    searched = replace(trial(0, value=0.5, epoch=6, gamma=0.0), point={"gan.epochs": 30})
    assert configured(Config(), searched).gan.epochs == 6


@pytest.mark.parametrize("preset", ["numbers", "cub", "flo_small_images"])
def test_a_layer_written_and_read_as_config_gives_the_same_recipe(preset: str, tmp_path: Path) -> None:
    flags = [
        "--generate.domain",
        "all",
        "--generate.counts",
        "[1200,300]",
        "--gan.save.epochs",
        "[2,3]",
        "--precision",
        "bfloat16",
    ]
    config = parse(
        COMMAND,
        ["--config", preset, *flags, "--gan.generator_lr", "1e-5", "--data.name", "2024", "--seed", "5"],
    ).config
    best = configured(
        config, replace(trial(3, value=0.5, epoch=9, gamma=-1e-7), point={"gan.cycle_weight": 1e-05 / 3})
    )
    path = tmp_path / "best.yaml"
    path.write_text("# a comment first\n" + yaml.safe_dump(layer_of(best), sort_keys=False))
    again = parse(COMMAND, ["--config", str(path)]).config
    assert replace(again, seed=best.seed) == best


def test_a_layer_holds_what_differs_from_the_defaults_and_nothing_of_the_run() -> None:
    assert layer_of(Config()) == {}
    of_run = replace(
        Config(),
        seed=3,
        seeds=[1, 2],
        threads=4,
        protocol="validation",
        experiment="x",
        run_name="y",
        device="cpu",
    )
    assert layer_of(replace(of_run, sweep=replace(of_run.sweep, trials=3))) == {}
    config = parse(COMMAND, ["--gan.cycle_weight", "2", "--gan.save.every", "3"]).config
    assert flatten(layer_of(config)) == {"gan.cycle_weight": 2.0, "gan.save.every": 3}


# The table


def test_the_table_lists_completed_trials_by_value_then_pruned_ones_then_the_others() -> None:
    trials = [
        trial(0, "FAIL"),
        trial(1, "PRUNED", 0.9),
        trial(2, value=0.25, epoch=4),
        trial(3, value=0.5, epoch=2),
        trial(4, value=0.5),
    ]
    lines = table(trials, ["gan.cycle_weight", "generate.counts"]).splitlines()
    assert lines[0] == "| trial | state | value | epoch | gan.cycle_weight | generate.counts |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 3", "| 4", "| 2", "| 1", "| 0"]
    assert lines[2] == "| 3 | complete | 50.0 | 2 | 0.5 | 43 |"
    assert lines[6] == "| 0 | fail |  |  | 0.5 | 40 |"
    assert len({line.count("|") for line in lines}) == 1


def test_a_pruned_trial_shows_its_last_scored_epoch() -> None:
    pruned = replace(trial(1, "PRUNED", 0.1), curve={2: 0.3, 4: 0.1})
    assert table([pruned], []).splitlines()[2].startswith("| 1 | pruned | 10.0 | 4 |")


def test_trials_with_a_run_are_linked_where_a_link_is_given() -> None:
    trials = [trial(0, value=0.5, run_id="abc"), trial(1, value=0.4)]
    linked = table(trials, [], "#/experiments/7/runs/").splitlines()
    assert linked[2].startswith("| [0](#/experiments/7/runs/abc) |")
    assert linked[3].startswith("| 1 |")
    assert "](" not in table(trials, [])


def test_a_trial_that_has_no_point_yet_has_empty_cells() -> None:
    waiting = Trial(0, "WAITING", None, {}, {}, {}, 0.0, 0.0)
    assert table([waiting], ["gan.cycle_weight"]).splitlines()[2] == "| 0 | waiting |  |  |  |"


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (1e-5, "1e-05"), (300, "300"), ("relu", "relu"), (True, "True")]
)
def test_numbers_are_shown_to_four_digits(value: object, text: str) -> None:
    assert shown(value) == text
