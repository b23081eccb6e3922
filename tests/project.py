"""The project's commands as a user of another folder gives them, each in a process of its own."""

import multiprocessing
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Of a process whose store is in a folder, and which shares the machine with others."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    alike = {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return {**kept, **alike, "PWD": str(folder), **variables}


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("mlflow.cli", "mlflow.projects", "mlflow.store.tracking.sqlalchemy_store"),
        *("cwgan.experiment.side_by_side", "cwgan.search.sweep"),
    ]
)
"""Starts processes that need not import anything, as one has done it for all of them."""


def start(
    command: Callable[..., object], *arguments: str, folder: Path, out: Path, err: Path, **variables: str
) -> BaseProcess:
    """Start a command in a folder, with that environment; what it says is written to two files, or one."""
    given = environment(folder, **variables)
    process = FORKS.Process(target=_be, args=(command, arguments, folder, given, (out, err)))
    process.start()
    return process


def _be(command: Callable, arguments: tuple, folder: Path, given: dict[str, str], said: tuple) -> None:
    os.environ.clear()
    os.environ.update(given)
    os.chdir(folder)
    for stream, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
    sys.exit(command(*arguments))


def start_entry_point(name: str, *flags: str, folder: Path, said: Path, **variables: str) -> BaseProcess:
    """Start an entry point in a folder, as `start` does."""
    return start(_launch, name, *flags, folder=folder, out=said, err=said, **variables)


def _launch(name: str, *flags: str) -> int:
    from cwgan.launch import launch

    return launch(import_module(f"entrypoints.{name}").COMMAND, list(flags))


def _mlflow(*arguments: str) -> None:
    from mlflow.cli import cli

    cli.main(arguments, prog_name="mlflow")


def mlflow_run(
    folder: Path, entry_point: str, *parameters: str, options: tuple[str, ...] = ()
) -> SimpleNamespace:
    """Run an entry point from a folder; tell how it ended, and the id of its run."""
    given = [part for parameter in ("threads=1", *parameters) for part in ("-P", parameter)]
    with TemporaryDirectory() as place:
        project = Path(place) / "project"
        project.symlink_to(ROOT)  # as MLflow takes what follows a # in a project's path for a folder within
        command = ["run", str(project), "--env-manager", "local", "-e", entry_point, *options, *given]
        said = {name: Path(place) / name for name in ("out", "err")}
        process = start(_mlflow, *command, folder=folder, **said)
        process.join()
        out, err = (path.read_text() for path in said.values())
    run_id = re.search(r"in run with ID '(\w+)'", err)
    return SimpleNamespace(status=process.exitcode, out=out, err=err, id=run_id[1] if run_id else "")
