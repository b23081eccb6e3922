"""The one wall between the project and MLflow: runs, their parameters, metrics, artifacts and references between them."""

import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import mlflow
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from cwgan.command_line import flatten, to_dict
from cwgan.config import Config
from cwgan.data import GzslDataset
from cwgan.errors import InputError

CONFIG_FILE = "config.yaml"


@dataclass
class Run:
    """A running MLflow run.

    Args:
        run_id: MLflow's id.
        experiment_id: of the experiment it belongs to.
        folder: where a stage writes its artifacts: the run's own artifact folder where that is on this machine, else a
            temporary one, from which `publish` uploads.
        is_local: whether `folder` is the run's artifact folder.
    """

    run_id: str
    experiment_id: str
    folder: Path
    is_local: bool
    _sent: dict[str, int] | None = None

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log metrics of one epoch in one call."""
        mlflow.log_metrics(dict(metrics), step=epoch, run_id=self.run_id)
        self.publish()

    def log_scores(self, metrics: Mapping[str, float]) -> None:
        """Log final metrics."""
        mlflow.log_metrics(dict(metrics), run_id=self.run_id)

    def log_dataset(self, dataset: GzslDataset) -> None:
        """Record which data the run used: its digest as an MLflow input, its split hash and sizes as tags."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        source = CodeDatasetSource(tags={"path": dataset.source})
        tags = {"split_hash": dataset.split_hash, "classes": str(dataset.class_count), "rows": str(len(dataset.features))}
        record = MetaDataset(source, name=dataset.name, digest=dataset.digest)  # type: ignore[abstract]
        mlflow.log_input(record, context="training and scoring", tags=tags)
        mlflow.set_tags({"data.digest": dataset.digest, "data.split_hash": dataset.split_hash})

    def publish(self) -> None:
        """Upload what is new in the folder, and delete what a savepoint rule deleted; nothing to do on this machine."""
        if self.is_local:
            return
        sent = self._sent if self._sent is not None else {}
        present = {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in self.folder.rglob("[!.]*") if path.is_file()}
        repository = get_artifact_repository(mlflow.get_artifact_uri())
        for name, changed in present.items():
            if sent.get(name) != changed:
                parent = str(Path(name).parent)
                mlflow.log_artifact(str(self.folder / name), None if parent == "." else parent)
        for name in set(sent) - set(present):
            repository.delete_artifacts(name)
        self._sent = present


@contextmanager
def run(stage: str, config: Config, sections: Sequence[str], references: Mapping[str, str], nested: bool = False) -> Iterator[Run]:
    """Open the run of a stage, log its parameters and resolved configuration, and close it whatever happens.

    Under `mlflow run` the run that MLflow made is continued. An error ends it as FAILED with the message in the tag
    `error`, an interruption as KILLED; both go on upwards.

    Args:
        stage: name of the stage; with the data set's, the name of the run.
        config: resolved.
        sections: the parts of it that the stage uses, which become parameters.
        references: the stage's other parameters.
        nested: whether this is a child of the run that is open now.
    """
    if config.experiment and not nested and not mlflow.active_run():
        mlflow.set_experiment(config.experiment)
    data_name = config.data.name or Path(config.data.path).name
    with _interruptible(), tempfile.TemporaryDirectory(prefix="cwgan-") as spare:
        active = mlflow.start_run(nested=nested)
        status = "FAILED"
        try:
            mlflow.set_tags({"mlflow.runName": config.run_name or f"{stage} {data_name}", "stage": stage})
            local = is_local_uri(active.info.artifact_uri)
            folder = Path(local_file_uri_to_path(active.info.artifact_uri)) if local else Path(spare)
            folder.mkdir(parents=True, exist_ok=True)
            started = Run(active.info.run_id, active.info.experiment_id, folder, local)
            values = {key: value for key, value in flatten(to_dict(config)).items() if "." not in key or key.split(".")[0] in sections}
            values.update({name: value for name, value in references.items() if value})
            # `mlflow run` has logged what was given to it; a second spelling of the same value would be refused.
            known = MlflowClient().get_run(active.info.run_id).data.params
            mlflow.log_params({key: value for key, value in values.items() if key not in known})
            (folder / CONFIG_FILE).write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
            started.publish()
            yield started
            started.publish()
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        except BaseException as error:
            mlflow.set_tag("error", f"{type(error).__name__}: {error}"[:5000])
            raise
        finally:
            mlflow.end_run(status)


def resolve(reference: str, artifact: str, parameter: str) -> Path:
    """Return the local file behind a run id or a path.

    Args:
        reference: a file; a folder that holds `artifact`; a run id; or <run id>/<artifact path>. For a run of `main`,
            the stage among its children that made the artifact is found.
        artifact: the file name looked for.
        parameter: whose value this is, for errors.

    Raises:
        InputError: nothing of that name, or a run without the artifact.
    """
    path = Path(reference)
    if path.is_file():
        return path.resolve()
    if path.is_dir() and (path / artifact).is_file():
        return (path / artifact).resolve()
    run_id, _, within = reference.partition("/")
    allowed = f"a run id, or the path of a file, or of a folder with {artifact} in it (relative paths start at the project's folder)"
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        raise InputError(f"--{parameter}", "reference", f"{reference!r}, which is neither", allowed)
    client = MlflowClient()
    try:
        found = client.get_run(run_id)
    except MlflowException:
        raise InputError(f"--{parameter}", "run id", f"no run {run_id} in {mlflow.get_tracking_uri()}", allowed) from None
    wanted = within or artifact
    for candidate in (found, *_children(client, found)):
        if _has(client, candidate, wanted):
            return Path(download_artifacts(run_id=candidate.info.run_id, artifact_path=wanted))
    present = ", ".join(item.path for item in client.list_artifacts(run_id)) or "nothing"
    raise InputError(f"--{parameter}", f"run {run_id}", f"no artifact {wanted} (it has {present})", allowed)


def store_uri() -> str:
    """Return the address of the tracking store."""
    return mlflow.get_tracking_uri()


def _children(client: MlflowClient, parent: MlflowRun) -> list[MlflowRun]:
    return list(client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"))


def _has(client: MlflowClient, candidate: MlflowRun, path: str) -> bool:
    parent = str(Path(path).parent)
    listed = client.list_artifacts(candidate.info.run_id, None if parent == "." else parent)
    return any(item.path == path for item in listed)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a polite kill end a run as an interruption does."""

    def interrupt(signum: int, frame: FrameType | None) -> Any:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever is will close the run
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
