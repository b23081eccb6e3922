"""A folder with a store of its own, where tests run sweeps at tiny size and look at what they leave."""

import io
import os
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import mlflow
from mlflow.entities import Run
from project import start_entry_point

from cwgan.launch import launch
from entrypoints import sweep

TINY = """
threads: 1
monitor: {epochs: 1, batch_size: 512}
regressor: {epochs: 1, batch_size: 256}
gan: {epochs: 3, hidden_size: 64, score_every: 1, generator_lr: 3.0e-3, cycle_weight: 0.01}
generate: {counts: [30]}
classifier: {epochs: 6, batch_size: 128, lr: 1.0e-2}
sweep: {trials_per_gan: 3, heartbeat: 1, objective: H}
"""


class Place:
    """A folder with a store of its own, where sweeps are run and looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        (folder / "tiny.yaml").write_text(TINY)

    def start(self, said: str, **flags: object) -> BaseProcess:
        """Start a sweep that says in a file what it does; return when it has its parent run."""
        given = [f"--{name}={value}" for name, value in {"config": "tiny.yaml", **flags}.items()]
        place = {"folder": self.folder, "said": self.folder / said}
        process = start_entry_point("sweep", *given, **place, MLFLOW_TRACKING_URI=self.uri)
        # Whoever asks MLflow before may break the store that is being made.
        while not (place["said"].is_file() and "parent run" in place["said"].read_text()):
            assert process.is_alive(), place["said"].read_text()
            time.sleep(0.1)
        return process

    def sweep(self, status: int = 0, **flags: object) -> str:
        """Run a sweep in this process, which need not import everything anew; return what it said."""
        given = [f"--{name}={value}" for name, value in {"config": "tiny.yaml", **flags}.items()]
        said = io.StringIO()
        environment = patch.dict(os.environ, {"MLFLOW_TRACKING_URI": self.uri})
        with environment, chdir(self.folder), redirect_stdout(said), redirect_stderr(said):
            found = launch(sweep.COMMAND, given)
        assert found == status, said.getvalue()
        return said.getvalue()

    def runs(self, parent: Run | None = None) -> list[Run]:
        """Return the children of a run, or the runs that have no parent, oldest first."""
        wanted = parent.info.run_id if parent else None
        mlflow.set_tracking_uri(self.uri)
        order = {"search_all_experiments": True, "output_format": "list", "order_by": ["start_time ASC"]}
        with chdir(self.folder):  # whoever asks first makes the store, and its artifacts lie where he is
            found = mlflow.search_runs(**order)
        mlflow.set_tracking_uri(None)
        return [run for run in found if run.data.tags.get("mlflow.parentRunId") == wanted]

    def trials(self, parent: Run) -> list[Run]:
        return [run for run in self.runs(parent) if "trial_number" in run.data.tags]

    def artifacts(self, run: Run) -> Path:
        return self.folder / "mlruns" / run.info.experiment_id / run.info.run_id / "artifacts"
