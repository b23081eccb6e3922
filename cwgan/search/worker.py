"""The one role of a sweep: a worker, which tries settings until the study has as many as were asked for."""

import multiprocessing
import os
import sys
import time
import traceback
from functools import partial
from multiprocessing import connection
from pathlib import Path

from cwgan import tracking
from cwgan.command_line import override
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError, Stopped, StoreError, first_line, interruptible
from cwgan.files import write_text
from cwgan.gan.training import count_epoch_steps
from cwgan.machine import memory_counted
from cwgan.scoring.selection import find_best
from cwgan.search.kept import GENERATOR_FILE, KeptGan, train_and_score
from cwgan.search.report import describe_trial
from cwgan.search.space import Point, apply_point, list_points, take_gan_part
from cwgan.search.study import FINISHED, Attempt, Study, Task, Trial, filter_state
from cwgan.stages.job import Job, load_data, pick_logged
from cwgan.stages.train import take_seen_rows

ENDED = (0, 1, 130)  # exit codes of workers that were not killed
LIMIT = 20  # trials that break one after another, or workers that are killed, until the sweep ends


class SweepError(OSError):
    """Too many workers or trials broke."""


def run_workers(task: Task) -> None:
    """Keep `sweep.workers` processes at work until all have ended; start again one that was killed."""
    if task.config.threads:
        os.environ["OMP_NUM_THREADS"] = str(task.config.threads)

    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([__name__])  # imported once, and in memory once, for all workers

    def start() -> multiprocessing.process.BaseProcess:
        process = forks.Process(target=_work_alone, args=(task,))
        process.start()
        return process

    processes, kills = [start() for _ in range(task.config.sweep.workers)], 0
    try:
        while processes and kills <= LIMIT:
            connection.wait([process.sentinel for process in processes])
            for process in [process for process in processes if not process.is_alive()]:
                processes.remove(process)
                if process.exitcode not in ENDED:  # 255 where the server was killed that started it
                    kills += 1
                    processes.append(start())
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(30)
            process.kill()


def _work_alone(task: Task) -> None:
    """Be a worker in a process of its own."""
    try:
        with interruptible(), tracking.session() as scratch:
            work(task, Study(task), scratch)
    except (InputError, OSError, MemoryError) as error:
        sys.exit(f"worker: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def work(task: Task, study: Study, scratch: Path) -> None:
    """Try settings until the study is done; a SweepError if too many in a row break."""
    broken, data = 0, dict[str, GzslDataset]()
    while not study.is_done():
        _stop_if_orphan()
        trial = study.attempt(partial(_try, task, data=data, scratch=scratch), partial(choose_gan, task))
        if trial is None:
            time.sleep(1)  # the last trials are with other workers
            continue
        print(describe_trial(trial, study), flush=True)
        broken = broken + 1 if trial.state.name == "FAIL" else 0
        if broken == LIMIT:
            raise SweepError(f"{LIMIT} trials in a row broke; the last: {trial.user_attrs.get('error')}")


def choose_gan(task: Task, trials: list[Trial]) -> Point:
    """Return the GAN part of a setting that can share a GAN kept here, or nothing, where a new GAN is due.

    `sweep.trials_per_gan` settings share a GAN, unless its first was pruned.
    """
    after = {name: entry for name, entry in task.space.items() if name not in take_gan_part(task.space)}
    if not after or len(after) == len(task.space):
        return {}
    limit = min(task.config.sweep.trials_per_gan, len(list_points(after)) or task.config.sweep.trials_per_gan)
    groups: dict[str, list[Trial]] = {}
    for trial in filter_state(trials, "WAITING", "RUNNING", *FINISHED):
        groups.setdefault(str(take_gan_part(trial.params)), []).append(trial)
    for members in groups.values():
        if len(members) >= limit or members[0].state.name == "PRUNED":
            continue
        first, point = members[0], take_gan_part(members[0].params)
        place = task.folder / "gan" / first.user_attrs.get("gan", "unknown")
        whole = place / GENERATOR_FILE.format(apply_point(task.config, point).gan.epochs)
        in_training = filter_state(members, "RUNNING") and not whole.is_file()
        if place.is_dir() and not in_training:
            return point
    return {}


def _try(task: Task, attempt: Attempt, data: dict[str, GzslDataset], scratch: Path) -> float:
    """Score a setting at every scored epoch in an MLflow run of its own; return its value."""
    config = apply_point(task.config, attempt.params)
    seeds = config.sweep.seeds or [config.seed]
    key = repr(config.data)
    if key not in data:  # the last one is kept, as few searches change how data are read
        data.clear()
        data[key] = load_data(config)
    job = Job(override(config, {"seed": seeds[0]}), data[key], task.folder, lambda terms, epoch: None)
    gan = KeptGan(job).find_folder("gan").name
    attempt.set_user_attr("gan", gan)
    tags = {"trial_number": str(attempt.number), "gan": gan, "study": task.study}
    settings = {name: str(value) for name, value in attempt.params.items()}
    try:
        opened = tracking.run(f"trial {attempt.number}", config, (), settings, scratch, parent=task.parent)
        with opened as run:
            attempt.set_user_attr("run_id", run.run_id)
            run.tag({**tags, "worker": attempt.user_attrs["worker"]})
            try:
                with memory_counted():
                    return _score(run, attempt, job, seeds)
            except Stopped:
                raise
            except Exception:
                write_text(run.folder / "traceback.txt", traceback.format_exc())
                raise
    except tracking.STORE_ERRORS as error:  # no fault of the setting
        raise StoreError(f"MLflow at {tracking.store_uri()}: {first_line(error)}") from error


def _score(run: tracking.Run, attempt: Attempt, job: Job, seeds: list[int]) -> float:
    """Log every scored epoch, note the one that counts and its bias, and return the objective there."""
    values, gammas, options = dict[int, float](), dict[int, float](), job.config.sweep
    for epoch, terms, must_train in train_and_score(job, seeds):
        _stop_if_orphan()
        run.log(pick_logged(terms, job.config), epoch)
        values[epoch], gammas[epoch] = terms[f"val_{options.objective}"], terms["val_gamma"]
        spent = {name: value for name, value in terms.items() if name.startswith("seconds/")}
        attempt.report(values[epoch], epoch)
        if must_train and attempt.should_prune():
            raise Stopped(f"pruned at epoch {epoch}")
    chosen = max(values) if options.value == "last" else find_best(values)
    steps = count_epoch_steps(job.config.gan, len(take_seen_rows(job).rows))
    notes = {"epoch": chosen, "epoch_steps": steps, "gamma": gammas[chosen], **spent}
    for name, value in notes.items():
        attempt.set_user_attr(name, value)
    run.log_scores({"value": values[chosen], "epoch": chosen})
    return values[chosen]


def _stop_if_orphan() -> None:
    """End as if interrupted where the command that started this process is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise KeyboardInterrupt
