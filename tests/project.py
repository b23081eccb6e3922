"""`mlflow run` of this project, as a user of another folder gives it."""

import multiprocessing
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]


def environment(folder: Path) -> dict[str, str]:
    """Of a process whose store is in a folder, and which shares the machine with others."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return {
        **kept,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PWD": str(folder),
    }


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["mlflow.cli", "mlflow.projects", "mlflow.store.tracking.sqlalchemy_store"])
"""Starts processes that need not import MLflow, as one has done it for all of them."""


def mlflow(folder: Path, said: Path, *arguments: str) -> None:
    """Be the command `mlflow` in a folder, with this environment; what it says goes into files."""
    given = environment(folder)
    os.environ.clear()
    os.environ.update(given)
    os.chdir(folder)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / name, os.O_CREAT | os.O_WRONLY), stream)
    from mlflow.cli import cli

    cli.main(arguments, prog_name="mlflow")


def mlflow_run(
    folder: Path, entry_point: str, *parameters: str, options: tuple[str, ...] = ()
) -> SimpleNamespace:
    """Run an entry point from a folder; tell how it ended, and the id of its run."""
    given = [part for parameter in ("threads=1", *parameters) for part in ("-P", parameter)]
    with TemporaryDirectory() as said:
        project = Path(said) / "project"
        project.symlink_to(ROOT)  # as MLflow takes what follows a # in a project's path for a folder within
        command = ["run", str(project), "--env-manager", "local", "-e", entry_point, *options, *given]
        process = FORKS.Process(target=mlflow, args=(folder, Path(said), *command))
        process.start()
        process.join()
        out, err = ((Path(said) / name).read_text() for name in ("out", "err"))
    run_id = re.search(r"in run with ID '(\w+)'", err)
    return SimpleNamespace(status=process.exitcode, out=out, err=err, id=run_id[1] if run_id else "")
