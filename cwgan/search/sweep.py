"""The sweep: workers try settings for a study; whoever sees it done reports and trains the final models."""

import dataclasses
import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cwgan import tracking
from cwgan.command_line import STAGE_SECTIONS, Arguments, override, to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.experiment.road import say_where
from cwgan.experiment.side_by_side import run_seeds
from cwgan.files import write_text
from cwgan.layers import flatten
from cwgan.scoring.comparison import split_protocols, spread, tabulate_scores, to_metrics
from cwgan.scoring.selection import validation_half
from cwgan.search.report import configure_final, report
from cwgan.search.space import find_point, read_space
from cwgan.search.study import Study, Task, filter_state, find_best_trial
from cwgan.search.worker import SweepError, run_workers, work
from cwgan.stages.job import load_data

NOT_DECIDING = (
    *("data.path", "data.name", "data.attributes", "threads", "device", "experiment"),
    *("data.new_classes", "register", "run_name", "description", "metrics", "seeds"),
    *(
        "select",
        "folds",
        "feature_map",
        "protocol",
        "sweep.trials",
        "sweep.space",
        "sweep.workers",
        "sweep.study",
        "sweep.storage",
    ),
    *("sweep.folder", "sweep.heartbeat", "sweep.final"),
)
"""Parameters that may differ between the commands of one study; the digest stands for the data."""


def sweep(arguments: Arguments, scratch: Path) -> None:
    """Join the study, try settings until it is done, report, and train the final models if asked for.

    InputError: what cannot be used, or a study that was begun with other parameters. SweepError: too many
    workers or trials broke, or none was completed.
    """
    config = arguments.config
    task, dataset, facts = prepare(config)
    print(dataset.summarize())
    study, sections = Study(task, patience=0), (*STAGE_SECTIONS, "sweep")
    with ExitStack() as stack:
        with study.lock():  # of commands that come at once, one makes the parent run
            known = study.read_note("facts") or facts
            for key in sorted({*known, *facts}):
                if known.get(key) != facts.get(key):
                    allowed = f"{known.get(key)}, as it was begun with; or another sweep.study"
                    raise InputError(f"study '{study.name}'", key, facts.get(key), allowed)
            study.note("facts", facts)
            if parent := tracking.find_active(study.read_note("run_id")):
                tracking.adopt(parent, "joined")
            opened = tracking.run("sweep", config, sections, arguments.given, scratch, reopen=parent)
            run = stack.enter_context(opened)
            study.note("run_id", run.run_id)
            if point := find_point(task.config, task.space):
                study.queue(point, study.list_trials())
        run.log_dataset(dataset)
        run.tag({"study": study.name})
        asked = f"study '{study.name}': {study.count_asked()} trials asked for; parent run {run.run_id}"
        outside = "" if point else "; the preset's own setting lies outside the search space"
        print(f"{asked}{outside}", flush=True)
        task = dataclasses.replace(task, parent=run.run_id)
        try:
            if config.sweep.workers > 1:
                run_workers(task)
            else:
                work(task, study, scratch)
        finally:
            print(report(run, task.config, study), flush=True)
        if not study.is_done() or find_best_trial(study.list_trials()) is None:
            raise SweepError("no trial was completed, or all workers ended; reasons stand above")
        with study.lock():  # others that are done wait here; if this command is killed, one of them goes on
            if config.sweep.final:
                train_final(run, config, study)
                report(run, task.config, study)
            running = filter_state(study.list_trials(), "RUNNING")
            tracking.end_lost(run.run_id, {trial.user_attrs.get("run_id", "") for trial in running})
    say_where(run)


def prepare(config: Config) -> tuple[Task, GzslDataset, dict[str, Any]]:
    """Check what is asked for and read the data set under the validation protocol.

    Returns the task, the data set, and all that decides the results of the study, by dotted name.
    """
    for name in ("gan", "monitor", "regressor"):
        if not getattr(config, name).train:
            raise InputError("configuration", f"{name}.train", "false", "true, in a sweep")
    threads = config.threads or (1 if config.sweep.workers > 1 else 0)
    half = validation_half(override(config, {"protocol": "final", "threads": threads}), 0, "sweep")
    space = read_space(config.sweep.space, half)
    dataset = load_data(half)
    folder = Path(config.sweep.folder or tracking.local_folder() / "sweeps").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    storage = config.sweep.storage or f"sqlite:///{quote(str(folder / 'optuna.db'))}"
    if storage.startswith("sqlite") and tracking.store_uri().startswith("http"):
        print("trials are kept in a file of this machine; for a study of several machines give sweep.storage")
    facts = {key: value for key, value in flatten(to_dict(half)).items() if key not in NOT_DECIDING}
    facts |= {f"space.{name}": str(entry) for name, entry in space.items()} | {"data digest": dataset.digest}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    name = config.sweep.study or f"{config.data.name or Path(config.data.path).name} {digest[:8]}"
    return Task(half, space, name, storage, folder), dataset, facts


def train_final(run: tracking.Run, config: Config, study: Study) -> None:
    """Train the best and the preset's own setting under the final protocol, over `seeds`, if not yet done."""
    best, seeds = find_best_trial(study.list_trials()), config.seeds or [config.seed]
    done = study.read_note("final") or {}
    if best is None or (done.get("trial"), done.get("seeds")) == (best.number, seeds):
        return
    plain = override(config, {"protocol": "final", "select": False})
    configs = {"best": configure_final(plain, best), "default": plain}
    spreads = {name: spread(run_seeds(run, name, each, seeds, {})) for name, each in configs.items()}
    run.log_scores({**to_metrics(spreads["best"], "best/"), **to_metrics(spreads["default"], "default/")})
    rows = {name: split_protocols(each)["test"] for name, each in spreads.items()}
    table = tabulate_scores(f"test rows, seeds {', '.join(map(str, seeds))}", rows)
    table += "\nBest: epoch and gamma from validation classes. Default: the preset, last epoch, gamma 0.\n"
    write_text(run.folder / "final.md", table)
    study.note("final", {"trial": best.number, "seeds": seeds, "table": table})
    print(f"\n{table}")
