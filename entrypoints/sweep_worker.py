"""One process of a sweep: takes trials until the study has as many as were asked for."""

import dataclasses
import multiprocessing
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.config import Config
from cwgan.errors import InputError
from entrypoints.launch import interruptible

if TYPE_CHECKING:
    from cwgan.data import GzslDataset
    from cwgan.search import Attempt, Search
    from cwgan.search_space import Space, Value
    from cwgan.tracking import Run

WAITING = 1.0
"""Seconds between two looks at a study whose last trials are with other workers."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker is told.

    Args:
        config: that the search starts from, under the validation protocol.
        space: what is searched.
        study: its name.
        storage: URL of its database.
        parent: id of the study's MLflow run.
        folder: of the GANs kept on this machine.
    """

    config: Config
    space: "Space"
    study: str
    storage: str
    parent: str
    folder: Path

    def search(self) -> "Search":
        """Return the study."""
        from cwgan.gan_cache import epochs_scored
        from cwgan.search import Search

        is_known = bool(self.parent)
        return Search(self.study, self.storage, self.config.sweep, self.space, epochs_scored(self.config), self.config.seed, is_known)


def work(task: Task) -> None:
    """Be a worker; errors that are not a trial's own end the process with status 1."""
    from cwgan import tracking
    from cwgan.search import STORE_ERRORS

    try:
        with interruptible(), tracking.session() as scratch:
            search = task.search()
            datasets: dict[str, GzslDataset] = {}
            while not _is_orphan() and not search.is_done():
                try:
                    if search.is_short_of_trials():
                        _take(task, search, datasets, scratch)
                    else:
                        time.sleep(WAITING)
                except STORE_ERRORS as error:  # the trial is repeated once the database is back
                    print(f"worker: database: {_line(error)}", file=sys.stderr, flush=True)
                    time.sleep(WAITING)
    except (InputError, OSError) as error:
        sys.exit(f"worker: {_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def _take(task: Task, search: "Search", datasets: dict[str, "GzslDataset"], scratch: Path) -> None:
    """Try one setting: one more on a GAN of this machine if there is a trained one to spare, else on a new one."""
    from cwgan.files import locked
    from cwgan.search_space import of_gan

    def attempt(fixed: "dict[str, Value]", held: str, lock: ExitStack) -> None:
        search.attempt(lambda one: _objective(task, one, search.identity, held, lock, datasets, scratch), fixed)

    trials = [trial for trial in search.trials() if trial.state != "FAIL" and "gan" in trial.notes]
    for gan in dict.fromkeys(trial.notes["gan"] for trial in trials):
        members = [trial for trial in trials if trial.notes["gan"] == gan]
        place = task.folder / "gan" / gan
        fixed = of_gan(members[0].point)
        if place.is_dir() and (not fixed or len(members) < search.options.trials_per_gan):
            with ExitStack() as lock:
                if lock.enter_context(locked(place / "lock", waits=False)):
                    attempt(fixed, gan, lock)
                    return
    attempt({}, "", ExitStack())


def _objective(
    task: Task, attempt: "Attempt", identity: str, held: str, lock: ExitStack, datasets: dict[str, "GzslDataset"], scratch: Path
) -> float:
    """Score a setting at every scored epoch in an MLflow run of its own; return its value."""
    from cwgan import tracking
    from cwgan.files import locked
    from cwgan.gan_cache import gan_hash
    from cwgan.search_space import placed
    from cwgan.trials import shown

    attempt.note(worker=identity)  # at once: without it, one that reads data for long is taken for dead
    config = placed(task.config, attempt.point)
    dataset = _loaded(config, datasets)
    seeds = config.sweep.seeds
    gan = gan_hash(dataclasses.replace(config, seed=seeds[0]), dataset)
    attempt.note(gan=gan)
    settings = {name: shown(value) for name, value in attempt.point.items()}
    with tracking.run(f"trial {attempt.number}", config, (), settings, scratch, parent=task.parent) as run:
        attempt.note(run_id=run.run_id)
        run.tag({"trial_number": str(attempt.number), "gan": gan, "study": task.study, "worker": identity})
        try:
            if gan == held:
                return _curve(run, attempt, config, dataset, task.folder)
            lock.close()  # two workers that each wait for the other's GAN would wait for ever
            with locked(task.folder / "gan" / gan / "lock"):
                return _curve(run, attempt, config, dataset, task.folder)
        except Exception:
            (run.folder / "traceback.txt").write_text(traceback.format_exc())
            raise


def _curve(run: "Run", attempt: "Attempt", config: Config, dataset: "GzslDataset", folder: Path) -> float:
    from cwgan.gan_cache import epochs_scored, scored

    last = epochs_scored(config)[-1]
    values: dict[int, float] = {}
    gammas: dict[int, float] = {}
    spent: dict[str, float] = {}
    try:
        for epoch, terms in scored(config, config.sweep.seeds, dataset, folder):
            if _is_orphan():
                raise KeyboardInterrupt
            run.log(terms, epoch)
            values[epoch], gammas[epoch] = terms[f"val_{config.sweep.objective}"], terms["val_gamma"]
            spent = {name: terms[name] for name in ("seconds/training", "seconds/scoring", "gan_trainings")}
            attempt.report(values[epoch], epoch, is_last=epoch == last)
    finally:
        attempt.note(**spent)
    epoch = last if config.sweep.value == "last" else max(values, key=lambda one: (values[one], -one))
    attempt.note(epoch=epoch, gamma=gammas[epoch])
    run.log_scores({"value": values[epoch], "epoch": epoch})
    return values[epoch]


def _loaded(config: Config, datasets: dict[str, "GzslDataset"]) -> "GzslDataset":
    """Return the data set of a setting; the last one is kept, as few searches change how data are read."""
    from cwgan.pipeline import load_data

    key = repr(config.data)
    if key not in datasets:
        datasets.clear()
        datasets[key] = load_data(config)
    return datasets[key]


def _is_orphan() -> bool:
    """Whether the command that started this worker is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _line(error: Exception) -> str:
    return (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
