"""What keeps the workers of one command going until the study is done, and says what every trial came to."""

import multiprocessing
import os
import time
from typing import TYPE_CHECKING, Any

from entrypoints.sweep_worker import Task, work

if TYPE_CHECKING:
    from cwgan.search.study import Search

LOST = 20
"""Workers of one command that may be killed before it gives up."""

BROKEN_IN_A_ROW = 20
LOOKS_EVERY = 1.0


class SweepError(OSError):
    """Too many workers or trials broke."""


def supervise(task: Task, search: "Search") -> None:
    """Keep workers going until the study is done, give up those that vanished, and say what every trial came to."""
    context = multiprocessing.get_context("spawn")
    if task.config.threads:
        os.environ["OMP_NUM_THREADS"] = str(task.config.threads)
    before = search.trials()
    told, first = {trial.number for trial in before if trial.ended}, len(before)
    lost, closed = 0, set[int]()
    workers: list[Any] = []
    try:
        while not search.is_done():
            while len(workers) < task.config.sweep.workers:
                workers.append(context.Process(target=work, args=(task,)))
                workers[-1].start()
            watch(search, told, closed, first)
            for worker in [one for one in workers if one.exitcode is not None]:
                workers.remove(worker)
                lost += 1
                if (worker.exitcode > 0 and not search.is_done()) or lost > LOST:
                    raise SweepError(
                        f"a worker ended with status {worker.exitcode}; what it said stands above"
                    )
            time.sleep(LOOKS_EVERY)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(30)
            worker.kill()
        watch(search, told, closed, first)


def watch(search: "Search", told: set[int], closed: set[int], first: int) -> None:
    """Recover the trials of vanished workers, end their runs, and say what ended since the last look.

    Raises:
        SweepError: too many trials in a row broke.
    """
    from cwgan import tracking
    from cwgan.search.trials import best_of, broken_in_a_row, in_state, shown

    failed, trials = search.recover(), search.trials()
    for trial in failed:
        if trial.number not in closed and "run_id" in trial.notes:
            reason = trial.notes.get("error", "its worker vanished or was interrupted; the trial is repeated")
            tracking.end_lost(trial.notes["run_id"], reason)
        closed.add(trial.number)
    best = best_of(trials)
    for trial in trials:
        if not trial.ended or trial.number in told:
            continue
        told.add(trial.number)
        point = "  ".join(f"{name} {shown(value)}" for name, value in trial.point.items())
        value = (
            f"{search.options.objective} {100 * trial.value:.1f} %"
            if trial.value is not None
            else trial.notes.get("error", "lost, and repeated")
        )
        so_far = f"best: trial {best.number}, {100 * (best.value or 0):.1f} %" if best else ""
        done = f"{len(in_state(trials, 'COMPLETE', 'PRUNED')):>3}/{search.asked()}"
        seconds = f"({trial.ended - trial.began:.1f} s)"
        print(
            f"{done} trial {trial.number} {trial.state.lower()}: {value}  {point}  {seconds}  {so_far}",
            flush=True,
        )
    if broken_in_a_row(trials, first) >= BROKEN_IN_A_ROW:
        newest = max((trial for trial in trials if "error" in trial.notes), key=lambda trial: trial.ended)
        raise SweepError(f"{BROKEN_IN_A_ROW} trials in a row broke; the last: {newest.notes['error']}")
