"""One process of a sweep: takes trials until the study has as many as were asked for."""

import dataclasses
import math
import multiprocessing
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.config import Config
from cwgan.errors import InputError, Stopped, StoreError
from entrypoints.launch import interruptible

if TYPE_CHECKING:
    from cwgan.data.dataset import GzslDataset
    from cwgan.search.space import Space, Value
    from cwgan.search.study import Attempt, Search
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

    @property
    def seeds(self) -> list[int]:
        """Of the GANs of every trial."""
        return self.config.sweep.seeds or [self.config.seed]

    def search(self) -> "Search":
        """Return the study."""
        from cwgan.search.kept import epochs_scored
        from cwgan.search.study import Search

        is_known = bool(self.parent)
        return Search(
            self.study,
            self.storage,
            self.config.sweep,
            self.space,
            epochs_scored(self.config),
            self.config.seed,
            is_known,
        )


def work(task: Task) -> None:
    """Be a worker; errors that are not a trial's own end the process with status 1."""
    from cwgan import tracking
    from cwgan.search.study import STORE_ERRORS

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
    """Try one setting: one more on a GAN of this machine if one is to be had, else on a new one."""
    from cwgan.search.kept import generator_file
    from cwgan.search.space import of_gan, placed, size

    after = {
        name: entry for name, entry in task.space.items() if name not in of_gan(dict.fromkeys(task.space, 0))
    }
    limit = min(task.config.sweep.trials_per_gan, size(after)) if len(after) < len(task.space) else math.inf
    trials = [trial for trial in search.trials() if trial.state != "FAIL" and "gan" in trial.notes]
    fixed: dict[str, Value] = {}
    for gan in dict.fromkeys(trial.notes["gan"] for trial in trials):
        members = [trial for trial in trials if trial.notes["gan"] == gan]
        whole = generator_file(task.folder, gan, placed(task.config, members[0].point).gan.epochs)
        is_in_training = not whole.is_file() and any(trial.state == "RUNNING" for trial in members)
        if whole.parent.is_dir() and len(members) < limit and not is_in_training:
            fixed = of_gan(members[0].point)
            break
    search.attempt(lambda attempt: _objective(task, attempt, datasets, scratch), fixed)


def _objective(task: Task, attempt: "Attempt", datasets: dict[str, "GzslDataset"], scratch: Path) -> float:
    """Score a setting at every scored epoch in an MLflow run of its own; return its value."""
    from cwgan import tracking
    from cwgan.search.kept import gan_hash
    from cwgan.search.space import placed

    config = placed(task.config, attempt.point)
    dataset = _loaded(config, datasets)
    gan = gan_hash(dataclasses.replace(config, seed=task.seeds[0]), dataset)
    attempt.note(gan=gan)
    settings = {name: str(value) for name, value in attempt.point.items()}
    tags = {"trial_number": str(attempt.number), "gan": gan, "study": task.study, "worker": attempt.worker}
    try:
        with tracking.run(
            f"trial {attempt.number}", config, (), settings, scratch, parent=task.parent
        ) as run:
            attempt.note(run_id=run.run_id)
            run.tag(tags)
            try:
                return _curve(run, attempt, task, config, dataset)
            except Stopped:
                raise
            except Exception:
                (run.folder / "traceback.txt").write_text(traceback.format_exc())
                raise
    except tracking.STORE_ERRORS as error:  # no fault of the setting
        raise StoreError(f"MLflow at {tracking.store_uri()}: {_line(error)}") from error


def _curve(run: "Run", attempt: "Attempt", task: Task, config: Config, dataset: "GzslDataset") -> float:
    from cwgan.search.kept import epochs_scored, scored

    last = epochs_scored(config)[-1]
    values: dict[int, float] = {}
    gammas: dict[int, float] = {}
    spent: dict[str, float] = {}
    try:
        for epoch, terms in scored(config, task.seeds, dataset, task.folder):
            if _is_orphan():
                raise KeyboardInterrupt
            run.log(terms, epoch)
            values[epoch], gammas[epoch] = terms[f"val_{config.sweep.objective}"], terms["val_gamma"]
            spent = {name: terms[name] for name in ("seconds/training", "seconds/scoring")}
            attempt.report(values[epoch], epoch, is_last=epoch == last)
    finally:
        attempt.note(**spent)
    epoch = last if config.sweep.value == "last" else max(values, key=lambda one: (values[one], -one))
    attempt.note(epoch=epoch, gamma=gammas[epoch])
    run.log_scores({"value": values[epoch], "epoch": epoch})
    return values[epoch]


def _loaded(config: Config, datasets: dict[str, "GzslDataset"]) -> "GzslDataset":
    """Return the data set of a setting; the last one is kept, as few searches change how data are read."""
    from cwgan.stages.pipeline import load_data

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
