"""The one wall between the project and Optuna: a study in a database, which workers on any machine join.

Optuna's relational storage numbers the trials, hears the heartbeats of workers, and repeats the trial of one
that has fallen silent. Settings are proposed and begun under a lock of the same database, one at a time. This
file is longer than others, as no other may know Optuna.
"""

import copy
import hashlib
import math
import os
import random
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from cwgan.config import Config
from cwgan.errors import InputError, Stopped, StoreError, WriteError, first_line
from cwgan.gan.training import scored_epochs
from cwgan.scoring.selection import find_best
from cwgan.search.space import Choices, Point, Range, Space, list_points, take_gan_part

RANDOM_GANS = 4  # GAN settings tried, the preset's among them, before the sampler learns from results
GRACE = 6  # heartbeats that a worker may miss before it is given up
RETRIES = 3  # how often a trial is repeated whose worker vanished
PATIENCE = 300.0  # seconds that a lost database is waited for
STORE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
FINISHED = ("COMPLETE", "PRUNED")
EXCUSED = (StoreError, WriteError, MemoryError)  # of the machine, not of the setting
_refuse = partial(InputError, "configuration", "sweep.storage")
Attempt = optuna.Trial  # under way: `report` and `set_user_attr` write down its curve and its notes
Trial = FrozenTrial  # as it is in the database: user_attrs are its notes, intermediate_values its curve


@dataclass(frozen=True)
class Task:
    """What a worker must know."""

    config: Config  # that the search starts from, under the validation protocol
    space: Space
    study: str  # its name
    storage: str  # the URL of its database
    folder: Path  # of this machine's GANs
    parent: str = ""  # the id of the parent run, once there is one


def filter_state(trials: Sequence[Trial], *states: str) -> list[Trial]:
    """Return the trials in one of some states: WAITING, RUNNING, COMPLETE, PRUNED or FAIL."""
    return [trial for trial in trials if trial.state.name in states]


def filter_tried(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that count: finished ones, and failed ones that are not repeated."""
    failed = [trial for trial in filter_state(trials, "FAIL") if "excused" not in trial.user_attrs]
    ended = [trial for trial in failed if "error" in trial.user_attrs or len(_list_losses(trial)) >= RETRIES]
    return [*filter_state(trials, *FINISHED), *ended]


def _list_losses(trial: Trial) -> list[int]:
    """Return the numbers of the trials whose workers vanished and which this one repeats."""
    return trial.system_attrs.get("retry_history", [])


def find_best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the completed trial of highest value, the earliest of equals; None where none was completed."""
    complete = {trial.number: trial for trial in filter_state(trials, "COMPLETE")}
    return complete[find_best({n: trial.value or 0.0 for n, trial in complete.items()})] if complete else None


def repeat_while_away(call: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Make a call, and again every second while the database is away; at last raise a StoreError.

    The seconds count from the first error, as the call may wait for a lock before.
    """
    until = math.inf
    while True:
        try:
            return call()
        except STORE_ERRORS as error:
            until = min(until, time.monotonic() + seconds)
            if time.monotonic() >= until:
                reason = first_line(error.__cause__ or error)
                raise StoreError(f"the database of the study is away: {reason}") from error
            time.sleep(1)


class _Storage(RDBStorage):
    """Optuna's relational storage, whose calls outlive a database that is away for a while."""


def _outlive(call: Callable[..., Any]) -> Callable[..., Any]:
    return wraps(call)(lambda *arguments, **options: repeat_while_away(partial(call, *arguments, **options)))


_INNER = ["_create_new_trial", "_set_trial_param", "_get_trials", "_get_stale_trial_ids", "record_heartbeat"]
for _name in [*_INNER, *(name for name in dir(BaseStorage) if not name.startswith("_"))]:
    setattr(_Storage, _name, _outlive(getattr(RDBStorage, _name)))


class Study:
    """A study of a task, opened or made; a database that does not answer is waited for so many seconds.

    With the number of trials, the task's seed fixes what is proposed after the same results. InputError for a
    URL that is none, or a database that cannot be reached.
    """

    def __init__(self, task: Task, patience: float = PATIENCE) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.name, self.space, self.options = task.study, task.space, task.config.sweep
        self.seed, self.worker = task.config.seed, f"{socket.gethostname()}:{os.getpid()}"
        self._url = _read_url(task.storage)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        # Whoever holds the lock has no transaction open, which a database may end that is idle for hours.
        self._engine = sqlalchemy.create_engine(self._url, pool_pre_ping=True, isolation_level="AUTOCOMMIT")
        self._rehearsal, self._rehearsed = optuna.create_study(direction="maximize"), set[int]()
        self._entries = {name: _to_distribution(entry) for name, entry in task.space.items()}
        open_storage = partial(
            _Storage,
            self._url.render_as_string(),
            {"pool_pre_ping": True, "connect_args": {"timeout": 60} if self._is_sqlite else {}},
            heartbeat_interval=self.options.heartbeat,
            grace_period=GRACE * self.options.heartbeat,
        )
        pruner = make_pruner(self.options.pruner, scored_epochs(task.config.gan))
        make = partial(optuna.create_study, study_name=self.name, direction="maximize", load_if_exists=True)
        try:
            with self.lock("tables", patience):  # commands that find none would make them all at once
                self._storage = repeat_while_away(open_storage, patience)
                self._study = make(storage=self._storage, pruner=pruner, sampler=RandomSampler())
        except (OSError, ImportError, RuntimeError) as error:
            allowed = f"a database that answers ({first_line(error)})"
            raise _refuse(self._url.render_as_string(), allowed) from None

    @contextmanager
    def lock(self, name: str = "", patience: float = PATIENCE) -> Iterator[None]:
        """Hold the study's lock, or another by name; it is free once its holder ends, however that ends."""
        key = hashlib.sha256((name or self.name).encode()).hexdigest()[:8]
        if self._is_sqlite:
            with FileLock(f"{self._url.database}.{key}.lock"):
                yield
            return

        def connect() -> sqlalchemy.Connection:
            connection = self._engine.connect()
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({int(key, 16)})"))
            return connection

        connection = repeat_while_away(connect, patience)
        try:
            yield
        finally:
            with suppress(sqlalchemy.exc.SQLAlchemyError), connection:  # one that is lost holds no lock
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_unlock({int(key, 16)})"))

    def note(self, key: str, value: Any) -> None:
        """Write something down beside the study."""
        self._study.set_user_attr(key, value)

    def read_note(self, key: str) -> Any:
        """Return what was written down, or None."""
        return self._study.user_attrs.get(key)

    def queue(self, point: Point, trials: Sequence[Trial]) -> None:
        """Have a setting tried next, if it is not among the trials so far."""
        if all(trial.params != point for trial in trials):
            make = partial(optuna.create_trial, state=TrialState.WAITING)
            self._study.add_trial(make(params=dict(point), distributions=self._entries))

    def list_trials(self) -> list[Trial]:
        """Return all trials so far."""
        return self._study.get_trials(deepcopy=False)

    def count_asked(self) -> int:
        """Return how many settings are to be tried: those asked for, or all that there are."""
        return min(self.options.trials, len(list_points(self.space)) or self.options.trials)

    def is_done(self) -> bool:
        return len(filter_tried(self.list_trials())) >= self.count_asked()

    def attempt(
        self, objective: Callable[[Attempt], float], choose_fixed: Callable[[list[Trial]], Point]
    ) -> Trial | None:
        """Try the setting that waits in the queue or a new one, unless tried and running ones are enough.

        An error of the objective fails the trial and is noted as its "error". One of `EXCUSED` and an
        interruption, which are no fault of the setting, are noted as "excused" and raised: the next attempt
        puts such a trial back into the queue. From all trials, `choose_fixed` gives the parameters that a new
        setting takes over. Returns the trial as it ended.
        """
        begun: list[Attempt] = []
        with ExitStack() as turn:
            turn.enter_context(self.lock())
            trials = self.recover()
            if len(filter_tried(trials)) + len(filter_state(trials, "RUNNING")) >= self.count_asked():
                return None
            if not filter_state(trials, "WAITING"):
                self.queue(self._propose(trials, choose_fixed(trials)), trials)

            def run(trial: Attempt) -> float:
                begun.append(trial)
                self._storage.record_heartbeat(trial._trial_id)
                trial.set_user_attr("worker", self.worker)
                turn.close()  # from here on others may begin a trial
                try:
                    value = objective(trial)
                    if not math.isfinite(value):
                        raise FloatingPointError(f"the objective is {value}")
                    return value
                except Stopped as stopped:
                    raise optuna.TrialPruned(str(stopped)) from stopped
                except BaseException as error:
                    is_excused = isinstance(error, EXCUSED) or not isinstance(error, Exception)
                    note = f"{type(error).__name__}: {error}"[:2000]
                    trial.set_user_attr("excused" if is_excused else "error", note)
                    raise

            try:
                self._study.optimize(run, n_trials=1, catch=(Exception,))
            except Exception:  # Optuna's own: another worker gave the trial up meanwhile
                if not begun:
                    raise
        ended = self.list_trials()[begun[0].number]
        if "excused" in ended.user_attrs:
            raise StoreError(ended.user_attrs["excused"].partition(": ")[2])
        return ended

    def recover(self) -> list[Trial]:
        """Put back into the queue what failed by no error of its own; return all trials after that.

        Whoever calls holds the lock.
        """
        optuna.storages.fail_stale_trials(self._study)
        trials = self.list_trials()
        for trial in filter_state(trials, "RUNNING"):
            if "worker" not in trial.user_attrs:  # killed as it began: until it is noted the lock is held
                self._study.tell(trial.number, state=TrialState.FAIL)
                trials = self.list_trials()
        repeated = {number for trial in trials for number in _list_losses(trial)}
        failed = [trial for trial in filter_state(trials, "FAIL") if trial.number not in repeated]
        for trial in copy.deepcopy([trial for trial in failed if "error" not in trial.user_attrs]):
            if "excused" in trial.user_attrs:
                trial.system_attrs["retry_history"] = []  # it counts as a loss, those before it do not
            trial.user_attrs = {}  # the notes are of the lost one: its worker, its run
            RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(self._study, trial)
        return self.list_trials() if failed else trials

    def plot(self, kind: str, **options: Any) -> Any:
        """Return the axes of Optuna's picture optimization_history, slice, contour or param_importances."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of axes that show a single value
            return getattr(optuna.visualization.matplotlib, f"plot_{kind}")(self._study, **options)

    def _propose(self, trials: Sequence[Trial], fixed: Point) -> Point:
        """Return a setting that was not tried, with the fixed parameters as long as any such is left.

        Settings are random until `RANDOM_GANS` GAN settings (trials, where the space has none) were tried.
        """
        drawn = random.Random(f"{self.seed} {len(trials)}")
        running, finished = filter_state(trials, "RUNNING"), filter_state(trials, *FINISHED)
        sampler: BaseSampler = RandomSampler(seed=drawn.randrange(2**32))
        gans = set[str]()
        for trial in [*finished, *running]:
            gans.add(str(take_gan_part(trial.params) or trial.number))
            if len(gans) == RANDOM_GANS:
                seed = drawn.randrange(2**32)
                sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=1)
                break
        with self._rehearse(running, finished) as rehearsal:
            tried = [trial.params for trial in trials]
            for given in (fixed, {}):
                rehearsal.sampler = PartialFixedSampler(dict(given), sampler)
                for _ in range(100):
                    point = rehearsal.ask(self._entries).params
                    if point not in tried:
                        return point
        left = [other for other in list_points(self.space) if other not in tried]
        return drawn.choice(left) if left else point

    @contextmanager
    def _rehearse(self, running: list[Trial], finished: list[Trial]) -> Iterator[optuna.Study]:
        """Yield a copy of the study in memory, where what is asked for and not taken leaves no trace.

        Finished trials stay in it from one time to the next, as copying thousands takes its time.
        """
        self._rehearsal.add_trials([*(t for t in finished if t.number not in self._rehearsed), *running])
        self._rehearsed.update(trial.number for trial in finished)
        try:
            yield self._rehearsal
        finally:
            for trial in self._rehearsal.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                self._rehearsal.tell(trial.number, state=TrialState.FAIL)


def _to_distribution(entry: Range | Choices) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.values)
    kind: Any = IntDistribution if entry.is_whole else FloatDistribution
    return kind(entry.low, entry.high, log=entry.log)


def _read_url(text: str) -> sqlalchemy.URL:
    example = "postgresql+psycopg://user@host/name"
    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise _refuse("no URL", f"an SQLAlchemy URL, as {example}") from None
    if url.password or "password" in url.query:
        allowed = "a URL without one, as runs show it; PGPASSWORD or ~/.pgpass supplies the password"
        raise _refuse("a password", allowed)
    is_file = url.get_backend_name() == "sqlite" and Path(url.database or "/").absolute().parent.is_dir()
    if not (is_file or url.get_backend_name() == "postgresql") or not url.database:
        raise _refuse(text, f"PostgreSQL, as {example}, or a file, as sqlite:///optuna.db, in a folder")
    return url


def make_pruner(kind: str, epochs: Sequence[int]) -> optuna.pruners.BasePruner:
    """Return a pruner that waits until half of the training is over, as before that curves cross."""
    warm_up = next(epoch for epoch in epochs if 2 * epoch >= epochs[-1])
    # Of the completed trials alone, so that the bar rises with every pruned one: a tenth is more in the end.
    percentile = optuna.pruners.PercentilePruner(90.0, n_warmup_steps=warm_up)
    median = optuna.pruners.MedianPruner(n_warmup_steps=warm_up)
    hyperband = optuna.pruners.HyperbandPruner(min_resource=warm_up, max_resource=epochs[-1])
    known = {"percentile": percentile, "median": median, "hyperband": hyperband}
    return known.get(kind, optuna.pruners.NopPruner())
