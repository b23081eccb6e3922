"""The study, on a real database: what is proposed, what becomes of broken, stopped and killed trials, and who leads."""

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cwgan.config import SweepConfig
from cwgan.errors import InputError, Stopped, StoreError
from cwgan.search.space import Choices, Point, Range, Space, all_points
from cwgan.search.study import GRACE, RANDOM_TRIALS, Attempt, Search
from cwgan.search.trials import Trial, best_of, in_state

WEIGHT, COUNT = "gan.cycle_weight", "generate.counts"
SPACE: Space = {WEIGHT: Range(0.001, 10, True, False), COUNT: Range(25, 800, True, True)}
SMALL: Space = {COUNT: Range(1, 3, False, True), "gan.output": Choices(("relu", "linear"))}
Open = Callable[..., Search]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('study') / 'optuna.db'}"


@pytest.fixture
def opened(url: str, request: pytest.FixtureRequest) -> Open:
    """Open this test's study, or one of another name, in the module's database."""

    def open_study(
        space: Space = SPACE,
        suffix: str = "",
        seed: int = 0,
        epochs: tuple[int, ...] = (1, 2, 3),
        **options: Any,
    ) -> Search:
        given = SweepConfig(**{"heartbeat": 1, "pruner": "none", **options})
        return Search(f"{request.node.name}{suffix}", url, given, space, epochs, seed, is_known=False)

    return open_study


def of_weight(attempt: Attempt) -> float:
    """An objective that knows its best."""
    return -abs(float(attempt.point[WEIGHT]) - 1)


def tried(
    search: Search, times: int, objective: Callable[[Attempt], float] = of_weight, fixed: Point | None = None
) -> list[Trial]:
    for _ in range(times):
        search.attempt(objective, fixed or {})
    return search.trials()


def points(trials: list[Trial]) -> list[Point]:
    return [trial.point for trial in trials]


def constant(attempt: Attempt) -> float:
    return 0.5


# What is proposed


def test_every_asked_trial_lies_in_the_space_and_is_told_with_its_value_curve_and_notes(opened: Open) -> None:
    search = opened()

    def objective(attempt: Attempt) -> float:
        assert [trial.number for trial in in_state(search.trials(), "RUNNING")] == [attempt.number]
        attempt.note(run_id=f"run {attempt.number}", gamma=0.5)
        for epoch in (1, 2):
            attempt.report(epoch / 10, epoch, is_last=epoch == 2)
        return attempt.number / 10

    began = time.time()
    trials = tried(search, 2, objective)
    assert [(trial.number, trial.state, trial.value) for trial in trials] == [
        (0, "COMPLETE", 0),
        (1, "COMPLETE", 0.1),
    ]
    for trial in trials:
        assert 0.001 <= trial.point[WEIGHT] <= 10
        assert trial.point[COUNT] in range(25, 801)
        assert trial.notes == {"worker": search.identity, "run_id": f"run {trial.number}", "gamma": 0.5}
        assert trial.curve == {1: 0.1, 2: 0.2}
        assert began - 1 < trial.began <= trial.ended < time.time() + 1


def test_the_queued_setting_comes_first_and_only_once_also_after_the_study_was_opened_again(
    opened: Open,
) -> None:
    default = {WEIGHT: 0.0123, COUNT: 300}
    search = opened()
    assert search.is_new
    search.queue(default)
    search.queue(default)
    tried(search, 2)
    again = opened()
    assert not again.is_new
    again.queue(default)
    found = points(tried(again, 1))
    assert found[0] == default
    assert default not in found[1:]
    assert in_state(again.trials(), "WAITING") == []


def test_the_same_seed_and_results_give_the_same_proposals_in_whatever_process_and_another_seed_others(
    opened: Open,
) -> None:
    times = RANDOM_TRIALS + 2
    first = points(tried(opened(suffix=" first"), times))
    tried(opened(suffix=" second"), times - 2)
    second = points(tried(opened(suffix=" second"), 2))
    other = points(tried(opened(suffix=" other", seed=1), 2))
    assert first == second
    assert len({tuple(point.values()) for point in [*first, *other]}) == times + 2


def test_other_results_give_other_proposals_once_the_sampler_has_learnt(opened: Open) -> None:
    times = RANDOM_TRIALS + 2
    low = points(tried(opened(suffix=" low"), times, lambda attempt: -float(attempt.point[WEIGHT])))
    high = points(tried(opened(suffix=" high"), times, lambda attempt: float(attempt.point[WEIGHT])))
    assert low[:RANDOM_TRIALS] == high[:RANDOM_TRIALS]
    assert low[RANDOM_TRIALS:] != high[RANDOM_TRIALS:]


def test_a_small_space_is_tried_point_by_point_until_it_is_exhausted(opened: Open) -> None:
    search = opened(SMALL, trials=20)
    assert search.asked() == 6
    search.queue({COUNT: 2, "gan.output": "linear"})
    while not search.is_done():
        assert search.is_short_of_trials()
        tried(search, 1, constant)
    found = points(search.trials())
    assert found[0] == {COUNT: 2, "gan.output": "linear"}
    assert sorted(found, key=str) == sorted(all_points(SMALL), key=str)
    assert not search.is_short_of_trials()


def test_fewer_trials_than_points_are_enough_where_fewer_were_asked_for(opened: Open) -> None:
    search = opened(SMALL, trials=2)
    assert search.asked() == 2
    tried(search, 2, constant)
    assert search.is_done()


def test_a_running_trial_counts_as_one_that_need_not_be_begun(opened: Open) -> None:
    search = opened(trials=1)
    seen: list[bool] = []

    def objective(attempt: Attempt) -> float:
        seen.extend([search.is_short_of_trials(), search.is_done()])
        return 0.0

    tried(search, 1, objective)
    assert seen == [False, False]
    assert search.is_done()


def test_parameters_of_a_kept_gan_stay_while_the_others_vary_and_no_point_comes_twice(opened: Open) -> None:
    space = {WEIGHT: Choices((0.1, 1.0)), COUNT: Range(1, 3, False, True)}
    search = opened(space)
    found = points(tried(search, 3, constant, fixed={WEIGHT: 1.0}))
    assert sorted(point[COUNT] for point in found) == [1, 2, 3]
    assert {point[WEIGHT] for point in found} == {1.0}
    found = points(tried(search, 3, constant, fixed={WEIGHT: 1.0}))
    assert sorted(found, key=str) == sorted(all_points(space), key=str), (
        "with nothing left there it goes elsewhere"
    )


def test_with_no_setting_left_for_a_kept_gan_a_real_number_is_drawn_anew(opened: Open) -> None:
    space = {WEIGHT: SPACE[WEIGHT], COUNT: Choices((100, 200))}
    found = points(tried(opened(space), 3, constant, fixed={WEIGHT: 0.5}))
    assert sorted(point[COUNT] for point in found[:2]) == [100, 200]
    assert [point[WEIGHT] for point in found[:2]] == [0.5, 0.5]
    assert found[2][WEIGHT] != 0.5


def test_a_broken_point_of_a_small_space_is_not_made_up_for_by_a_repeated_one(opened: Open) -> None:
    search = opened({"gan.epochs": Range(1, 3, log=False, is_whole=True)})

    def objective(attempt: Attempt) -> float:
        if attempt.point["gan.epochs"] == 2:
            raise FloatingPointError("two")
        return 0.5

    while not search.is_done():
        search.attempt(objective, {})
    assert sorted(trial.point["gan.epochs"] for trial in search.trials()) == [1, 2, 3]


def test_what_waits_in_the_queue_is_tried_as_it_is_whatever_gan_is_kept(opened: Open) -> None:
    search = opened()
    search.queue({WEIGHT: 0.25, COUNT: 40})
    assert points(tried(search, 1, fixed={WEIGHT: 1.0})) == [{WEIGHT: 0.25, COUNT: 40}]
    assert points(tried(search, 1, fixed={WEIGHT: 1.0}))[1][WEIGHT] == 1.0


# What becomes of trials that do not end well


def test_a_broken_objective_is_noted_and_the_next_trial_goes_on(opened: Open) -> None:
    search = opened()

    def broken(attempt: Attempt) -> float:
        raise FloatingPointError("the term critic is nan" + "!" * 9000)

    tried(search, 1, broken)
    first, second = tried(search, 1)
    assert (first.state, first.value, second.state) == ("FAIL", None, "COMPLETE")
    assert first.notes["error"].startswith("FloatingPointError: the term critic is nan!")
    assert len(first.notes["error"]) == 2000
    assert first.point != second.point
    assert "error" not in second.notes


def test_an_objective_that_is_no_number_fails_its_trial(opened: Open) -> None:
    (trial,) = tried(opened(), 1, lambda attempt: float("nan"))
    assert (trial.state, trial.value, trial.notes["error"]) == (
        "FAIL",
        None,
        "FloatingPointError: the objective is nan",
    )


def test_what_is_not_the_settings_fault_is_tried_again_and_not_called_broken(opened: Open) -> None:
    search, troubles = opened(), iter([StoreError("MLflow is away")])

    def objective(attempt: Attempt) -> float:
        for trouble in troubles:
            raise trouble
        return 0.5

    first, second = tried(search, 2, objective)
    assert (first.state, second.state, second.point) == ("FAIL", "COMPLETE", first.point)
    assert "error" not in first.notes


def test_a_stopped_trial_is_pruned_and_worth_its_last_score(opened: Open) -> None:
    def stopped(attempt: Attempt) -> float:
        attempt.report(0.3, 1, is_last=False)
        attempt.report(0.2, 2, is_last=False)
        raise Stopped("others promise more")

    (trial,) = tried(opened(), 1, stopped)
    assert (trial.state, trial.value, trial.curve) == ("PRUNED", 0.2, {1: 0.3, 2: 0.2})
    assert best_of([trial]) is None
    assert "error" not in trial.notes


def test_an_interrupted_trial_goes_back_into_the_queue_and_comes_again_first_however_often(
    opened: Open,
) -> None:
    search = opened(trials=2)

    def interrupted(attempt: Attempt) -> float:
        attempt.note(run_id=f"run {attempt.number}")
        raise KeyboardInterrupt

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            tried(search, 1, interrupted)
    assert [trial.state for trial in search.trials()] == ["FAIL"] * 5 + ["WAITING"]
    assert search.is_short_of_trials()
    trials = tried(search, 2)
    assert [trial.state for trial in trials[5:]] == ["COMPLETE", "COMPLETE"]
    assert len({tuple(trial.point.values()) for trial in trials[:6]}) == 1
    assert trials[6].point != trials[5].point
    assert not any("error" in trial.notes for trial in trials)


def test_a_trial_that_was_given_up_meanwhile_stays_failed_and_its_worker_goes_on(opened: Open) -> None:
    search = opened()

    def given_up(attempt: Attempt) -> float:
        search.study.tell(attempt.number, state=search.study.trials[attempt.number].state.FAIL)
        attempt.report(0.5, 1, is_last=False)
        return 0.5

    first, second = tried(search, 1, given_up)[0], tried(search, 1)[1]
    assert (first.state, first.value, second.state) == ("FAIL", None, "COMPLETE")

    def unnoticed(attempt: Attempt) -> float:
        search.study.tell(attempt.number, state=search.study.trials[attempt.number].state.FAIL)
        return 0.5

    assert tried(search, 1, unnoticed)[2].state == "FAIL"


WORKER = """
import sys, time
from cwgan.config import SweepConfig
from cwgan.search.study import Search
from cwgan.search.space import Range
def objective(attempt):
    attempt.note(worker=search.identity, run_id="lost")
    attempt.report(0.5, 1, is_last=False)
    print(attempt.number, flush=True)
    time.sleep(600)
space = {"gan.cycle_weight": Range(0.001, 10, True, False), "generate.counts": Range(25, 800, True, True)}
search = Search(sys.argv[1], sys.argv[2], SweepConfig(heartbeat=1, pruner="none"), space, (1, 2, 3), 0, False)
search.attempt(objective, {})
"""


def test_the_trial_of_a_killed_worker_is_given_up_after_the_grace_period_and_repeated(
    opened: Open, url: str
) -> None:
    search, asked_only = opened(trials=1), opened(suffix=" asked only")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, search.name, url], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "0\n"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    asked_only.queue({WEIGHT: 0.5, COUNT: 30})
    with pytest.warns(UserWarning, match="Heartbeat"):
        asked_only.study.ask()  # as a worker killed before its first heartbeat leaves it
    killed = time.monotonic()
    assert search.recover() == asked_only.recover() == []
    assert not search.is_short_of_trials()
    while not (search.recover() and asked_only.recover()):
        assert time.monotonic() < killed + 5 * GRACE
        time.sleep(0.2)
    assert time.monotonic() > killed + GRACE - 2
    assert [trial.state for trial in search.trials()] == ["FAIL", "WAITING"]
    assert [trial.number for trial in search.recover()] == [0]
    assert search.is_short_of_trials()
    lost, again = tried(search, 1)
    assert lost.notes["run_id"] == "lost"
    assert (again.state, again.point) == ("COMPLETE", lost.point)
    assert search.is_done()
    assert [trial.state for trial in asked_only.trials()] == ["FAIL", "WAITING"]
    assert points(tried(asked_only, 1))[1] == {WEIGHT: 0.5, COUNT: 30}


def test_a_living_workers_trial_is_not_given_up(opened: Open) -> None:
    search = opened()

    def slow(attempt: Attempt) -> float:
        attempt.note(worker=search.identity)
        time.sleep(0.5)
        assert search.recover() == []
        return 0.5

    assert [trial.state for trial in tried(search, 1, slow)] == ["COMPLETE"]


# Giving up what promises little


def following(curves: list[list[float]]) -> Callable[[Attempt], float]:
    """An objective that reports a curve by the trial's number, and is worth its last value."""

    def objective(attempt: Attempt) -> float:
        curve = curves[attempt.number]
        for epoch, value in enumerate(curve, start=1):
            attempt.report(value, epoch, is_last=epoch == len(curve))
        return curve[-1]

    return objective


def test_the_median_prunes_a_hopeless_trial_after_a_third_of_the_epochs_and_no_good_one(opened: Open) -> None:
    search = opened(pruner="median", epochs=(1, 2, 3, 4, 5, 6))
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    curves = [*[rising] * 5, [0.0] * 6, rising]
    trials = tried(search, len(curves), following(curves))
    assert [trial.state for trial in trials] == ["COMPLETE"] * 5 + ["PRUNED", "COMPLETE"]
    assert list(trials[5].curve) == [1, 2]


def test_hyperband_prunes_hopeless_trials_and_keeps_the_best(opened: Open) -> None:
    search = opened(pruner="hyperband", epochs=(1, 2, 3, 4))
    trials = tried(search, 8, following([[1 - 0.05 * number] * 4 for number in range(8)]))
    pruned = in_state(trials, "PRUNED")
    assert pruned
    assert all(len(trial.curve) < 4 for trial in pruned)
    assert trials[0].state == "COMPLETE"


def test_without_a_pruner_every_trial_is_tried_to_its_end(opened: Open) -> None:
    trials = tried(opened(pruner="none"), 6, following([[1.0] * 3] * 5 + [[0.0] * 3]))
    assert {trial.state for trial in trials} == {"COMPLETE"}


def test_a_trial_at_its_last_epoch_is_never_pruned(opened: Open) -> None:
    search = opened(pruner="median", epochs=(3,))
    trials = tried(search, 6, following([[1.0]] * 5 + [[0.0]]))
    assert {trial.state for trial in trials} == {"COMPLETE"}


# What matters


def test_importances_need_a_few_different_results_and_more_than_one_parameter(opened: Open) -> None:
    search = opened()
    tried(search, 3)
    assert search.importances() == {}
    tried(search, 2)
    shares = search.importances()
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[WEIGHT] > shares[COUNT]
    equal = opened(suffix=" equal")
    tried(equal, 4, constant)
    assert equal.importances() == {}
    single = opened({WEIGHT: SPACE[WEIGHT]}, suffix=" single")
    tried(single, 4)
    assert single.importances() == {}


# Who leads


ANOTHER = """
import sys
from cwgan.config import SweepConfig
from cwgan.search.study import Search
from cwgan.search.space import Range
search = Search(sys.argv[1], sys.argv[2], SweepConfig(heartbeat=1), {"gan.cycle_weight": Range(0, 1, False, False)}, (1,), 0, False)
for line in sys.stdin:
    print(search.lead(), flush=True)
"""


def test_the_lead_is_one_commands_until_it_leaves_or_is_gone(opened: Open, url: str) -> None:
    search = opened()
    another = subprocess.Popen(
        [sys.executable, "-c", ANOTHER, search.name, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert another.stdin is not None
    assert another.stdout is not None

    def has_lead() -> bool:
        print(file=another.stdin, flush=True)
        return another.stdout.readline() == "True\n"

    assert search.lead()
    assert search.lead()
    assert not has_lead()
    with search.leading():
        assert not has_lead()
        since = search.noted("leader")["at"]
        time.sleep(1.5)
        assert search.noted("leader")["at"] > since, "it is renewed with every heartbeat"
    assert has_lead()
    assert has_lead()
    assert not search.lead()
    another.kill()
    another.wait()
    assert search.lead(), "its process is gone"
    another.stdin.close()
    another.stdout.close()


@pytest.mark.parametrize(("age", "falls"), [(0.0, False), (GRACE - 2.0, False), (GRACE + 1.0, True)])
def test_the_lead_of_a_command_of_another_machine_falls_after_the_grace_period(
    age: float, falls: bool, opened: Open
) -> None:
    search = opened()
    search.note("leader", {"who": "elsewhere:1", "at": time.time() - age})
    assert search.lead() is falls
    assert (search.noted("leader")["who"] == search.identity) is falls


def test_the_lead_is_left_also_when_what_was_done_with_it_broke(opened: Open) -> None:
    search = opened()
    with pytest.raises(ValueError, match="broke"), search.leading():
        assert search.lead()
        raise ValueError("broke")
    assert search.noted("leader") == {}


def test_the_lead_that_another_command_took_meanwhile_is_not_left(opened: Open) -> None:
    search = opened()
    theirs = {"who": "elsewhere:1", "at": time.time()}
    with search.leading():
        search.note("leader", theirs)
    assert search.noted("leader") == theirs


def test_the_lead_of_a_study_whose_maker_was_killed_at_once_falls_to_the_next(opened: Open) -> None:
    assert opened().is_new
    again = opened()
    assert not again.is_new
    assert again.lead()


def test_what_was_never_written_down_is_none_and_the_rest_comes_back_as_it_was(opened: Open) -> None:
    search = opened()
    assert search.noted("facts") is None
    search.note("facts", {"seed": 0, "space": [1.5, "relu", True]})
    assert opened().noted("facts") == {"seed": 0, "space": [1.5, "relu", True]}


# Databases that cannot be used


@pytest.mark.parametrize("text", ["nonsense", "://", "optuna.db", "postgresql://me:secret@host:port/name"])
def test_a_url_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        InputError,
        match=r"sweep\.storage: found no URL; allowed: an SQLAlchemy URL, as postgresql\+psycopg://user@host/name",
    ):
        Search("study", text, SweepConfig(), SPACE, (1,), 0, is_known=False)


def test_a_database_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    for url in (
        "postgresql+psycopg://me@127.0.0.1:1/optuna",
        "mysql://me@127.0.0.1:1/optuna",
        f"sqlite:///{tmp_path / 'no' / 'such.db'}",
    ):
        with pytest.raises(InputError) as refusal:
            Search("study", url, SweepConfig(), SPACE, (1,), 0, is_known=False)
        assert str(refusal.value).startswith(
            f"configuration: sweep.storage: found {url}; allowed: a database that answers, PostgreSQL's as"
        )
        assert "\n" not in str(refusal.value)


def test_studies_of_one_database_do_not_mix(opened: Open) -> None:
    first, second = opened(suffix=" first"), opened(suffix=" second")
    tried(first, 2)
    second.queue({WEIGHT: 1.0, COUNT: 30})
    assert [trial.number for trial in tried(second, 1)] == [0]
    assert len(first.trials()) == 2
    assert list(itertools.chain(*points(second.trials()))) == [WEIGHT, COUNT]
