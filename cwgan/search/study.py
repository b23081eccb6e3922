"""The one wall between the project and Optuna: a study in a database, which any number of workers on any number of machines join.

Optuna's relational storage is the engine: it numbers trials, hears the heartbeats of workers, and puts the trial of one
that has fallen silent back into the queue.
"""

import copy
import functools
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from cwgan.config import SweepConfig
from cwgan.errors import InputError, Stopped, StoreError
from cwgan.search.leadership import Leadership
from cwgan.search.space import Choices, Point, Range, Space, Value, all_points, size
from cwgan.search.trials import FINISHED, Trial, in_state

RANDOM_TRIALS = 8
"""So many settings are drawn at random before the sampler learns from results."""

GRACE = 6
"""A worker is given up when it has been silent for so many heartbeats."""

RETRIES = 3
"""A trial whose worker vanished is repeated so often."""

PATIENCE = 300.0
"""Seconds that a lost database is waited for."""

STORE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)


Given = ParamSpec("Given")
Result = TypeVar("Result")


def patient(call: Callable[Given, Result]) -> Callable[Given, Result]:
    """Have a call repeated for as long as `PATIENCE` while the database is away; for calls that may be made twice."""

    @functools.wraps(call)
    def repeated(*arguments: Given.args, **options: Given.kwargs) -> Result:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return call(*arguments, **options)
            except STORE_ERRORS as error:
                if time.monotonic() > until:
                    raise StoreError(
                        f"the database of the study is away: {str(error).splitlines()[0]}"
                    ) from error
                time.sleep(1)

    return repeated


@dataclass
class Attempt:
    """A trial under way: its number, its setting, the process that tries it, and where its curve and notes go."""

    number: int
    point: Point
    worker: str
    _trial: optuna.Trial

    @patient
    def note(self, **notes: str | float) -> None:
        """Write something down beside the trial."""
        for name, value in notes.items():
            self._trial.set_user_attr(name, value)

    @patient
    def report(self, value: float, epoch: int, is_last: bool) -> None:
        """Record the objective at a scored epoch.

        Raises:
            Stopped: other trials promise more.
        """
        self._trial.report(value, epoch)
        if not is_last and self._trial.should_prune():
            raise Stopped(f"pruned at epoch {epoch}")


class Search:
    """A study, opened or made.

    Args:
        name: of the study.
        url: SQLAlchemy's, of the database.
        options: of the search.
        space: what is searched.
        epochs: the scored ones, which the pruner counts in.
        seed: of the sampler; together with a trial's number it fixes what is proposed after the same results.
        is_known: whether the database has been reached before, so that it is waited for.

    Raises:
        InputError: a URL that is none, or a database that cannot be reached.
    """

    def __init__(
        self,
        name: str,
        url: str,
        options: SweepConfig,
        space: Space,
        epochs: Sequence[int],
        seed: int,
        is_known: bool,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name, self.options, self.seed = name, options, seed
        self.plain_space = space
        self.space = {key: _distribution(entry) for key, entry in space.items()}
        storage = _storage(url, options.heartbeat, PATIENCE if is_known else 0)
        self.study, self.is_new = _study(storage, name, _pruner(options.pruner, epochs))
        self._unclaimed: dict[int, float] = {}
        self.leadership = Leadership(
            self.noted, self.note, self.is_new, options.heartbeat, GRACE * options.heartbeat
        )
        self.identity = self.leadership.identity

    @patient
    def note(self, key: str, value: Any) -> None:
        """Write something down beside the study."""
        self.study.set_user_attr(key, value)

    @patient
    def noted(self, key: str) -> Any:
        """Return what was written down, or None."""
        return self.study.user_attrs.get(key)

    @patient
    def queue(self, point: Point) -> None:
        """Have a setting tried before those of the sampler."""
        self.study.enqueue_trial(dict(point), skip_if_exists=True)

    @patient
    def trials(self) -> list[Trial]:
        """Return all trials so far."""
        return [_plain(trial) for trial in self.study.get_trials(deepcopy=False)]

    def asked(self) -> int | float:
        """Return how many trials are to be finished: those asked for, or as many as the space has points that do not break."""
        return self._asked(self.trials())

    def _asked(self, trials: Sequence[Trial]) -> int | float:
        broken = {_key(trial.point) for trial in trials if "error" in trial.notes and trial.state == "FAIL"}
        return min(self.options.trials, size(self.plain_space) - len(broken))

    def is_short_of_trials(self) -> bool:
        """Whether the trials that are finished or running are fewer than those asked for."""
        trials = self.trials()
        return len(in_state(trials, *FINISHED, "RUNNING")) < self._asked(trials)

    def is_done(self) -> bool:
        trials = self.trials()
        return len(in_state(trials, *FINISHED)) >= self._asked(trials)

    def attempt(self, objective: Callable[[Attempt], float], fixed: Mapping[str, Value]) -> None:
        """Try one setting: one that waits in the queue, or the sampler's next.

        An error of the objective is noted and fails the trial. A trial that ended through no fault of its setting, as by
        an interruption, goes back into the queue.

        Args:
            objective: returns the trial's value; raises a `StoreError` for what is not the setting's fault.
            fixed: parameters that a new setting takes over.
        """
        under_way: list[optuna.Trial] = []
        values: list[float] = []

        def run(trial: optuna.Trial) -> float:
            under_way.append(trial)
            trial.set_user_attr("worker", self.identity)
            point = {name: _suggested(trial, name, distribution) for name, distribution in self.space.items()}
            try:
                value = objective(Attempt(trial.number, point, self.identity, trial))
                if not math.isfinite(value):
                    raise FloatingPointError(f"the objective is {value}")
                values.append(value)
            except Stopped as stopped:
                raise optuna.TrialPruned(str(stopped)) from stopped
            except (StoreError, *STORE_ERRORS):
                raise
            except Exception as error:
                trial.set_user_attr("error", f"{type(error).__name__}: {error}"[:2000])
                raise
            return values[0]

        self.study.sampler = _Proposals(self.study, self.space, self.seed, fixed, self.plain_space)
        try:
            self.study.optimize(run, n_trials=1, catch=(Exception,))
        except (
            Exception
        ):  # Optuna's own: the database went away under it, or another command gave the trial up
            if not under_way:
                raise
        finally:
            for trial in under_way:
                self._settle(trial, values)

    @patient
    def _settle(self, trial: optuna.Trial, values: list[float]) -> None:
        """Say what became of a trial, if that got lost, and put it back into the queue if that was no fault of its own."""
        storage, number = self.study._storage, trial._trial_id
        if storage.get_trial(number).state == TrialState.RUNNING:
            with suppress(optuna.exceptions.UpdateFinishedTrialError):
                storage.set_trial_state_values(
                    number, TrialState.COMPLETE if values else TrialState.FAIL, values or None
                )
        found = storage.get_trial(number)
        if found.state == TrialState.FAIL and "error" not in found.user_attrs:
            self._put_back(found)

    def _put_back(self, trial: FrozenTrial) -> None:
        """Have a failed trial repeated, unless another process has seen to that."""
        if not any(
            trial.number in other.system_attrs.get("retry_history", ())
            for other in self.study.get_trials(deepcopy=False)
        ):
            _again(None)(self.study, copy.deepcopy(trial))

    @patient
    def recover(self) -> list[Trial]:
        """Put the trials of vanished workers back into the queue; return all failed ones."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        for trial in in_state(self.trials(), "RUNNING"):
            # Killed before its first heartbeat. By this process's own clock, as every machine writes its own times.
            since = self._unclaimed.setdefault(trial.number, time.monotonic())
            if "worker" not in trial.notes and time.monotonic() - since > GRACE * self.options.heartbeat:
                with suppress(
                    ValueError, optuna.exceptions.UpdateFinishedTrialError
                ):  # another command was faster
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    lost = self.study.get_trials(deepcopy=False)[trial.number]
                    if lost.params or "fixed_params" in lost.system_attrs:
                        self._put_back(lost)
        return in_state(self.trials(), "FAIL")

    def lead(self) -> bool:
        """Take or keep the lead among the commands that joined the study; see `Leadership.take`."""
        return self.leadership.take()

    def leading(self) -> AbstractContextManager[None]:
        """Keep the lead while something long is done, then leave it."""
        return self.leadership.kept()

    def importances(self) -> dict[str, float]:
        """Return each parameter's share in what moves the objective (fANOVA, Hutter et al. 2014); nothing where too little was tried."""
        values = {trial.value for trial in in_state(self.trials(), "COMPLETE")}
        if len(values) < 4 or len(self.space) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(
                self.study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
            )
        return {name: float(share) for name, share in shares.items()}


class _Proposals(optuna.samplers.BaseSampler):
    """The tree-structured Parzen estimator, made to depend on nothing but the seed, the trial's number and the results so far,
    to repeat no point, and to keep some parameters fixed."""

    def __init__(
        self,
        study: optuna.Study,
        space: Mapping[str, BaseDistribution],
        seed: int,
        fixed: Mapping[str, Value],
        plain_space: Space,
    ) -> None:
        self.study, self.space, self.seed, self.fixed, self.plain_space = (
            study,
            dict(space),
            seed,
            fixed,
            plain_space,
        )

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = random.Random(f"{self.seed} {trial.number}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            base = optuna.samplers.TPESampler(
                seed=drawn.randrange(2**32),
                multivariate=True,
                constant_liar=True,
                n_startup_trials=RANDOM_TRIALS,
            )
        others = [other for other in self.study.get_trials(deepcopy=False) if other.number != trial.number]
        tried = {_key(other.params or other.system_attrs.get("fixed_params", {})) for other in others}
        known = base.infer_relative_search_space(study, trial)
        for fixed in (self.fixed, {}):  # with nothing left where they are fixed, it goes elsewhere
            for _ in range(100):
                point = base.sample_relative(study, trial, known)
                missing = {name: entry for name, entry in self.space.items() if name not in point}
                point |= {
                    name: base.sample_independent(study, trial, name, entry)
                    for name, entry in missing.items()
                }
                point |= fixed
                if _key(point) not in tried:
                    return point
        left = [point for point in all_points(self.plain_space) if _key(point) not in tried]
        return drawn.choice(left) if left else point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise NotImplementedError("every parameter belongs to the relative space")


class _Storage(RDBStorage):
    """Optuna's relational storage, whose heartbeat outlives a database that is lost for a while."""

    @patient
    def record_heartbeat(self, trial_id: int) -> None:
        super().record_heartbeat(trial_id)


@patient
def _study(storage: RDBStorage, name: str, pruner: optuna.pruners.BasePruner) -> tuple[optuna.Study, bool]:
    """Open or make a study; return it, and whether it was made."""
    try:
        return optuna.create_study(
            storage=storage, study_name=name, direction="maximize", pruner=pruner
        ), True
    except optuna.exceptions.DuplicatedStudyError:
        return optuna.load_study(storage=storage, study_name=name, pruner=pruner), False


def _storage(url: str, heartbeat: int, patience: float) -> _Storage:
    """Open a database, made ready if it is new, and have its lost connections made again for as long as `PATIENCE`."""
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(
            "configuration",
            "sweep.storage",
            "no URL",
            "an SQLAlchemy URL, as postgresql+psycopg://user@host/name",
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    if parsed.password or "password" in parsed.query:
        allowed = "a URL without one, as runs show it; PGPASSWORD or ~/.pgpass supplies the password"
        raise InputError("configuration", "sweep.storage", "a password", allowed)
    options = {
        "pool_pre_ping": True,
        "connect_args": {"timeout": 60} if parsed.get_backend_name() == "sqlite" else {},
    }
    began = time.monotonic()
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                again, grace = _again(RETRIES), GRACE * heartbeat
                storage = _Storage(
                    url,
                    options,
                    heartbeat_interval=heartbeat,
                    grace_period=grace,
                    heartbeat_stale_trial_callback=again,
                )
            break
        except (*STORE_ERRORS, ImportError, RuntimeError) as error:
            # Commands that find no tables make them all at once, and all but one fail: worth another try.
            is_away = isinstance(error, sqlalchemy.exc.OperationalError | ImportError)
            if time.monotonic() - began > (patience if is_away else max(patience, 5.0)):
                reason = str(error.__cause__ or error).strip().splitlines()[0]
                allowed = (
                    f"a database that answers, PostgreSQL's as postgresql+psycopg://user@host/name ({reason})"
                )
                raise InputError("configuration", "sweep.storage", shown, allowed) from None
            time.sleep(1)

    @sqlalchemy.event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(1)

    return storage


def _again(times: int | None) -> Callable[[optuna.Study, FrozenTrial], None]:
    """Return what puts a lost trial back into the queue so many times at most; None: always."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        retry = RetryHeartbeatStaleTrialCallback(max_retry=times)

    def put_back(study: optuna.Study, trial: FrozenTrial) -> None:
        trial.user_attrs = {}  # the notes are of the lost one: its worker, its run
        retry(study, trial)

    return put_back


def _pruner(kind: str, epochs: Sequence[int]) -> optuna.pruners.BasePruner:
    if kind == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=epochs[-1] // 3)
    if kind == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=epochs[0], max_resource=epochs[-1])
    return optuna.pruners.NopPruner()


def _distribution(entry: Range | Choices) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.values)
    if entry.is_whole:
        return IntDistribution(int(entry.low), int(entry.high), entry.log)
    return FloatDistribution(entry.low, entry.high, entry.log)


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Value:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)  # type: ignore[return-value]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(name, distribution.low, distribution.high, log=distribution.log)  # type: ignore[arg-type]


def _key(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(point.items()))


def _plain(trial: FrozenTrial) -> Trial:
    times = [
        moment.timestamp() if moment else 0.0 for moment in (trial.datetime_start, trial.datetime_complete)
    ]
    value = trial.values[0] if trial.values else None
    return Trial(
        trial.number,
        trial.state.name,
        value,
        trial.params,
        trial.user_attrs,
        trial.intermediate_values,
        *times,
    )
