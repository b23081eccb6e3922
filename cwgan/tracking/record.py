"""What an open MLflow run keeps: metrics, data, texts, tags and files."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from cwgan import pages
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError, first_line
from cwgan.files import write_text
from cwgan.tracking.store import REFUSALS, STORE_ERRORS, impatient, insist

MOST_METRICS = 1000  # of one call
SECONDS_OF_QUIET = 10  # until a store that was away is asked again
PROGRESS_FILE = "progress.json"  # what `Run.remember` remembers
NOTE = "mlflow.note.content"  # the text at the head of a run's page


@dataclass
class Run:
    """A running MLflow run.

    A stage writes its artifacts into `folder`: where MLflow keeps them, if that is on this machine; else a
    folder in the session's `scratch`, from which `publish` uploads them. With `is_resumed` it goes on
    with what an interrupted process logged and left there.
    """

    run_id: str
    experiment_id: str
    folder: Path
    artifact_uri: str
    scratch: Path
    references: Mapping[str, str] = field(default_factory=dict)
    is_resumed: bool = False
    note: str = ""  # the user's own, above what is described
    tags: Mapping[str, str] = field(default_factory=dict)  # when it was opened
    _sent: dict[str, int] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)  # the last one of every metric, then
    _waiting: list[Metric] = field(default_factory=list)
    _quiet_until: float = 0.0

    @property
    def project(self) -> str:
        """The project as `mlflow run` takes it: a folder, or an address of git."""
        source = self.tags.get("mlflow.source.name", ".")
        return local_file_uri_to_path(source) if source.startswith("file:") else source

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log metrics of one epoch in one call, and upload what is new.

        While the store is away, both wait here for a later call, or for the end of the run.
        """
        self._collect(metrics, epoch)
        if time.monotonic() < self._quiet_until:
            return
        try:
            with impatient():
                self.publish()
        except STORE_ERRORS as error:
            if getattr(error, "error_code", "") in REFUSALS:
                raise
            print(f"warning: MLflow is away, logs wait: {first_line(error)}", file=sys.stderr)
            self._quiet_until = time.monotonic() + SECONDS_OF_QUIET

    def log_scores(self, metrics: Mapping[str, float], epoch: int = 0) -> None:
        """Log metrics in one call; unlike `mlflow.log_metrics` without reading the run back first."""
        self._collect(metrics, epoch)
        self._send()

    def _collect(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Put metrics into the queue, less those that the run had when it was opened."""
        now = int(1000 * time.time())
        new = {name: value for name, value in metrics.items() if epoch > self._steps.get(name, -1)}
        self._waiting += [Metric(name, value, now, epoch) for name, value in new.items()]

    def _send(self) -> None:
        while self._waiting:
            MlflowClient().log_batch(self.run_id, self._waiting[:MOST_METRICS])
            del self._waiting[:MOST_METRICS]

    def remember(self, name: str, work: Callable[[], Any]) -> Any:
        """Return what a piece of work gives, as JSON holds it; in a resumed run what it gave before."""
        path = self.folder / PROGRESS_FILE
        done = json.loads(path.read_text()) if path.is_file() else {}
        if not (self.is_resumed and name in done):
            done[name] = work()
            write_text(path, json.dumps(done))
            self.log({}, 0)
        return json.loads(json.dumps(done[name]))

    def log_dataset(self, dataset: GzslDataset) -> None:
        """Record which data the run used: its digest as an MLflow input, its split hash and sizes as tags.

        InputError if the run was begun with other data.
        """
        facts = {"data.digest": dataset.digest, "data.split_hash": dataset.split_hash}
        for name, value in facts.items() if self.is_resumed else ():
            if value != (known := self.tags.get(name, value)):
                raise InputError(dataset.source, name, value, f"{known}, that of the run that is resumed")
        source = CodeDatasetSource(tags={"path": dataset.source})
        sizes = {"classes": str(dataset.class_count), "rows": str(len(dataset.features))}
        record = MetaDataset(source, name=dataset.name, digest=dataset.digest)  # type: ignore[abstract]
        insist(mlflow.log_input, record, "training and scoring", {"split_hash": dataset.split_hash, **sizes})
        self.tag(facts)

    def take_data(self, child: "Run") -> None:
        """Record the data of a child here as well."""
        kept = MlflowClient().get_run(child.run_id)
        inputs = kept.inputs.dataset_inputs if kept.inputs else []
        insist(MlflowClient().log_inputs, self.run_id, inputs)
        self.tag({key: value for key, value in kept.data.tags.items() if key.startswith("data.")})

    def describe(self, text: str) -> None:
        """Show a Markdown text at the head of the run's page, below the user's note."""
        self.tag({NOTE: f"{self.note}\n\n{pages.widen_tables(text)}".strip()})

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, which unlike parameters may change."""
        MlflowClient().log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def publish(self) -> None:
        """Send what waits; upload what is new in the folder, and delete there what is gone."""
        self._send()
        if is_local_uri(self.artifact_uri):
            return
        present = self._list_files()
        repository = get_artifact_repository(self.artifact_uri)
        try:
            for name, changed in present.items():
                if self._sent.get(name) != changed:
                    repository.log_artifact(str(self.folder / name), os.path.dirname(name) or None)
                    self._sent[name] = changed
            for name in self._sent.keys() - present:
                repository.delete_artifacts(name)
                del self._sent[name]
        except Exception as error:  # every kind of storage raises its own
            raise MlflowException(f"uploading to {self.artifact_uri}: {error}") from error

    def fetch(self) -> None:
        """Bring here what an interrupted process has logged and uploaded."""
        client = MlflowClient()
        for name in client.get_run(self.run_id).data.metrics:
            self._steps[name] = max(point.step for point in client.get_metric_history(self.run_id, name))
        if not is_local_uri(self.artifact_uri):
            get_artifact_repository(self.artifact_uri).download_artifacts("", str(self.folder))
            self._sent = self._list_files()

    def _list_files(self) -> dict[str, int]:
        """Return the time of the last change of every file in the folder, by relative name."""
        files = [path for path in self.folder.rglob("[!.]*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in files}
