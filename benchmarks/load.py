"""Large numbers: of synthetic rows, of trials in a sweep, of metric points in a run.

Rows are generated and trained on by the project's commands, whose own memory is limited to 4 GB. The sweep is
the real one on PostgreSQL, but for its objective, which sleeps. Points are logged as a training logs them.

Run: python -m benchmarks.load [--quick]
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import optuna
import torch
from mlflow import MlflowClient

from benchmarks.timing import machine, print_table
from cwgan import tracking
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.gan.training import scored_epochs
from cwgan.launch import launch
from cwgan.search import worker
from cwgan.search.kept import KeptGan
from cwgan.search.study import Task
from cwgan.stages.job import Job
from entrypoints import sweep
from tests.postgres import Postgres

ROOT = Path(__file__).resolve().parent.parent
SEEN, UNSEEN, ATTRIBUTES, FEATURES = 645, 72, 102, 2048  # SUN's
MEMORY = 4 * 10**9  # bytes
WORKERS, WORK = 8, 2.0  # seconds of an objective
MOST_OVERHEAD = 0.5  # CPU seconds a trial
EDGE = 10  # the first and the last of so many parts of a sweep are shown
Row = dict[str, float]


def handle_rows(folder: Path, count: int) -> dict[str, Row]:
    """Make rows of 717 classes, so many of each, and train a classifier on them; what each command takes."""
    _make_data(folder / "data")
    found = dict[str, Row]()

    def run(name: str, *flags: str) -> Path:
        found[name], run_id = _measure(folder, name, *flags)
        found[name] |= {"rows": (SEEN + UNSEEN) * count, "GB": 4e-9 * (SEEN + UNSEEN) * count * FEATURES}
        return next(folder.glob(f"mlruns/*/{run_id}/artifacts"))

    steps = ("--gan.epochs=1", "--gan.epoch_steps=5", "--gan.snapshots=1", "--monitor.epochs=1")
    gan = run("train_gan", f"--data.path={folder}/data", *steps)
    del found["train_gan"]
    made = run("generate", f"--gan={gan}", "--generate.domain=all", f"--generate.counts=[{count},{count}]")
    run("train_cls", f"--synthetic={made}", "--classifier.epochs=1")
    return found


def _make_data(folder: Path) -> None:
    """Write a data set of SUN's size: 20 training rows a class, and two test rows."""
    rng = torch.Generator().manual_seed(0)
    classes = torch.arange(SEEN + UNSEEN)
    labels = torch.cat([classes[:SEEN].repeat_interleave(20), classes.repeat_interleave(2)])
    means = torch.rand(len(classes), FEATURES, generator=rng)
    features = (means[labels] + 0.3 * torch.randn(len(labels), FEATURES, generator=rng)).relu()
    trainval, test = torch.arange(len(labels)).split([20 * SEEN, 2 * len(classes)])
    splits = trainval, trainval[:0], trainval[:0], test[: 2 * SEEN], test[2 * SEEN :]
    attributes, names = torch.rand(len(classes), ATTRIBUTES, generator=rng), map(str, classes.tolist())
    save_hdf5(GzslDataset("large", "here", features, labels, attributes, tuple(names), *splits), folder)


def _measure(folder: Path, name: str, *flags: str) -> tuple[Row, str]:
    """Run a command whose own memory is limited; return its seconds and gigabytes, and its run's id."""
    environment = {**os.environ, **_places(folder), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    command = [sys.executable, "-m", f"entrypoints.{name}", "--threads=2", *flags]
    began, peaks = time.perf_counter(), {"RssAnon": 0.0, "VmHWM": 0.0}
    with open(folder / f"{name}.txt", "w+") as said:
        pipes = {"stdout": said, "stderr": said}
        process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY, MEMORY))
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            for key, value in re.findall(r"(RssAnon|VmHWM):\s+(\d+) kB", status):
                peaks[key] = max(peaks[key], 1024e-9 * int(value))
            time.sleep(0.05)
        said.seek(0)
        text = said.read()
    assert process.returncode == 0, text
    row = {"own memory GB": peaks["RssAnon"], "with pages of files GB": peaks["VmHWM"]}
    return {**row, "seconds": time.perf_counter() - began}, re.findall(rf"{name} run (\w+)", text)[0]


def search(folder: Path, trials: int) -> dict[str, float]:
    """Run a sweep of so many trials; return those that were lost, and seconds a trial beside the objective.

    That is from the beginning of a worker's trial to that of its next one, less the objective; on a machine
    that is short of cores, the CPU seconds say more.
    """
    server = Postgres()
    try:
        server.start()
        for database in ("optuna", "mlflow"):
            server.call("createdb", "-h", "127.0.0.1", "-p", server.port, "-U", "cwgan", database)
        environment = {**os.environ, **_places(folder), "MLFLOW_TRACKING_URI": server.url("mlflow")}
        flags = [f"--sweep.trials={trials}", f"--sweep.workers={WORKERS}", "--sweep.study=load"]
        command = [sys.executable, "-m", "benchmarks.load", "--sweep", *flags]
        command += [f"--sweep.storage={server.url('optuna')}", "--gan.score_every=5"]
        with open(folder / "sweep.txt", "w") as said:
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=said, stderr=said)
        found = optuna.load_study(study_name="load", storage=server.url("optuna")).trials
        client = MlflowClient(server.url("mlflow"))
        kept = len(_list_ended(client))
    finally:
        server.remove()
    edge, costs = trials // EDGE, [cost for _, *cost in sorted(_list_costs(found))]
    edges = {}
    for name, part in {f"first {edge}": costs[:edge], f"last {edge}": costs[-edge:]}.items():
        seconds, busy = zip(*part, strict=True)
        edges |= {f"{name}: s": mean(seconds), f"{name}: CPU s": mean(busy)}
    ended = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in found)
    return {"trials": trials, "lost": 2 * trials - ended - kept, **edges}


def _list_costs(trials: Sequence[Any]) -> Iterator[tuple[int, float, float]]:
    """Yield complete trials' numbers, with seconds less the objective, and CPU seconds, to the next trial."""
    for name in {trial.user_attrs["worker"] for trial in trials}:
        own = [trial for trial in trials if trial.user_attrs["worker"] == name]
        for trial, after in pairwise(sorted(own, key=lambda one: one.datetime_start)):
            whole = (after.datetime_start - trial.datetime_start).total_seconds()
            if trial.state.name == after.state.name == "COMPLETE":
                busy = after.user_attrs["seconds/cpu"] - trial.user_attrs["seconds/cpu"]
                yield trial.number, whole - WORK, busy


def _list_ended(client: MlflowClient) -> list[Any]:
    """Return the runs of trials that are not RUNNING."""
    found = page = client.search_runs(["0"], wanted := "tags.trial_number != ''")
    while page.token:
        page = client.search_runs(["0"], wanted, page_token=page.token)
        found = [*found, *page]
    return [run for run in found if run.info.status in ("FINISHED", "KILLED")]


def _sweep_on_fakes(flags: list[str]) -> int:
    with patch.object(worker, "_work_alone", _work_on_fakes):
        return launch(sweep.COMMAND, flags)


def _work_on_fakes(task: Task) -> None:
    """Be a worker, in a process of its own, whose objective sleeps."""
    with patch.object(worker, "train_and_score", _pretend):
        worker._work_alone(task)


def _pretend(job: Job, seeds: Sequence[int]) -> Iterator[tuple[int, dict[str, float], bool]]:
    """Stand in for `train_and_score`: its epochs, terms and last file, and a formula as the objective."""
    gan, options, epochs = KeptGan(job), job.config, scored_epochs(job.config.gan)
    end = gan.find_generator(options.gan.epochs)
    is_new = not end.is_file()
    for epoch in epochs:
        time.sleep(WORK / len(epochs))
        if epoch == options.gan.epochs:
            end.parent.mkdir(parents=True, exist_ok=True)
            end.touch()
        best = 0.5 - abs(options.gan.cycle_weight - 0.03) / 20 - abs(options.generate.counts[0] - 300) / 2000
        terms = {f"val_{name}": best * epoch / epochs[-1] for name in ("S", "U", "H", "T1", "AUSUC")}
        spent = {"seconds/training": 0.0, "seconds/scoring": WORK, "seconds/cpu": time.process_time()}
        yield (
            epoch,
            {**terms, "val_gamma": 0.0, "gan_trainings": float(is_new), **spent},
            is_new and epoch < epochs[-1],
        )


def log_points(folder: Path, count: int) -> dict[str, float]:
    """Log so many metric points in one run, ten a call, on SQLite; return those lost and the seconds."""
    names, steps = [f"metric_{place}" for place in range(10)], range(1, count // 10 + 1)
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with patch.dict(os.environ, environment), chdir(folder), tracking.session() as scratch:
        with tracking.run("points", Config(), (), {}, scratch) as run:
            began = time.perf_counter()
            for step in steps:
                run.log({name: step / 7 for name in names}, step)
            seconds = time.perf_counter() - began
        found = 0
        for name in names:
            points = MlflowClient().get_metric_history(run.run_id, name)
            found += sum(point.value == point.step / 7 for point in points)
    return {"points": count, "lost": count - found, "seconds": seconds}


def _places(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true", "TMPDIR": str(folder)}


def main(quick: bool) -> bool:
    """Print a table of each; return whether anything was lost or a limit passed."""
    print(machine())
    found = dict[str, dict[str, Row]]()
    for title, work, size in (
        ("rows", handle_rows, 20 if quick else 1000),
        ("sweep, s a trial", lambda *given: {"sweep": search(*given)}, 24 if quick else 2000),
        ("metric points", lambda *given: {"one run": log_points(*given)}, 1000 if quick else 100_000),
    ):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            rows = found[title] = work(Path(folder), size)
        names = next(iter(rows.values()))
        shown = [[name, *(f"{row[key]:.6g}" for key in names)] for name, row in rows.items()]
        print_table([title, *names], shown)
    (trials,), (points,) = found["sweep, s a trial"].values(), found["metric points"].values()
    is_slow = any(value > MOST_OVERHEAD for name, value in trials.items() if "CPU" in name)
    return bool(is_slow or trials["lost"] or points["lost"])


if __name__ == "__main__":
    if "--sweep" in sys.argv:
        sys.exit(_sweep_on_fakes(sys.argv[sys.argv.index("--sweep") + 1 :]))
    sys.exit(main("--quick" in sys.argv))
