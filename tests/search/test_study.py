"""The study, on a real database: what is proposed, and what becomes of broken, stopped and lost trials."""

import json
import pickle
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from test_report import COUNT, SPACE, WEIGHT, make_task, make_trial

from cwgan.config import SweepConfig
from cwgan.errors import InputError, Stopped, StoreError, WriteError
from cwgan.search.space import Choices, Range, list_points, take_gan_part
from cwgan.search.study import (
    GRACE,
    RANDOM_GANS,
    RETRIES,
    Study,
    filter_state,
    filter_tried,
    make_pruner,
    repeat_while_away,
)
from cwgan.search.worker import choose_gan

CURVES = Path(__file__).with_name("curves_numbers.json")
EPOCHS, OUTPUT = "gan.epochs", "gan.output"
SHARED = """whole COMPLETE; whole COMPLETE PRUNED FAIL; whole RUNNING; half COMPLETE"""
NOT_SHARED = """whole; whole COMPLETE COMPLETE RUNNING; whole COMPLETE WAITING PRUNED; whole FAIL; \
whole PRUNED COMPLETE; half COMPLETE RUNNING; elsewhere COMPLETE"""
PROCESS = """
import pickle, sys, time
from cwgan.search.study import Study
def say_and_wait():
    print("ready", flush=True)
    input()
task = pickle.loads(bytes.fromhex(sys.argv[1]))
"""


def start(task, body):
    """Run a program that can join a study, and wait until it is ready; it ends when its input does."""
    command = [sys.executable, "-c", PROCESS + body, pickle.dumps(task).hex()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def try_one(study, objective=lambda attempt: attempt.number / 10, fixed=None):
    return study.attempt(objective, lambda trials: fixed or {})


def try_out(study, times, *arguments):
    """Try so many settings; return the points of all trials of the study."""
    for _ in range(times):
        try_one(study, *arguments)
    return [trial.params for trial in study.list_trials()]


def fail_with(error):
    def fail(attempt):
        attempt.set_user_attr("run_id", "lost")
        raise error

    return fail


def take_lock(study):
    with study.lock():
        pass


def states_of(study):
    return " ".join(trial.state.name for trial in study.list_trials())


def test_every_trial_lies_in_the_space_and_is_told_with_its_value_curve_and_notes(tmp_path):
    study, facts = Study(make_task(tmp_path)), {"seed": 0, "space": [1.5, "relu", True]}

    def objective(attempt):
        assert [trial.number for trial in filter_state(study.list_trials(), "RUNNING")] == [attempt.number]
        attempt.set_user_attr("gamma", 0.5)
        attempt.report(0.1, 1)
        attempt.report(0.2, 2)
        study.recover()  # nobody gives up the trial of a living worker
        return attempt.number / 10

    told = [try_one(study, objective), try_one(study, objective)]
    study.note("facts", facts)
    again, other = Study(make_task(tmp_path)), Study(make_task(tmp_path, name="other"))
    assert (again.list_trials(), again.read_note("facts")) == (told, facts)
    assert (other.list_trials(), other.read_note("facts")) == ([], None)
    for number, trial in enumerate(told):
        assert (trial.number, trial.state.name, trial.value) == (number, "COMPLETE", number / 10)
        assert 0.001 <= trial.params[WEIGHT] <= 10
        assert trial.params[COUNT] in range(25, 801)
        assert trial.user_attrs == {"worker": study.worker, "gamma": 0.5}
        assert trial.intermediate_values == {1: 0.1, 2: 0.2}


def test_the_queued_setting_comes_first_and_once_whatever_gan_is_kept_and_whoever_opens_the_study(tmp_path):
    preset = {WEIGHT: 0.0123, COUNT: 300}
    for _ in range(4):
        study = Study(make_task(tmp_path))
        study.queue(preset, study.list_trials())
        study.queue(preset, study.list_trials())
        try_one(study, fixed={WEIGHT: 1.0})
    first, *others = study.list_trials()
    assert (first.params, [trial.params[WEIGHT] for trial in others]) == (preset, [1.0] * 3)
    assert states_of(study) == "COMPLETE COMPLETE COMPLETE COMPLETE"


def test_the_same_seed_and_results_give_the_same_proposals_and_another_seed_others(tmp_path):
    times, second = RANDOM_GANS + 2, make_task(tmp_path, name="second")
    first = try_out(Study(make_task(tmp_path, name="first")), times)
    try_out(Study(second), times - 2)
    assert try_out(Study(second), 2) == first
    other = try_out(Study(make_task(tmp_path, name="other", seed=1)), 2)
    assert len({str(point) for point in [*first, *other]}) == times + 2


@pytest.mark.parametrize(("space", "shared"), [(SPACE, 1), (SPACE, 2), ({COUNT: SPACE[COUNT]}, 1)])
def test_so_many_gan_settings_are_random_whatever_the_results_and_later_ones_learn(space, shared, tmp_path):
    def search(sign):
        study = Study(make_task(tmp_path, space, f"{sign}"))
        for number in range(shared * (RANDOM_GANS + 2)):
            fixed = take_gan_part(study.list_trials()[-1].params) if number % shared else {}
            points = try_out(study, 1, lambda attempt: sign * sum(attempt.params.values()), fixed)
        return [take_gan_part(point) or point for point in points[::shared]]

    low, high = search(-1), search(1)
    assert low[:RANDOM_GANS] == high[:RANDOM_GANS]
    assert not any(point in high for point in low[RANDOM_GANS:])


@pytest.mark.parametrize(("trials", "expected"), [(20, 6), (2, 2)])
def test_a_small_space_is_tried_point_by_point_until_it_or_the_number_is_used_up(trials, expected, tmp_path):
    space = {COUNT: Range(1, 3, False, True), OUTPUT: Choices(("relu", "linear"))}
    study, first = Study(make_task(tmp_path, space, trials=trials)), {COUNT: 2, OUTPUT: "linear"}
    study.queue(first, study.list_trials())
    while not study.is_done():  # a trial that runs need not be begun again
        try_one(study, lambda attempt: float(attempt.number < expected - 1 or try_one(study) is None))
    points = try_out(study, 1)
    assert (study.count_asked(), len(points), points[0]) == (expected, expected, first)
    assert len([point for point in list_points(space) if point in points]) == expected
    assert {trial.value for trial in study.list_trials()} == {1.0}


def test_with_a_kept_gan_the_rest_varies_until_nothing_is_left_and_no_point_comes_twice(tmp_path):
    small = {WEIGHT: Choices((0.1, 1.0)), COUNT: Range(1, 3, False, True)}
    for space in (small, {WEIGHT: SPACE[WEIGHT], COUNT: Choices((100, 200, 300))}):
        study = Study(make_task(tmp_path, space, str(space)))
        points = [try_one(study, fixed={WEIGHT: 1.0}).params for _ in range(6)]
        assert [point[WEIGHT] == 1.0 for point in points] == [True] * 3 + [False] * 3
        assert len({str(point) for point in points}) == 6


def test_processes_that_make_and_try_a_study_at_once_repeat_no_setting_and_begin_none_too_many(tmp_path):
    body = """
say_and_wait()
study = Study(task)
for _ in range(4):
    study.attempt(lambda attempt: time.sleep(0.2) or 0.5, lambda trials: {})
"""
    task = make_task(tmp_path, {COUNT: Range(1, 12, False, True)}, trials=7)
    task = replace(task, storage=f"sqlite:///{tmp_path}/new.db")
    with start(task, body) as first, start(task, body) as second:
        for process in (first, second):
            print(file=process.stdin, flush=True)
    assert first.returncode == second.returncode == 0
    trials = Study(task).list_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 7
    assert len({trial.params[COUNT] for trial in trials}) == 7
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2


def test_the_lock_keeps_another_process_out_and_is_free_once_its_holder_is_killed(tmp_path):
    study, other = Study(make_task(tmp_path)), Study(make_task(tmp_path, name="other"))
    with start(make_task(tmp_path), "with Study(task).lock():\n    say_and_wait()") as holder:
        waiting = threading.Thread(target=take_lock, args=(study,))
        waiting.start()
        take_lock(other)
        waiting.join(0.5)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_settings_own_error_is_noted_and_its_point_counts_as_tried(tmp_path):
    study, error = Study(make_task(tmp_path, {EPOCHS: Range(1, 4, False, True)})), "nan" + "!" * 9000
    first = try_one(study, fail_with(FloatingPointError(error)))
    second = try_one(study, lambda attempt: float("nan"))
    assert first.user_attrs["error"] == f"FloatingPointError: {error}"[:2000]
    assert (second.value, second.user_attrs["error"]) == (None, "FloatingPointError: the objective is nan")
    study.queue(first.params, study.list_trials())
    study.recover()
    assert (len(filter_tried(study.list_trials())), study.count_asked(), study.is_done()) == (2, 4, False)
    assert sorted(point[EPOCHS] for point in try_out(study, 4)) == [1, 2, 3, 4]
    assert (states_of(study), study.is_done()) == ("FAIL FAIL COMPLETE COMPLETE", True)


@pytest.mark.parametrize(
    "trouble", [StoreError("away"), WriteError("away"), MemoryError("away"), KeyboardInterrupt()]
)
def test_what_is_not_the_settings_fault_is_raised_and_tried_again_first_however_often(trouble, tmp_path):
    study, times = Study(make_task(tmp_path, trials=2)), RETRIES + 2
    for _ in range(times):
        kind = KeyboardInterrupt if isinstance(trouble, KeyboardInterrupt) else StoreError
        with pytest.raises(kind, match="^away$" if kind is StoreError else None):
            try_one(study, fail_with(trouble))
        study.recover()
    assert states_of(study) == "FAIL " * times + "WAITING"
    assert filter_tried(study.list_trials()) == []
    *repeated, other = try_out(study, 2)
    assert states_of(study) == "FAIL " * times + "COMPLETE COMPLETE"
    assert repeated == [repeated[0]] * (times + 1) != [other] * (times + 1)
    assert not any("error" in trial.user_attrs for trial in study.list_trials())
    assert study.list_trials()[times].user_attrs == {"worker": study.worker}


def test_a_trial_given_up_meanwhile_stays_failed_is_repeated_and_its_worker_goes_on(tmp_path):
    study = Study(make_task(tmp_path, trials=1))

    def given_up(attempt):
        assert not study.is_done()
        study._study.tell(attempt.number, state=TrialState.FAIL)
        if attempt.number:  # another worker sees to it, and this one notices before the end
            study.recover()
            attempt.report(0.5, 1)
        return 0.5

    for _ in range(2):
        lost = try_one(study, given_up)
        assert (lost.state.name, lost.value, "error" in lost.user_attrs) == ("FAIL", None, False)
        study.recover()
    assert try_out(study, 2) == [lost.params] * 3
    assert states_of(study) == "FAIL FAIL COMPLETE"


def test_the_trial_of_a_killed_worker_is_given_up_after_the_grace_period_and_repeated(tmp_path):
    body = """
def objective(attempt):
    attempt.set_user_attr("run_id", "lost")
    time.sleep(0.5)  # its heart has beaten
    say_and_wait()
Study(task).attempt(objective, lambda trials: {})
"""
    study = Study(task := make_task(tmp_path, trials=1))
    with start(task, body) as worker:
        worker.kill()
    killed = time.monotonic()
    assert try_one(study) is None
    while states_of(study) == "RUNNING":
        assert time.monotonic() < killed + 5 * GRACE
        time.sleep(0.2)
        study.recover()
    assert time.monotonic() > killed + GRACE - 2
    study.recover()
    assert states_of(study) == "FAIL WAITING"
    again, lost = try_one(study), study.list_trials()[0]
    assert (again.state.name, again.params, study.is_done()) == ("COMPLETE", lost.params, True)
    assert (lost.user_attrs["run_id"], again.user_attrs) == ("lost", {"worker": study.worker})


def test_a_trial_killed_before_its_worker_was_noted_is_put_back_at_once_but_not_for_ever(tmp_path):
    study, point = Study(make_task(tmp_path)), {WEIGHT: 0.5, COUNT: 30}
    study.queue(point, study.list_trials())
    for times in range(1, RETRIES + 2):
        with pytest.warns(UserWarning, match="Heartbeat"):
            study._study.ask()
        study.recover()
        assert states_of(study).split() == ["FAIL"] * times + ["WAITING"] * (times <= RETRIES)
    assert [trial.params for trial in study.list_trials()] == [point] * (RETRIES + 1)
    assert filter_tried(study.list_trials()) == study.list_trials()[-1:]


@pytest.mark.parametrize("kind", ["percentile", "median", "hyperband", "none"])
def test_a_hopeless_trial_is_pruned_after_half_of_the_training_and_a_late_bloomer_is_not(kind, tmp_path):
    rising, hopeless = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01]
    curves = [*[rising] * 5, hopeless, [0.0, 0.0, 0.0, *rising[3:]], rising]

    def objective(attempt):
        for epoch, value in enumerate(curves[attempt.number], start=1):
            attempt.report(value, epoch)
            if attempt.should_prune():
                raise Stopped(f"pruned at epoch {epoch}")
        return value

    study = Study(make_task(tmp_path, pruner=kind, trials=8))
    found = [(trial.state.name, trial.value) for trial in (try_one(study, objective) for _ in curves)]
    assert found.pop(5) == (("COMPLETE", 0.01) if kind == "none" else ("PRUNED", 0.04))  # its last score
    assert (found, study.is_done()) == ([("COMPLETE", 0.7)] * 7, True)
    assert all(trial.user_attrs == {"worker": study.worker} for trial in study.list_trials())


def test_no_setting_of_the_built_in_study_that_ends_in_the_best_quarter_is_pruned_by_default():
    """The curves are H at epochs 3 to 15, measured by a sweep: config=numbers, 40 trials, no pruner.

    The data was that of version 0.1.0, whose validation rows shared images with training rows.
    """
    curves = [tried["H"] for tried in json.loads(CURVES.read_text())]
    quarter = sorted((max(curve) for curve in curves), reverse=True)[len(curves) // 4 - 1]
    pruner, pruned = make_pruner(SweepConfig().pruner, (3, 6, 9, 12, 15)), []
    for order in range(5):  # each as if its GAN had to be trained for it, in several orders
        random.Random(order).shuffle(curves)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        for curve in curves:
            trial = study.ask()
            for epoch, value in zip((3, 6, 9, 12), curve, strict=False):
                trial.report(value, epoch)
                if trial.should_prune():
                    pruned.append(max(curve))
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, max(curve))
    assert 0 < len(pruned) < 5 * len(curves) / 2
    assert max(pruned) < quarter


@pytest.mark.parametrize("case", f"{SHARED}; {NOT_SHARED}".split("; "))
def test_three_settings_share_a_gan_unless_the_first_was_pruned_or_it_is_in_training(case, tmp_path):
    kept, *states = case.split()
    for epoch in {"elsewhere": [], "half": [6], "whole": [6, 7]}[kept]:
        (tmp_path / "gan" / "hash").mkdir(parents=True, exist_ok=True)
        (tmp_path / "gan" / "hash" / f"generator-{epoch:04d}.safetensors").touch()
    trials = [make_trial(number, state, gan="hash") for number, state in enumerate(states, start=1)]
    trials = [make_trial(0, "PRUNED", point={WEIGHT: 2.0, COUNT: 25}, gan="hash"), *trials]
    shared = choose_gan(make_task(tmp_path, trials_per_gan=3), trials)
    assert shared == ({WEIGHT: 0.5} if case in SHARED.split("; ") else {})


def test_after_two_thousand_trials_a_setting_is_still_chosen_at_once(tmp_path):
    task, drawn, trials = make_task(tmp_path), random.Random(0), []
    study = Study(task)
    for number in range(2000):
        weight = trials[-1].params[WEIGHT] if number % 4 else 10 ** drawn.uniform(-3, 1)
        point = {WEIGHT: weight, COUNT: drawn.randint(25, 800)}
        trials.append(make_trial(number, value=drawn.random(), point=point, gan=f"{number // 4}"))
        trials[-1].distributions = study._entries
    began = time.process_time()
    assert choose_gan(task, trials) == {}
    chosen = time.process_time()
    study._propose(trials, {})
    assert chosen - began < 0.1, "settings are compared with all GANs, also with those that are full"
    assert time.process_time() - chosen < 0.5


def test_no_gan_is_shared_where_settings_differ_in_nothing_else_or_all_were_tried(tmp_path):
    (tmp_path / "gan" / "hash").mkdir(parents=True)
    weight, trials = {WEIGHT: SPACE[WEIGHT]}, [make_trial(number, gan="hash") for number in (0, 1)]
    for space in (weight, {COUNT: SPACE[COUNT]}, {**weight, COUNT: Choices((40, 41))}):
        assert choose_gan(make_task(tmp_path, space), trials) == {}
    assert choose_gan(make_task(tmp_path, {**weight, COUNT: Choices((40, 41, 42))}), trials) == {WEIGHT: 0.5}


def test_a_database_that_is_away_is_waited_for_but_not_for_ever():
    troubles = [sqlalchemy.exc.OperationalError("", {}, ValueError("")) for _ in range(2)]

    def call():
        if troubles:
            raise troubles.pop() from ValueError("gone\nfor good")
        return "here"

    with pytest.raises(StoreError, match=r"^the database of the study is away: gone$"):
        repeat_while_away(call, seconds=0)
    assert repeat_while_away(call, seconds=5) == "here"


def test_who_waits_for_a_lock_has_lost_no_patience_when_the_database_goes_away(monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr("cwgan.search.study.time", clock)
    troubles = [sqlalchemy.exc.OperationalError("", {}, ValueError("restarted"))]

    def wait_for_lock():
        now[0] += 100
        if troubles:
            raise troubles.pop()
        return "held"

    assert repeat_while_away(wait_for_lock, seconds=2) == "held"


def test_a_database_that_cannot_be_used_is_refused_in_one_line_without_a_password(tmp_path):
    plain = "allowed: PostgreSQL, as postgresql+psycopg://user@host/name, or a file, as sqlite:///optuna.db"
    refused = {
        "nonsense": "no URL; allowed: an SQLAlchemy URL, as postgresql+psycopg://user@host/name",
        "://": "no URL; allowed: an SQLAlchemy URL",
        "postgresql://me:secret@host:port/x": "no URL; allowed: an SQLAlchemy URL",
        "postgresql://me:secret@host/x": "a password; allowed: a URL without one, as runs show it",
        "postgresql://me@host/x?password=secret": "a password; allowed: a URL without one",
        "mysql://me@127.0.0.1:1/x": f"mysql://me@127.0.0.1:1/x; {plain}",
        "sqlite://": f"sqlite://; {plain}",
        "postgresql+psycopg://127.0.0.1:1/x": "postgresql+psycopg://127.0.0.1:1/x; allowed: a database that",
        f"sqlite:///{tmp_path}": f"sqlite:///{tmp_path}; allowed: a database that answers (",
    }
    for url, found in refused.items():
        with pytest.raises(InputError) as refusal:
            Study(replace(make_task(tmp_path), storage=url), patience=0)
        said = str(refusal.value)
        assert said.startswith(f"configuration: sweep.storage: found {found}")
        assert "\n" not in said and "secret" not in said
