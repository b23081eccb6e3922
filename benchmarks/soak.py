"""What a deployment does to a training, for a long time; the results must not show it.

Kills: roads are killed with SIGKILL at random moments and resumed, again and again. What they leave is
compared bit for bit with a road that nobody interrupted.

Run: python -m benchmarks.soak [--quick]
"""

import hashlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import h5py
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.numpy import load_file

from benchmarks.timing import print_table
from cwgan.launch import launch
from entrypoints.main import COMMAND

TINY = {
    **{
        "threads": 1,
        "gan.hidden_size": 64,
        "gan.epochs": 6,
        "gan.snapshots": 2,
        "gan.save.every": 2,
        "gan.save.keep": 1,
    },
    **{"gan.save.best_by": "monitor_accuracy", "gan.save.resume_every": 1e-3, "monitor.epochs": 2},
    **{"regressor.epochs": 2, "classifier.epochs": 3, "generate.counts": [20]},
}
SELECT = {"select": True, "folds": 2, "generate.source": "auto"}
Process = multiprocessing.process.BaseProcess


class Road:
    """A road from features to scores, in an experiment of its own, gone by as many processes as it takes."""

    def __init__(self, folder: Path, name: str, flags: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.uri = folder, name, f"sqlite:///{folder}/mlflow.db"
        self.flags = {**flags, "experiment": name}

    def start(self) -> Process:
        """Start the road, or go on with it."""
        resume = [
            f"--resume={run.info.run_id}" for run in self.list_runs() if run.data.tags["stage"] == "main"
        ]
        flags = resume or [f"--{name}={value}" for name, value in self.flags.items()]
        context = multiprocessing.get_context("forkserver")  # so that nothing is imported anew
        context.set_forkserver_preload(["cwgan.experiment.side_by_side"])
        process = context.Process(target=_go, args=(self.folder, self.name, self.uri, flags))
        process.start()
        return process

    def list_runs(self) -> list[Run]:
        """Return the runs that were begun, the newest first."""
        if not (self.folder / "mlflow.db").is_file():
            return []
        client = MlflowClient(self.uri)
        found = client.get_experiment_by_name(self.name)
        return list(client.search_runs([found.experiment_id])) if found else []

    def summarize(self) -> dict[str, Any]:
        """Return what no interruption may change: of every stage the curves, and digests of its files."""
        client, found = MlflowClient(self.uri), dict[str, Any]()
        for run in self.list_runs():
            stage, curves = run.data.tags["stage"], dict[str, list[tuple[int, float]]]()
            assert stage not in found, f"two runs of {stage}"
            for name in run.data.metrics.keys() - {name for name in run.data.metrics if "seconds" in name}:
                points = client.get_metric_history(run.info.run_id, name)
                curves[name] = [(point.step, point.value) for point in points]
            folder = self.folder / "mlruns" / run.info.experiment_id / run.info.run_id / "artifacts"
            files = [path for path in folder.rglob("*") if path.suffix in DIGESTS]
            digests = {str(path.relative_to(folder)): DIGESTS[path.suffix](path) for path in files}
            models = client.search_logged_models(
                [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
            )
            found[stage] = {"status": run.info.status, "curves": curves, "files": digests}
            found[stage]["models"] = len(models)
        return found


def _go(folder: Path, name: str, uri: str, flags: Sequence[str]) -> None:
    os.environ |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        chdir(folder),
        open(f"{name}.txt", "a", buffering=1) as said,
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        sys.exit(launch(COMMAND, list(flags)))


def _digest_tensors(path: Path) -> str:
    tensors = sorted(load_file(path).items())
    return _digest(b"".join(key.encode() + value.tobytes() for key, value in tensors))


def _digest_rows(path: Path) -> str:
    found = dict[str, bytes]()

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":  # text holds paths and times
            found[name] = item[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(note)
    return _digest(b"".join(key.encode() + value for key, value in sorted(found.items())))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


DIGESTS = {
    ".safetensors": _digest_tensors,
    ".h5": _digest_rows,
    ".csv": lambda path: _digest(path.read_bytes()),
}
DIGESTS[".json"] = lambda path: json.loads(path.read_text()) if path.name == "results.json" else None


def kill_and_resume(folder: Path, flags: dict[str, Any], kills: int, seed: int = 0) -> dict[str, int]:
    """Kill roads at random moments, so often in all; return counts: kills, roads, and those that differ."""
    moments, unbroken = random.Random(seed), Road(folder, "unbroken", flags)
    began = time.monotonic()
    _check(unbroken, unbroken.start())
    seconds, wanted = time.monotonic() - began, unbroken.summarize()
    counted = {"kills": 0, "roads": 0, "differ": 0}
    while counted["kills"] < kills:
        road = Road(folder, f"road-{counted['roads']}", flags)
        while True:
            process = road.start()
            process.join(moments.uniform(0, 0.7 * seconds) if counted["kills"] < kills else None)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            counted["kills"] += 1
        _check(road, process)
        counted["roads"] += 1
        counted["differ"] += road.summarize() != wanted
    return counted


def _check(road: Road, process: Process) -> None:
    process.join()
    assert process.exitcode == 0, (road.folder / f"{road.name}.txt").read_text()


def main(quick: bool) -> dict[str, dict[str, int]]:
    with tempfile.TemporaryDirectory() as temporary:
        cases, kills = {"stages": TINY, "select": {**TINY, **SELECT}}, 3 if quick else 30
        found = {name: kill_and_resume(Path(temporary) / name, flags, kills) for name, flags in cases.items()}
    head = ["kills of main", "kills", "roads", "differ"]
    print_table(head, [[name, *(str(row[key]) for key in head[1:])] for name, row in found.items()])
    return found


if __name__ == "__main__":
    sys.exit(any(row["differ"] for row in main("--quick" in sys.argv).values()))
