"""The study, on a real database: what is proposed, and what becomes of broken, stopped and lost trials."""

import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy
from optuna.trial import TrialState
from test_report import COUNT, SPACE, WEIGHT, make_task, make_trial

from cwgan.errors import InputError, Stopped, StoreError
from cwgan.search.space import Choices, Range, list_points, take_gan_part
from cwgan.search.study import GRACE, RANDOM_GANS, RETRIES, Study, filter_state, repeat_while_away
from cwgan.search.worker import choose_gan

EPOCHS, OUTPUT = "gan.epochs", "gan.output"
PROCESS = """
import pickle, sys, time
from cwgan.search.study import Study
task = pickle.loads(bytes.fromhex(sys.argv[1]))
def say_and_wait():
    print("ready", flush=True)
    input()
"""


def start(task, body):
    """Run a program that can join a study, and wait until it is ready; it ends when its input does."""
    command = [sys.executable, "-c", PROCESS + body, pickle.dumps(task).hex()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def rate_weight(attempt):
    """An objective that knows its best."""
    return -abs(attempt.params[WEIGHT] - 1)


def try_one(study, objective=lambda attempt: 0.5, **fixed):
    return study.attempt(objective, lambda trials: fixed)


def try_out(study, times, objective=lambda attempt: 0.5, fixed=None):
    """Try so many settings; return the points of all trials of the study."""
    for _ in range(times):
        study.attempt(objective, lambda trials: fixed or {})
    return [trial.params for trial in study.list_trials()]


def fail_with(error):
    def objective(attempt):
        attempt.set_user_attr("run_id", "lost")
        raise error

    return objective


def states_of(study):
    return " ".join(trial.state.name for trial in study.list_trials())


def test_every_trial_lies_in_the_space_and_is_told_with_its_value_curve_and_notes(tmp_path):
    study, other = Study(make_task(tmp_path)), Study(make_task(tmp_path, name="other"))

    def objective(attempt):
        assert [trial.number for trial in filter_state(study.list_trials(), "RUNNING")] == [attempt.number]
        attempt.set_user_attr("gamma", 0.5)
        for epoch in (1, 2):
            attempt.report(epoch / 10, epoch)
        assert study.recover() == []  # nobody gives up the trial of a living worker
        return attempt.number / 10

    told = [try_one(study, objective) for _ in range(2)]
    assert told == study.list_trials()
    assert other.list_trials() == []
    for number, trial in enumerate(told):
        assert (trial.number, trial.state.name, trial.value) == (number, "COMPLETE", number / 10)
        assert 0.001 <= trial.params[WEIGHT] <= 10
        assert trial.params[COUNT] in range(25, 801)
        assert trial.user_attrs == {"worker": study.worker, "gamma": 0.5}
        assert trial.intermediate_values == {1: 0.1, 2: 0.2}


def test_the_queued_setting_comes_first_and_once_whatever_gan_is_kept_and_whoever_opens_the_study(tmp_path):
    preset = {WEIGHT: 0.0123, COUNT: 300}
    for times in (1, 2, 1):
        study = Study(make_task(tmp_path))
        study.queue(preset)
        study.queue(preset)
        first, *others = try_out(study, times, fixed={WEIGHT: 1.0})
    assert (first, [point[WEIGHT] for point in others]) == (preset, [1.0] * 3)
    assert states_of(study) == "COMPLETE COMPLETE COMPLETE COMPLETE"


def test_the_same_seed_and_results_give_the_same_proposals_and_another_seed_others(tmp_path):
    times, second = RANDOM_GANS + 2, make_task(tmp_path, name="second")
    first = try_out(Study(make_task(tmp_path, name="first")), times, rate_weight)
    try_out(Study(second), times - 2, rate_weight)
    assert try_out(Study(second), 2, rate_weight) == first
    other = try_out(Study(make_task(tmp_path, name="other", seed=1)), 2, rate_weight)
    assert len({str(point) for point in [*first, *other]}) == times + 2


@pytest.mark.parametrize(("space", "shared"), [(SPACE, 1), (SPACE, 3), ({COUNT: SPACE[COUNT]}, 1)])
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
def test_a_small_space_is_tried_point_by_point_until_it_or_the_number_is_exhausted(
    trials, expected, tmp_path
):
    space = {COUNT: Range(1, 3, False, True), OUTPUT: Choices(("relu", "linear"))}
    study, first, idle = Study(make_task(tmp_path, space, trials=trials)), {COUNT: 2, OUTPUT: "linear"}, []

    def objective(attempt):  # a trial that runs need not be begun again
        if attempt.number == expected - 1:
            idle.extend([study.is_done(), try_one(study)])
        return 0.5

    study.queue(first)
    while not study.is_done():
        points = try_out(study, 1, objective)
    assert (study.count_asked(), len(points), points[0], idle) == (expected, expected, first, [False, None])
    assert len([point for point in list_points(space) if point in points]) == expected
    assert try_one(study) is None


@pytest.mark.parametrize(
    ("weights", "counts"),
    [(Choices((0.1, 1.0)), Range(1, 3, False, True)), (SPACE[WEIGHT], Choices((100, 200, 300)))],
)
def test_with_a_kept_gan_the_rest_varies_until_nothing_is_left_and_no_point_comes_twice(
    weights, counts, tmp_path
):
    points = try_out(Study(make_task(tmp_path, {WEIGHT: weights, COUNT: counts})), 6, fixed={WEIGHT: 1.0})
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
    workers = {trial.user_attrs["worker"].rpartition(":")[2] for trial in trials}
    assert workers == {str(first.pid), str(second.pid)}


def test_the_lock_keeps_another_process_out_and_is_free_once_its_holder_is_killed(tmp_path):
    study, other = Study(make_task(tmp_path)), Study(make_task(tmp_path, name="other"))

    def enter():
        with study.lock():
            pass

    with start(make_task(tmp_path), "with Study(task).lock():\n    say_and_wait()") as holder:
        waiting = threading.Thread(target=enter)
        waiting.start()
        with other.lock():
            waiting.join(0.5)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_broken_objective_is_noted_and_the_next_trial_goes_on(tmp_path):
    study = Study(make_task(tmp_path))
    first = try_one(study, fail_with(FloatingPointError("the term critic is nan" + "!" * 9000)))
    second, third = try_one(study, lambda attempt: float("nan")), try_one(study)
    assert states_of(study) == "FAIL FAIL COMPLETE"
    assert first.user_attrs["error"] == ("FloatingPointError: the term critic is nan" + "!" * 9000)[:2000]
    assert (second.value, second.user_attrs["error"]) == (None, "FloatingPointError: the objective is nan")
    assert "error" not in third.user_attrs
    assert len({str(trial.params) for trial in (first, second, third)}) == 3


def test_a_settings_own_error_counts_out_a_point_of_a_finite_space(tmp_path):
    study = Study(make_task(tmp_path, {EPOCHS: Range(1, 3, False, True)}))
    study.queue({EPOCHS: 2})
    try_one(study, fail_with(FloatingPointError("two")))
    assert study.count_asked() == 2
    assert sorted(point[EPOCHS] for point in try_out(study, 3)) == [1, 2, 3]
    assert states_of(study) == "FAIL COMPLETE COMPLETE"


@pytest.mark.parametrize("trouble", [StoreError("away"), KeyboardInterrupt()])
def test_what_is_not_the_settings_fault_is_tried_again_first_however_often(trouble, tmp_path):
    study, times = Study(make_task(tmp_path, trials=2)), RETRIES + 2
    for _ in range(times):
        try:
            trial = try_one(study, fail_with(trouble))
            assert isinstance(trouble, StoreError)
            assert "error" not in trial.user_attrs
        except KeyboardInterrupt:
            assert isinstance(trouble, KeyboardInterrupt)
    assert states_of(study) == "FAIL " * times + "WAITING"
    *repeated, other = try_out(study, 2)
    assert states_of(study) == "FAIL " * times + "COMPLETE COMPLETE"
    assert repeated == [repeated[0]] * (times + 1) != [other] * (times + 1)
    assert study.list_trials()[times].user_attrs == {"worker": study.worker}


def test_a_stopped_trial_is_pruned_and_worth_its_last_score(tmp_path):
    def stopped(attempt):
        attempt.report(0.3, 1)
        attempt.report(0.2, 2)
        raise Stopped("others promise more")

    study = Study(make_task(tmp_path, trials=1))
    trial = try_one(study, stopped)
    assert (trial.state.name, trial.value, trial.intermediate_values) == ("PRUNED", 0.2, {1: 0.3, 2: 0.2})
    assert (trial.user_attrs, study.is_done()) == ({"worker": study.worker}, True)


@pytest.mark.parametrize("notices", [True, False])
def test_a_trial_given_up_meanwhile_stays_failed_is_repeated_and_its_worker_goes_on(notices, tmp_path):
    study = Study(make_task(tmp_path, trials=1))

    def given_up(attempt):
        study._study.tell(attempt.number, state=TrialState.FAIL)
        if notices:
            attempt.report(0.5, 1)
        return 0.5

    lost = try_one(study, given_up)
    assert (lost.state.name, lost.value, "error" in lost.user_attrs) == ("FAIL", None, False)
    assert try_out(study, 2) == [lost.params] * 2
    assert states_of(study) == "FAIL COMPLETE"


def test_the_trial_of_a_killed_worker_is_given_up_after_the_grace_period_and_repeated(tmp_path):
    body = """
def objective(attempt):
    attempt.set_user_attr("run_id", "lost")
    time.sleep(0.5)  # its heart has beaten
    say_and_wait()
Study(task).attempt(objective, lambda trials: {})
"""
    task = make_task(tmp_path, trials=1)
    study = Study(task)
    with start(task, body) as worker:
        worker.kill()
    killed = time.monotonic()
    assert study.recover() == []
    assert try_one(study) is None
    while not study.recover():
        assert time.monotonic() < killed + 5 * GRACE
        time.sleep(0.2)
    assert time.monotonic() > killed + GRACE - 2
    assert states_of(study) == "FAIL WAITING"
    assert [trial.number for trial in study.recover()] == [0]
    again, lost = try_one(study), study.list_trials()[0]
    assert (again.state.name, again.params, study.is_done()) == ("COMPLETE", lost.params, True)
    assert (lost.user_attrs["run_id"], again.user_attrs) == ("lost", {"worker": study.worker})


def test_a_trial_killed_before_its_worker_was_noted_is_put_back_at_once_but_not_for_ever(tmp_path):
    study, point = Study(make_task(tmp_path)), {WEIGHT: 0.5, COUNT: 30}
    study.queue(point)
    for times in range(1, RETRIES + 2):
        with pytest.warns(UserWarning, match="Heartbeat"):
            study._study.ask()
        assert [trial.number for trial in study.recover()] == list(range(times))
        assert states_of(study).split() == ["FAIL"] * times + ["WAITING"] * (times <= RETRIES)
    assert [trial.params for trial in study.list_trials()] == [point] * (RETRIES + 1)


@pytest.mark.parametrize("kind", ["median", "hyperband", "none"])
def test_a_hopeless_trial_is_pruned_after_half_of_the_training_and_a_late_bloomer_is_not(kind, tmp_path):
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    curves = [*[rising] * 5, [0.0] * 7, [0.0, 0.0, 0.0, *rising[3:]], rising]

    def objective(attempt):
        for epoch, value in enumerate(curves[attempt.number], start=1):
            attempt.report(value, epoch)
            if attempt.should_prune():
                raise Stopped(f"pruned at epoch {epoch}")
        return value

    study, whole = Study(make_task(tmp_path, pruner=kind)), ("COMPLETE", 7)
    found = [try_one(study, objective) for _ in curves]
    hopeless = whole if kind == "none" else ("PRUNED", 4)
    assert [(trial.state.name, len(trial.intermediate_values)) for trial in found] == [
        *[whole] * 5,
        hopeless,
        *[whole] * 2,
    ]


@pytest.mark.parametrize(
    ("states", "kept", "counts", "is_shared"),
    [
        ("", "whole", SPACE[COUNT], False),
        ("COMPLETE", "whole", SPACE[COUNT], True),
        ("COMPLETE PRUNED FAIL", "whole", SPACE[COUNT], True),
        ("COMPLETE COMPLETE RUNNING", "whole", SPACE[COUNT], False),
        ("COMPLETE WAITING PRUNED", "whole", SPACE[COUNT], False),
        ("COMPLETE COMPLETE", "whole", Choices((40, 41)), False),
        ("COMPLETE COMPLETE", "whole", Choices((40, 41, 42)), True),
        ("COMPLETE", "whole", None, False),
        ("FAIL", "whole", SPACE[COUNT], False),
        ("PRUNED COMPLETE", "whole", SPACE[COUNT], False),
        ("RUNNING", "whole", SPACE[COUNT], True),
        ("COMPLETE RUNNING", "half", SPACE[COUNT], False),
        ("COMPLETE", "half", SPACE[COUNT], True),
        ("COMPLETE", "on another machine", SPACE[COUNT], False),
    ],
)
def test_a_gan_is_shared_unless_its_first_setting_was_pruned_or_it_is_in_training(
    states, kept, counts, is_shared, tmp_path
):
    if kept != "on another machine":
        (tmp_path / "gan" / "hash").mkdir(parents=True)
        (tmp_path / "gan" / "hash" / f"generator-000{7 if kept == 'whole' else 6}.safetensors").touch()
    gone = make_trial(9, "PRUNED", point={WEIGHT: 2.0, COUNT: 25}, gan="hash")
    trials = [gone, *(make_trial(number, state, gan="hash") for number, state in enumerate(states.split()))]
    space = {WEIGHT: SPACE[WEIGHT]} | ({COUNT: counts} if counts else {})
    shared = choose_gan(make_task(tmp_path, space, trials_per_gan=3), trials)
    assert shared == ({WEIGHT: 0.5} if is_shared else {})


def test_what_was_never_written_down_is_none_and_the_rest_comes_back_as_it_was(tmp_path):
    study, facts = Study(make_task(tmp_path)), {"seed": 0, "space": [1.5, "relu", True]}
    assert study.read_note("facts") is None
    study.note("facts", facts)
    assert Study(make_task(tmp_path)).read_note("facts") == facts


def test_a_database_that_is_away_is_waited_for_but_not_for_ever():
    troubles = [sqlalchemy.exc.OperationalError("", {}, ValueError("")) for _ in range(2)]

    def call():
        if troubles:
            raise troubles.pop() from ValueError("gone\nfor good")
        return "here"

    with pytest.raises(StoreError, match=r"^the database of the study is away: gone$"):
        repeat_while_away(call, seconds=0)
    assert repeat_while_away(call, seconds=5) == "here"


NO_URL, NO_PASSWORD = (
    "found no URL; allowed: an SQLAlchemy URL, as ",
    "found a password; allowed: a URL without",
)
OTHER, AWAY = (
    "allowed: PostgreSQL, as postgresql+psycopg://user@host/name, or a file",
    "allowed: a database that",
)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", NO_URL),
        ("://", NO_URL),
        ("postgresql://me:secret@host:port/name", NO_URL),
        ("postgresql://me:secret@host/name", NO_PASSWORD),
        ("postgresql://me@host/name?password=secret", NO_PASSWORD),
        ("mysql://me@127.0.0.1:1/optuna", f"found mysql://me@127.0.0.1:1/optuna; {OTHER}"),
        ("sqlite://", f"found sqlite://; {OTHER}"),
        (
            "postgresql+psycopg://me@127.0.0.1:1/name",
            f"found postgresql+psycopg://me@127.0.0.1:1/name; {AWAY}",
        ),
        ("sqlite:///{folder}", AWAY),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_in_one_line_without_a_password(url, said, tmp_path):
    with pytest.raises(InputError) as refusal:
        Study(replace(make_task(tmp_path), storage=url.format(folder=tmp_path)), patience=0)
    found = str(refusal.value)
    assert found.startswith("configuration: sweep.storage: found ")
    assert said in found
    assert "\n" not in found
    assert "secret" not in found
