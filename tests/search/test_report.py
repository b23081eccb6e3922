"""What a study came to: the best trial, what becomes of it, what is said, the table and the pictures."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from cwgan.command_line import SECTIONS, Command, override, parse
from cwgan.config import Config
from cwgan.search import report
from cwgan.search.space import Range
from cwgan.search.study import Study, Task, filter_state, find_best_trial

WEIGHT, COUNT = "gan.cycle_weight", "generate.counts"
SPACE = {WEIGHT: Range(0.001, 10, True, False), COUNT: Range(25, 800, True, True)}


def make_task(folder, space=SPACE, name="", seed=0, **options):
    """Describe a study of a test's folder, in a database that all tests share."""
    values = {"gan.epochs": 7, "gan.score_every": 1, "sweep.heartbeat": 1, "sweep.pruner": "none"}
    config = override(Config(seed=seed), values | {f"sweep.{key}": value for key, value in options.items()})
    return Task(config, space, f"{folder.name} {name}", f"sqlite:///{folder.parent}/optuna.db", folder)


def make_trial(number, state="COMPLETE", value=None, point=None, curve=None, **notes):
    """Return a trial as the database has it; a completed one without a value is worth 0."""
    told = {"params": {WEIGHT: 0.5, COUNT: 40 + number} if point is None else point, "user_attrs": notes}
    told["value"] = 0.0 if state == "COMPLETE" and value is None else value
    told["distributions"] = {name: CategoricalDistribution((each,)) for name, each in told["params"].items()}
    trial = optuna.create_trial(state=optuna.trial.TrialState[state], intermediate_values=curve, **told)
    trial.number = number
    return trial


def make_study(folder, trials, space=SPACE):
    study = Study(make_task(folder, space))
    for trial in trials:
        trial.distributions = study._entries
    study._study.add_trials(trials)
    return study


def read(*flags):
    return parse(Command("test", "For tests.", SECTIONS), flags).config


def test_the_best_is_the_completed_trial_of_highest_value_and_the_earliest_of_equals():
    trials = [make_trial(number, value=value) for number, value in enumerate((0.2, 0.5, 0.5, 0.1))]
    others = [make_trial(4, "PRUNED", 0.9), make_trial(5, "RUNNING"), make_trial(6, "FAIL")]
    assert find_best_trial([*trials, *others]) is find_best_trial([*others, *trials[::-1]]) is trials[1]
    assert find_best_trial(others) is find_best_trial([]) is None
    assert filter_state([*trials, *others], "FAIL", "PRUNED") == [others[0], others[2]]


def test_the_final_model_has_the_point_the_epoch_and_the_bias_and_else_what_the_search_started_from():
    config, trial = read("--config", "numbers"), make_trial(2, value=0.5, epoch=6, epoch_steps=7, gamma=1.25)
    point = {WEIGHT: 0.5, COUNT: [42], "gan.epochs": 6, "gan.epoch_steps": 7, "classifier.gamma": 1.25}
    assert report.configure_final(config, trial) == override(config, point) != config
    searched = make_trial(0, value=0.5, point={"gan.epochs": 30}, epoch=6, epoch_steps=7, gamma=0.0)
    assert report.configure_final(Config(), searched).gan.epochs == 6
    seeded = override(config, {"seed": 7, "sweep.seeds": [4, 5]})
    assert report.configure_final(seeded, trial).seed == 4, "the first seed that tried the setting"


@pytest.mark.parametrize("preset", ["numbers", "cub", "flo_small_images"])
def test_a_layer_written_and_read_as_config_gives_the_same_recipe(preset, tmp_path):
    flags = f"--config {preset} --generate.domain all --generate.counts [1200,300] --gan.save.epochs [2,3]"
    flags += " --precision bfloat16 --gan.generator_lr 1e-5 --data.name 2024 --seed 5"
    config = read(*flags.split())
    trial = make_trial(3, point={WEIGHT: 1e-05 / 3}, epoch=9, epoch_steps=7, gamma=-1e-7)
    best = report.configure_final(config, trial)
    (tmp_path / "best.yaml").write_text("# a comment first\n" + report.format_layer(best))
    assert read("--config", str(tmp_path / "best.yaml")) == best
    assert best.seed == 5


def test_a_layer_holds_what_differs_from_the_defaults_and_nothing_of_the_run():
    run = {"seeds": [1, 2], "threads": 4, "protocol": "validation", "device": "cpu"}
    run |= {"experiment": "x", "run_name": "y", "sweep.trials": 3}
    assert report.format_layer(override(Config(), run)) == report.format_layer(Config()) == "{}\n"
    config = read("--gan.cycle_weight", "2", "--gan.save.every", "3")
    assert report.format_layer(override(Config(), {"seed": 3})) == "seed: 3\n"
    assert report.format_layer(config) == "gan:\n  cycle_weight: 2.0\n  save:\n    every: 3\n"


@pytest.mark.parametrize(
    ("state", "value", "said", "gain"),
    [
        ("COMPLETE", 0.25, "That is 25.0 points more than the preset's own setting, 25.0 % (trial 1).", 0.25),
        ("COMPLETE", 0.5, "That is no more than the preset's own setting, 50.0 % (trial 1).", 0.0),
        ("PRUNED", 0.3, "own setting was pruned", None),
        ("FAIL", None, "own setting broke", None),
        ("RUNNING", None, "own setting is not finished", None),
        ("", None, "own setting lies outside the search space", None),
    ],
)
def test_the_answer_compares_the_best_setting_with_the_presets_own(state, value, said, gain, tmp_path):
    preset = override(Config(), {WEIGHT: 0.5 if state else 0.0, COUNT: [40]})
    own = [make_trial(1, state, value, point={WEIGHT: 0.5, COUNT: 40})] if state else []
    best = make_trial(0, value=0.5, point={WEIGHT: 0.123456, COUNT: 99}, epoch=7)
    answer, metrics = report.describe_best(best, preset, make_study(tmp_path, [best, *own]))
    setting = "trial 0, epoch 7: `gan.cycle_weight` **0.1235**, `generate.counts` **99**.\n\n"
    assert answer.startswith(f"**Best: H 50.0 %** on validation classes, {setting}")
    assert answer.endswith(said if gain is not None else f"{said}: what tuning bought is not known.")
    assert metrics == ({} if gain is None else {"default_value": value, "gain": gain})


def test_a_trials_line_says_what_it_came_to_and_how_far_the_study_is(tmp_path):
    trials = [make_trial(0, value=0.5), make_trial(1, "FAIL", error="ValueError: x"), make_trial(2, "FAIL")]
    study, results = make_study(tmp_path, trials), ("complete: H 50.0 %", "fail: ValueError: x", "fail: lost")
    for trial, said in zip(trials, results, strict=True):
        line = report.describe_trial(study.list_trials()[trial.number], study)
        assert line.startswith(f"  2/20 trial {trial.number} {said}")
        assert f"  gan.cycle_weight 0.5  generate.counts {40 + trial.number}  (" in line
        assert line.endswith(" s)  best: trial 0, 50.0 %")


def test_the_table_lists_completed_trials_by_value_then_pruned_ones_then_others_with_links_to_runs():
    best, pruned = {"value": 0.5, "epoch": 2, "run_id": "abc"}, {"value": 0.9, "curve": {2: 0.3, 4: 0.9}}
    trials = [make_trial(0, "FAIL"), make_trial(1, "PRUNED", **pruned), make_trial(2, value=0.2)]
    trials += [make_trial(3, **best), make_trial(4, value=0.5), make_trial(5, "WAITING", point={})]
    lines = report.list_trials(trials, [WEIGHT, COUNT], "#/experiments/7/runs/").splitlines()
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert head == ["trial", "state", "value", "epoch", WEIGHT, COUNT]
    assert [row[0] for row in rows] == ["[3](#/experiments/7/runs/abc)", "4", "2", "1", "0", "5"]
    assert rows[0][1:] == ["complete", "50.0", "2", "0.5", "43"]
    assert rows[3] == ["1", "pruned", "90.0", "4", "0.5", "41"]
    assert rows[4:] == [["0", "fail", "", "", "0.5", "40"], ["5", "waiting", "", "", "", ""]]
    shown = [report.format_value(value) for value in (0.123456, 1e-5, 300, "relu", True)]
    assert shown == ["0.1235", "1e-05", "300", "relu", "True"]


@pytest.mark.parametrize(
    ("gans", "slope", "names"),
    [(5, 0.01, (WEIGHT, COUNT)), (4, 0.01, (WEIGHT, COUNT)), (5, 0, (WEIGHT, COUNT)), (5, 0.01, (WEIGHT,))],
)
def test_few_gans_and_equal_values_give_no_surface_and_no_importances(gans, slope, names, tmp_path):
    trials = []
    for number in range(9):
        point = dict(zip(names, (number % gans + 0.1 if number else 9.0, 30 + number), strict=False))
        trials.append(make_trial(number, "COMPLETE" if number else "PRUNED", 0.1 + slope * number, point))
    report.draw_pictures(tmp_path, make_study(tmp_path, trials, {name: SPACE[name] for name in names}))
    more = {"importances.png", "surface.png"} if (gans, slope, len(names)) == (5, 0.01, 2) else set()
    assert {path.name for path in tmp_path.glob("*.png")} == {"history.png", "slices.png", *more}
