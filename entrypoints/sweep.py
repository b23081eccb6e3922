"""Search the setting of highest H on validation classes; one parent run a study, a child run a trial, workers on any number of machines."""

import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cwgan.command_line import Arguments, Command, flatten, to_dict
from cwgan.config import Config
from cwgan.errors import InputError
from entrypoints import main
from entrypoints.launch import reported
from entrypoints.sweep_report import final, report
from entrypoints.sweep_supervisor import SweepError, supervise
from entrypoints.sweep_worker import Task

if TYPE_CHECKING:
    from cwgan.data.dataset import GzslDataset
    from cwgan.search.study import Search

COMMAND = Command(
    "sweep",
    "Search the setting of highest H on validation classes, such as cycle weight and synthetic count; one parent run, a child run a trial.",
    (*main.COMMAND.sections, "sweep"),
    config=main.COMMAND.config,
)
DECIDING = ("seeds", "objective", "value", "pruner", "trials_per_gan")
"""Parameters of the sweep that decide its results: with others, it is another study."""

NOT_DECIDING = (
    "data.path",
    "data.name",
    "data.attributes",
    "threads",
    "device",
    "experiment",
    "run_name",
    "seeds",
    "select",
    "protocol",
)
"""Parameters that may differ from machine to machine, or concern the final models alone; the data's digest stands for their content."""

LEADER_OPENS_WITHIN = 60.0
"""Seconds that a command which joins waits for the leader's parent run."""


def conduct(flags: list[str], arguments: Arguments) -> None:
    """Lead the study; or join it where another command leads, and take over if that one vanishes."""
    from cwgan import tracking
    from cwgan.files import locked

    config = arguments.config
    with tracking.session() as scratch:
        task, dataset = prepared(config, tracking.local_folder())
        print(dataset.summary())
        with locked(task.folder / "optuna.lock"):
            search = task.search()
        check_same_study(search, facts_of(task, dataset))
        if not search.lead():
            join(task, search)
            if not takes_over(search):
                return
        with search.leading():
            lead(task, search, dataset, arguments, scratch)


def lead(task: Task, search: "Search", dataset: "GzslDataset", arguments: Arguments, scratch: Path) -> None:
    """Open the parent run, see the study through, and report."""
    from cwgan import tracking
    from cwgan.search.trials import best_of

    config = arguments.config
    parent = search.noted("run_id") or ""
    if parent and not tracking.exists(parent):
        parent = ""  # deleted; what the study knows goes into a new one
    if parent:
        tracking.adopt(parent, "resumed")
    with tracking.run(
        COMMAND.name, config, COMMAND.sections, arguments.layers, scratch, reopen=parent
    ) as run:
        search.note("run_id", run.run_id)
        run.log_dataset(dataset)
        run.tag({"study": search.name})
        task = dataclasses.replace(task, parent=run.run_id)
        end_lost_runs(search, run.run_id)
        start(task, search)
        print(
            f"study '{search.name}': {search.asked()} trials asked for; parent run {run.run_id}", flush=True
        )
        try:
            supervise(task, search)
        except (KeyboardInterrupt, SweepError):
            report(run, config, task.space, search)
            raise
        text, listed = report(run, config, task.space, search)
        if best_of(search.trials()) is None:
            raise SweepError("no trial was completed; the reasons are in the trials' runs")
        if config.sweep.final:
            final(run, config, search, text, listed)
        search.note("reported", len(search.trials()))
        end_lost_runs(search, run.run_id)
    main.say_where(run)


def end_lost_runs(search: "Search", parent: str) -> None:
    """End the runs that a killed process left behind below the parent."""
    from cwgan import tracking
    from cwgan.search.trials import in_state

    alive = {
        trial.notes["run_id"] for trial in in_state(search.trials(), "RUNNING") if "run_id" in trial.notes
    }
    tracking.end_lost_below(parent, alive)


def prepared(config: Config, beside: Path) -> tuple[Task, "GzslDataset"]:
    """Check what is asked for, read the data set under the validation protocol, and return what workers are told.

    Raises:
        InputError: a search space or a parameter that cannot be used.
    """
    from cwgan import tracking
    from cwgan.scoring.selection import validation_half
    from cwgan.search.space import read_space
    from cwgan.stages.pipeline import load_data

    half = validation_half(dataclasses.replace(config, protocol="final"), 5, "sweep")
    for name in ("gan", "monitor", "regressor"):
        if not getattr(config, name).train:
            raise InputError("configuration", f"{name}.train", "false", "true, in a sweep")
    space = read_space(config.sweep.space, half)
    dataset = load_data(half)
    half = dataclasses.replace(half, threads=half.threads or (1 if config.sweep.workers > 1 else 0))
    folder = Path(config.sweep.folder or beside / "sweeps").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    storage = config.sweep.storage or f"sqlite:///{folder / 'optuna.db'}"
    if storage.startswith("sqlite") and tracking.store_uri().startswith("http"):
        print("trials are kept in a file of this machine; for a study of several machines give sweep.storage")
    task = Task(half, space, config.sweep.study, storage, "", folder)
    facts = json.dumps(facts_of(task, dataset), sort_keys=True).encode()
    named = (
        config.sweep.study
        or f"{config.data.name or Path(config.data.path).name} {hashlib.sha256(facts).hexdigest()[:8]}"
    )
    return dataclasses.replace(task, study=named), dataset


def facts_of(task: Task, dataset: "GzslDataset") -> dict[str, Any]:
    """Return everything that decides the results of a study, by dotted name."""
    from cwgan.search.space import described

    flat = {key: value for key, value in flatten(to_dict(task.config)).items() if key not in NOT_DECIDING}
    flat = {
        key: value
        for key, value in flat.items()
        if not key.startswith("sweep.") or key.removeprefix("sweep.") in DECIDING
    }
    return {**flat, **flatten(described(task.space), "space."), "data digest": dataset.digest}


def check_same_study(search: "Search", facts: dict[str, Any]) -> None:
    """Refuse to mix trials of different settings in one study."""
    known = search.noted("facts")
    if known is None:
        search.note("facts", facts)
        return
    facts = json.loads(json.dumps(facts))
    for key in sorted({*known, *facts}):
        if known.get(key) != facts.get(key):
            raise InputError(
                f"study '{search.name}'",
                key,
                facts.get(key),
                f"{known.get(key)}, as it was begun with; or another sweep.study",
            )


def start(task: Task, search: "Search") -> None:
    """Have the preset's own setting tried first, where it lies in the space."""
    from cwgan.search.space import point_of

    point = point_of(task.config, task.space)
    if point is None:
        print("the preset's own setting lies outside the search space and is not among the trials")
    else:
        search.queue(point)


def join(task: Task, search: "Search") -> None:
    """Work for a study that another command leads."""
    from cwgan import tracking

    until = time.monotonic() + LEADER_OPENS_WITHIN
    while not (parent := search.noted("run_id")):
        if time.monotonic() > until:
            raise InputError(
                "study",
                "parent run",
                "none",
                "the run of the leading command; if that is gone, run this again to lead",
            )
        time.sleep(1)
    tracking.adopt(parent, "joined")
    leader = (search.noted("leader") or {}).get("who", "another command")
    print(f"study '{search.name}': joined; parent run {parent} is led by {leader}", flush=True)
    supervise(dataclasses.replace(task, parent=parent), search)


def takes_over(search: "Search") -> bool:
    """Whether this command, its trials done, has taken the lead from one that vanished or left without the last of them."""
    held = search.noted("leader")
    while held:
        if search.lead():
            return True
        time.sleep(1)
        now = search.noted("leader")
        if now and now != held:
            print(f"done; {now['who']} writes the report on the parent run")
            return False
        held = now
    return search.noted("reported") != len(search.trials()) and search.lead()


if __name__ == "__main__":
    sys.exit(reported(COMMAND, None, conduct))
