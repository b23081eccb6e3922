"""The one wall between the project and MLflow: runs, their parameters, metrics, artifacts and references between them."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.name_utils import _GENERATOR_NOUNS
from mlflow.utils.uri import is_local_uri
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from cwgan.command_line import flatten, to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError, Stopped, StoreError
from cwgan.files import locked

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # `main` says where to look
CONFIG_FILE = "config.yaml"
STORE_ERRORS = (MlflowException, SQLAlchemyError, RequestException)


@dataclass
class Run:
    """A running MLflow run.

    Args:
        run_id: MLflow's id.
        experiment_id: of the experiment it belongs to.
        folder: where a stage writes its artifacts: the run's own artifact folder where that is on this machine, else a
            temporary one, from which `publish` uploads.
        artifact_uri: where MLflow keeps them.
        scratch: the session's temporary folder.
    """

    run_id: str
    experiment_id: str
    folder: Path
    artifact_uri: str
    scratch: Path
    _sent: dict[str, int] = field(default_factory=dict)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log metrics of one epoch in one call."""
        self._log(metrics, epoch)
        self.publish()

    def log_scores(self, metrics: Mapping[str, float]) -> None:
        """Log final metrics."""
        self._log(metrics, 0)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log in one batch; unlike `mlflow.log_metrics` without reading the run back first."""
        now = int(1000 * time.time())
        MlflowClient().log_batch(
            self.run_id, [Metric(name, value, now, step) for name, value in metrics.items()]
        )

    def log_dataset(self, dataset: GzslDataset) -> None:
        """Record which data the run used: its digest as an MLflow input, its split hash and sizes as tags."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        source = CodeDatasetSource(tags={"path": dataset.source})
        tags = {
            "split_hash": dataset.split_hash,
            "classes": str(dataset.class_count),
            "rows": str(len(dataset.features)),
        }
        record = MetaDataset(source, name=dataset.name, digest=dataset.digest)  # type: ignore[abstract]
        mlflow.log_input(record, context="training and scoring", tags=tags)
        mlflow.set_tags({"data.digest": dataset.digest, "data.split_hash": dataset.split_hash})

    def describe(self, text: str) -> None:
        """Show a Markdown text at the head of the run's page."""
        mlflow.set_tag("mlflow.note.content", text)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, which unlike parameters may change."""
        mlflow.set_tags(dict(tags))

    def publish(self) -> None:
        """Upload what is new in the folder, and delete what a savepoint rule deleted; nothing to do on this machine."""
        if is_local_uri(self.artifact_uri):
            return
        present = {
            str(path.relative_to(self.folder)): path.stat().st_mtime_ns
            for path in self.folder.rglob("[!.]*")
            if path.is_file()
        }
        repository = get_artifact_repository(self.artifact_uri)
        try:
            for name, changed in present.items():
                if self._sent.get(name) != changed:
                    repository.log_artifact(
                        str(self.folder / name), str(Path(name).parent) if "/" in name else None
                    )
            for name in set(self._sent) - set(present):
                repository.delete_artifacts(name)
        except Exception as error:  # every kind of storage raises its own
            raise MlflowException(f"uploading to {self.artifact_uri}: {error}") from error
        self._sent = present


@contextmanager
def session() -> Iterator[Path]:
    """Yield a temporary folder for what is downloaded, or waits for its upload.

    Raises:
        StoreError: for whatever MLflow raises within, in one line; what waited for its upload is kept.
    """
    scratch = Path(tempfile.mkdtemp(prefix="cwgan-"))
    kept = ""
    try:
        _create_store()
        yield scratch
    except STORE_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        kept = (
            f"; files made so far are kept in {scratch}"
            if any(path.is_file() for path in scratch.rglob("*"))
            else ""
        )
        raise StoreError(f"MLflow at {store_uri()}: {reason}{kept}") from error
    finally:
        if not kept:
            shutil.rmtree(scratch)


@contextmanager
def run(
    stage: str,
    config: Config,
    sections: Sequence[str],
    references: Mapping[str, str],
    scratch: Path,
    is_child: bool = False,
    parent: str = "",
    reopen: str = "",
) -> Iterator[Run]:
    """Open the run of a stage, log its parameters and resolved configuration, and close it whatever happens.

    Under `mlflow run` the run that MLflow made is continued. An error ends it as FAILED with the message in the tag
    `error`, an interruption or a `Stopped` as KILLED; all go on upwards.

    Args:
        stage: name of the stage; with the data set's, the name of the run.
        config: resolved.
        sections: the parts of it that the stage uses, which become parameters.
        references: the stage's other parameters.
        scratch: of the session; holds the folder of a run whose artifacts are kept elsewhere.
        is_child: whether it is a child of the run that is open now.
        parent: id of a run of another process whose child it is.
        reopen: id of an ended run that is gone on with.
    """
    if config.experiment and not (is_child or parent or reopen):
        _choose_experiment(config.experiment)
    if parent:
        place = MlflowClient().get_run(parent).info.experiment_id
        info = mlflow.start_run(parent_run_id=parent, experiment_id=place).info
    else:
        info = mlflow.start_run(run_id=reopen or None, nested=is_child).info
    try:
        is_local = is_local_uri(info.artifact_uri)
        folder = Path(local_file_uri_to_path(info.artifact_uri)) if is_local else scratch / info.run_id
        folder.mkdir(parents=True, exist_ok=True)
        started = Run(info.run_id, info.experiment_id, folder, info.artifact_uri, scratch)
        name = f"{stage} {config.data.name or Path(config.data.path).name}"
        if parent:
            name = stage
        elif not is_child:
            name = config.run_name or (name if _is_invented(info.run_name) else info.run_name)
        mlflow.set_tags({"mlflow.runName": name, "stage": stage})
        # So that the UI opens the experiment as one of training runs, not of language-model traces.
        MlflowClient().set_experiment_tag(
            info.experiment_id, "mlflow.experimentKind", "custom_model_development"
        )
        values = {
            key: value
            for key, value in flatten(to_dict(config)).items()
            if "." not in key or key.split(".")[0] in sections
        }
        # `mlflow run` has logged what was given to it; a second spelling of the same value would be refused.
        known = MlflowClient().get_run(info.run_id).data.params
        mlflow.log_params({key: value for key, value in {**values, **references}.items() if key not in known})
        (folder / CONFIG_FILE).write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
        try:
            yield started
        finally:
            started.publish()  # of a run that failed too: its savepoints are worth as much
    except BaseException as error:
        is_killed = isinstance(error, KeyboardInterrupt | Stopped)
        with suppress(*STORE_ERRORS):  # what went wrong matters more than that MLflow cannot be told
            if not is_killed:
                mlflow.set_tag("error", f"{type(error).__name__}: {error}"[:5000])
        with suppress(*STORE_ERRORS):
            mlflow.end_run("KILLED" if is_killed else "FAILED")
        raise
    mlflow.end_run()


def adopt(parent: str, name: str) -> None:
    """Make the run that `mlflow run` opened for this process, if any, a child of a run that does its work."""
    if run_id := os.environ.pop("MLFLOW_RUN_ID", ""):
        client = MlflowClient()
        client.set_tag(run_id, "mlflow.parentRunId", parent)
        client.set_tag(run_id, "mlflow.runName", name)


def exists(run_id: str) -> bool:
    """Whether there is a run of that id which has not been deleted."""
    try:
        return bool(MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def end_lost(run_id: str, reason: str) -> None:
    """End as FAILED a run whose process is gone; one that has ended stays as it is."""
    client = MlflowClient()
    if exists(run_id) and client.get_run(run_id).info.status == "RUNNING":
        client.set_tag(run_id, "error", reason)
        client.set_terminated(run_id, "FAILED")


def end_lost_below(parent: str, alive: Set[str]) -> None:
    """End as FAILED the running descendants of a run, less those that are known to be alive and those `adopt` made."""
    client = MlflowClient()
    for child in _children(client, client.get_run(parent)):
        if child.info.run_id not in alive and "stage" in child.data.tags and child.info.status == "RUNNING":
            end_lost_below(child.info.run_id, alive)
            end_lost(child.info.run_id, "its process is gone")


def note_error(message: str) -> None:
    """Say in the run that `mlflow run` made why no stage opened it."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        with suppress(*STORE_ERRORS):  # the error itself has been reported already
            MlflowClient().set_tag(run_id, "error", message[:5000])


def resolve(reference: str, artifact: str, parameter: str, scratch: Path) -> Path:
    """Return the local file behind a run id or a path.

    Args:
        reference: a file; a folder that holds `artifact`; a run id; or <run id>/<artifact path>. For a run of `main`,
            the stage among its children that made the artifact is found.
        artifact: the file name looked for.
        parameter: whose value this is, for errors.
        scratch: of the session; holds what must be downloaded.

    Raises:
        InputError: nothing of that name, or a run without the artifact.
    """
    path = Path(reference).resolve()
    if path.is_file():
        return path
    if (path / artifact).is_file():
        return path / artifact
    allowed = f"a run id, <run id>/<artifact>, a file, or a folder with {artifact} in it (relative paths start at {Path.cwd()})"
    run_id, _, within = reference.removeprefix("runs:/").partition("/")
    run_id = run_id.lower()
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        found = (
            f"no {artifact} in the folder {path}"
            if path.is_dir()
            else f"neither run id nor file: {reference!r}"
        )
        raise InputError(f"--{parameter}", "reference", found, allowed)
    client = MlflowClient()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(f"--{parameter}", "run id", f"no run {run_id} in {store_uri()}", allowed) from None
    wanted = within or artifact
    owners = (
        [run]
        if _has(client, run, wanted)
        else [child for child in _children(client, run) if _has(client, child, wanted)]
    )
    if len(owners) > 1:
        found = f"{len(owners)} children that have {wanted}"
        raise InputError(
            f"--{parameter}",
            f"run {run_id}",
            found,
            f"one of them: {', '.join(owner.info.run_id for owner in owners)}",
        )
    if not owners:
        present = ", ".join(item.path for item in client.list_artifacts(run_id)) or "nothing"
        raise InputError(
            f"--{parameter}", f"run {run_id}", f"no artifact {wanted} (it has {present})", allowed
        )
    owner = owners[0].info
    if is_local_uri(owner.artifact_uri):  # MLflow would leave a copy of it in a temporary folder
        return Path(local_file_uri_to_path(owner.artifact_uri)) / wanted
    return Path(
        download_artifacts(run_id=owner.run_id, artifact_path=wanted, dst_path=str(scratch / parameter))
    )


def store_uri() -> str:
    """Return the address of the tracking store."""
    return mlflow.get_tracking_uri()


def local_folder() -> Path:
    """Return the folder of the store's SQLite file, or the working folder where the store is elsewhere."""
    place = store_uri().removeprefix("sqlite:///")
    return Path.cwd() if place == store_uri() else Path(place).resolve().parent


def _create_store() -> None:
    """Make first contact with a SQLite store, one process at a time: those that create it at once would break it."""
    place = store_uri().removeprefix("sqlite:///")
    if place == store_uri() or "MLFLOW_RUN_ID" in os.environ:  # `mlflow run` has made it
        return
    with locked(Path(f"{place}.lock")):
        MlflowClient().search_experiments(max_results=1)


def _choose_experiment(name: str) -> None:
    if "MLFLOW_RUN_ID" in os.environ:
        raise InputError(
            "configuration",
            "experiment",
            repr(name),
            "nothing under `mlflow run`, which has --experiment-name for it",
        )
    mlflow.set_experiment(name)


def _is_invented(name: str) -> bool:
    """Whether MLflow made up a run's name, as in 'bedecked-owl-123'."""
    return any(f"-{noun}-" in name for noun in _GENERATOR_NOUNS)


def _children(client: MlflowClient, parent: MlflowRun) -> list[MlflowRun]:
    return list(
        client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    )


def _has(client: MlflowClient, candidate: MlflowRun, path: str) -> bool:
    parent = str(Path(path).parent)
    listed = client.list_artifacts(candidate.info.run_id, None if parent == "." else parent)
    return any(item.path == path for item in listed)
