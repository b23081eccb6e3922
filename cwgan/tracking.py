"""The one wall to MLflow, which no other file imports: runs, what they keep, and references between them."""

import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mlflow
import yaml
from filelock import FileLock
from mlflow import MlflowClient, MlflowException
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, RunTag
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from cwgan import pages
from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError, Stopped, StoreError, first_line
from cwgan.files import write_text
from cwgan.layers import flatten

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # `main` says where to look
STORE_ERRORS = (MlflowException, SQLAlchemyError, RequestException)
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED")
MOST_METRICS = 1000  # of one call
SECONDS_OF_QUIET = 10  # until a store that was away is asked again
SECONDS_OF_PATIENCE = 10  # for its answer, in the midst of a training
PROGRESS_FILE = "progress.json"  # what `Run.remember` remembers
UNNAMED = re.compile(r"[a-z]+-[a-z]+-\d{1,4}|\w+ never began")  # by a user: bedecked-owl-123 is MLflow's
NOTE = "mlflow.note.content"  # the text at the head of a run's page
NEVER_BEGAN = (
    "**Failed:** `mlflow run` made this run, and its program never began. Is conda missing? Then give \
`--env-manager local`."
)
SOON = 30  # seconds from when `mlflow run` makes a run to when its program says what it is


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
    tags: Mapping[str, str] = field(default_factory=dict)  # when it was opened
    _sent: dict[str, int] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)  # the last one of every metric, then
    _waiting: list[Metric] = field(default_factory=list)
    _quiet_until: float = 0.0

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log metrics of one epoch in one call, and upload what is new.

        While the store is away, both wait here for a later call, or for the end of the run.
        """
        self._collect(metrics, epoch)
        if time.monotonic() < self._quiet_until:
            return
        try:
            with _impatient():
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
        """Have metrics wait that the run did not have when it was opened."""
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
        mlflow.log_input(record, "training and scoring", {"split_hash": dataset.split_hash, **sizes})
        self.tag(facts)

    def take_data(self, child: "Run") -> None:
        """Record the data of a child here as well."""
        kept = MlflowClient().get_run(child.run_id)
        MlflowClient().log_inputs(self.run_id, kept.inputs.dataset_inputs if kept.inputs else [])
        self.tag({key: value for key, value in kept.data.tags.items() if key.startswith("data.")})

    def describe(self, text: str) -> None:
        """Show a Markdown text at the head of the run's page."""
        self.tag({NOTE: pages.widen_tables(text)})

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


@contextmanager
def session() -> Iterator[Path]:
    """Yield a temporary folder for what is downloaded, or waits for its upload.

    Whatever MLflow raises within becomes a StoreError of one line; what waited for its upload is kept.
    """
    scratch = Path(tempfile.mkdtemp(prefix="cwgan-"))
    kept = ""
    try:
        if (place := _store_file()) and "MLFLOW_RUN_ID" not in os.environ:  # else `mlflow run` has made it
            with FileLock(f"{place}.lock"):  # processes that make one store at once would break it
                MlflowClient().search_experiments(max_results=1)
        yield scratch
    except STORE_ERRORS as error:
        if any(path.is_file() for path in scratch.rglob("*")):
            kept = f"; files made so far are kept in {scratch}"
        raise StoreError(f"MLflow at {store_uri()}: {first_line(error)}{kept}") from error
    finally:
        if not kept:
            shutil.rmtree(scratch)


@contextmanager
def run(
    stage: str, config: Config, sections: Sequence[str], references: Mapping[str, str], scratch: Path,
    within: Run | None = None, parent: str = "", reopen: str = "", resume: str = "",
) -> Iterator[Run]:  # fmt: skip
    """Open the run of a stage, log its parameters and configuration, and close it whatever happens.

    Its parameters are `references`, all that was given, and what differs from the defaults in the sections of
    the configuration that the stage uses; the whole configuration is config.yaml. It is a child of the run
    that is open now (`within`), or of the one with the id `parent`, open here or elsewhere, and then named
    `stage` alone.
    `reopen` is the id of an ended run to continue, and `resume` that of an interrupted one, whose children of
    the same stages go on as well; under `mlflow run` the run that MLflow made is continued. An error ends it
    as FAILED with the message in the tag `error`, an interruption or a `Stopped` as KILLED; all are raised
    again.
    """
    resume = resume or (_find_child(within.run_id, stage) if within and within.is_resumed else "")
    if config.experiment and not (within or parent or reopen or resume):
        if "MLFLOW_RUN_ID" in os.environ:
            allowed = "nothing under `mlflow run`, which has --experiment-name for it"
            raise InputError("configuration", "experiment", repr(config.experiment), allowed)
        mlflow.set_experiment(config.experiment)
    start = partial(mlflow.start_run, tags={"stage": stage})  # from its first moment, to be found again
    if parent:
        owner = MlflowClient().get_run(parent).info
        if owner.status != "RUNNING":  # ended by another command of a sweep, which was interrupted
            MlflowClient().update_run(parent, status="RUNNING")
        opened = start(parent_run_id=parent, experiment_id=owner.experiment_id, nested=True)
    else:
        place = within.experiment_id if within else None  # a resumed run's may be none that is set here
        opened = start(run_id=resume or reopen or None, experiment_id=place, nested=within is not None)
    try:
        name = stage if parent else pages.name_run(stage, config, references)
        if not (parent or within):
            named = "" if UNNAMED.fullmatch(opened.info.run_name) else opened.info.run_name
            name = config.run_name or named or name
            _end_unbegun(opened)
            _tag_experiment(opened.info.experiment_id)
        started = _prepare(opened, name, config, sections, references, scratch, bool(resume))
        patience: Callable[[], AbstractContextManager[None]] = nullcontext
        try:
            yield started
        except KeyboardInterrupt:
            patience = _impatient
            raise
        finally:
            with patience():
                started.publish()  # of a run that failed too: its savepoints are worth as much
    except BaseException as error:
        is_killed = isinstance(error, KeyboardInterrupt | Stopped)
        # Neither whoever interrupts nor a store that was waited for already is waited for.
        with _impatient() if isinstance(error, (KeyboardInterrupt, *STORE_ERRORS)) else nullcontext():
            if not is_killed:
                note_error(f"{type(error).__name__}: {error}", opened.info.run_id)
            with suppress(*STORE_ERRORS):
                mlflow.end_run("KILLED" if is_killed else "FAILED")
        raise
    mlflow.end_run()


def _prepare(
    opened: mlflow.ActiveRun, name: str, config: Config, sections: Sequence[str],
    references: Mapping[str, str], scratch: Path, is_resumed: bool,
) -> Run:  # fmt: skip
    """Make the folder of a run, bring there what it left, and log name, parameters and configuration."""
    info, known = opened.info, opened.data.params
    is_local = is_local_uri(info.artifact_uri)
    folder = Path(local_file_uri_to_path(info.artifact_uri)) if is_local else scratch / info.run_id
    folder.mkdir(parents=True, exist_ok=True)
    place = info.run_id, info.experiment_id, folder, info.artifact_uri, scratch
    started = Run(*place, references, is_resumed, opened.data.tags)
    if is_resumed:
        started.fetch()
    started.tag({"mlflow.runName": name})
    if opened.data.tags.get(NOTE) == NEVER_BEGAN:  # it did, late
        started.tag({NOTE: ""})
    defaults = flatten(to_dict(Config()))
    values = {key: value for key, value in flatten(to_dict(config)).items() if value != defaults[key]}
    used = {key: values[key] for key in values if "." not in key or key.split(".")[0] in sections}
    # `mlflow run` has logged what was given to it; a second spelling of the same value would be refused.
    mlflow.log_params({key: value for key, value in {**used, **references}.items() if key not in known})
    write_text(folder / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
    return started


def _tag_experiment(experiment_id: str) -> None:
    tags = MlflowClient().get_experiment(experiment_id).tags
    for key in pages.EXPERIMENT_TAGS.keys() - tags.keys():
        MlflowClient().set_experiment_tag(experiment_id, key, pages.EXPERIMENT_TAGS[key])


@contextmanager
def _impatient() -> Iterator[None]:
    """Have MLflow's requests fail at once, where it would try for minutes while training waits."""
    mine = {MLFLOW_HTTP_REQUEST_MAX_RETRIES: 0, MLFLOW_HTTP_REQUEST_TIMEOUT: SECONDS_OF_PATIENCE}
    before = {setting: setting.get_raw() for setting in mine}
    for setting, value in mine.items():
        setting.set(value)
    try:
        yield
    finally:
        for setting, text in before.items():
            setting.set(text) if text is not None else setting.unset()


def adopt(parent: str, name: str) -> None:
    """Make the run that `mlflow run` opened for this process, if any, a child of the one it works for."""
    if run_id := os.environ.pop("MLFLOW_RUN_ID", ""):
        tags = [RunTag("mlflow.parentRunId", parent), RunTag("mlflow.runName", name)]
        MlflowClient().log_batch(run_id, tags=tags)


def find_active(run_id: str | None) -> str:
    """Return the id of a run if there is one which has not been deleted, else an empty text."""
    found = _find(run_id) if run_id else None
    return found.info.run_id if found and found.info.lifecycle_stage == "active" else ""


def find_begun(reference: str, stage: str, scratch: Path) -> tuple[str, Path, dict[str, str], list[str]]:
    """Return the id of a run to resume, the file of its configuration, its parameters, and what it has done.

    InputError if there is no such run, it is of another stage, or it was interrupted before it began.
    """
    run_id = reference.removeprefix("runs:/").lower()
    found = _find(run_id) if re.fullmatch(r"[0-9a-f]{32}", run_id) else None
    allowed = f"the id of a run of {stage}"
    if found is None or found.data.tags.get("stage", stage) != stage:
        got = f"a run of {found.data.tags['stage']}" if found else f"no run {reference!r} in {store_uri()}"
        raise InputError("--resume", "run id", got, allowed)
    if not _has(found, "config.yaml"):
        MlflowClient().set_terminated(run_id, "KILLED")
        got = f"run {run_id}, which was interrupted before it began"
        raise InputError("--resume", "run id", got, f"{allowed}; start this one anew")
    locate = partial(find_file, run_id, scratch=scratch)
    done = json.loads(locate(PROGRESS_FILE).read_text()) if _has(found, PROGRESS_FILE) else {}
    return run_id, locate("config.yaml"), found.data.params, [*done]


def end_lost(parent: str, alive: Set[str]) -> None:
    """End as FAILED the running descendants of a run, but none known to be alive and none of `adopt`."""
    for child in _list_children(MlflowClient().get_run(parent)):
        if child.info.run_id not in alive and "stage" in child.data.tags and child.info.status == "RUNNING":
            end_lost(child.info.run_id, alive)
            note_error("its process is gone", child.info.run_id)
            MlflowClient().set_terminated(child.info.run_id, "FAILED")


def _end_unbegun(opened: mlflow.entities.Run) -> None:
    """End the runs that `mlflow run` made for this user and project, and whose programs never began.

    Nothing is lost where one begins late: beginning sets a run RUNNING again.
    """
    made = f"attributes.status = 'RUNNING' and attributes.start_time < {1000 * (time.time() - SOON):.0f}"
    made += f" and tags.`mlflow.user` = '{opened.data.tags.get('mlflow.user', '')}'"
    begun = {"stage", "mlflow.parentRunId"}  # the latter: by `adopt`
    for run in MlflowClient().search_runs([opened.info.experiment_id], made):
        if "mlflow.project.entryPoint" in run.data.tags and not begun & run.data.tags.keys():
            name, is_named = run.info.run_name, not UNNAMED.fullmatch(run.info.run_name)
            name = name if is_named else f"{run.data.tags['mlflow.project.entryPoint']} never began"
            tags = [RunTag(NOTE, NEVER_BEGAN), RunTag("mlflow.runName", name)]
            MlflowClient().log_batch(run.info.run_id, tags=tags)
            MlflowClient().set_terminated(run.info.run_id, "FAILED")


def note_error(message: str, run_id: str) -> None:
    """Say in a run why it failed, in the tag `error` and at the head of its page."""
    with suppress(*STORE_ERRORS):  # what went wrong matters more than that MLflow cannot be told
        said = MlflowClient().get_run(run_id).data.tags.get(NOTE, "")
        text = f"**Failed:** {message[:5000]}\n\n{said}".strip()
        MlflowClient().log_batch(run_id, tags=[RunTag("error", message[:5000]), RunTag(NOTE, text)])


def note_refusal(stage: str, message: str, field: str) -> None:
    """Say in the run that `mlflow run` made, if any, what was to be done, and why it was not."""
    if run_id := os.environ.get("MLFLOW_RUN_ID", ""):
        note_error(message, run_id)
        with suppress(*STORE_ERRORS):
            name, tags = MlflowClient().get_run(run_id).info.run_name, {"stage": stage}
            if UNNAMED.fullmatch(name):
                tags["mlflow.runName"] = f"{stage} refused: {field}" if field else f"{stage} failed"
            MlflowClient().log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def resolve(reference: str, artifact: str, parameter: str, scratch: Path) -> Path:
    """Return the local file behind the value of a parameter; what must be downloaded goes to `scratch`.

    `reference` is a file; a folder that holds `artifact`; a run id; or <run id>/<artifact path>. The artifact
    may be that of one of the run's children, as with a run of `main`. InputError if there is no such file.
    """
    path, refuse = Path(reference).resolve(), partial(InputError, f"--{parameter}")
    for file in (path, path / artifact):
        if file.is_file():
            return file
    allowed = f"a run id, <run id>/<artifact>, a file, or a folder with {artifact} in it"
    allowed += f" (relative paths start at {Path.cwd()})"
    run_id, _, within = reference.removeprefix("runs:/").partition("/")
    run_id, wanted = run_id.lower(), within or artifact
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        missing, unknown = f"no {artifact} in the folder {path}", f"neither run id nor file: {reference!r}"
        raise refuse("reference", missing if path.is_dir() else unknown, allowed)
    if Path(wanted).is_absolute() or ".." in Path(wanted).parts:
        raise refuse("reference", repr(reference), f"an artifact within the run; {allowed}")
    if (given := _find(run_id)) is None:
        raise refuse("run id", f"no run {run_id} in {store_uri()}", allowed)
    owners = [given] if _has(given, wanted) else [run for run in _list_children(given) if _has(run, wanted)]
    if len(owners) > 1:  # those of `main` that only choose hold GANs too
        owners = [run for run in owners if run.data.params.get("protocol") != "validation"] or owners
    if len(owners) > 1:
        known = ", ".join(owner.info.run_id for owner in owners)
        raise refuse(f"run {run_id}", f"{len(owners)} children that have {wanted}", f"one of them: {known}")
    if not owners:
        present = ", ".join(item.path for item in MlflowClient().list_artifacts(run_id)) or "nothing"
        raise refuse(f"run {run_id}", f"no artifact {wanted} (it has {present})", allowed)
    owner = owners[0].info
    if is_local_uri(owner.artifact_uri):  # MLflow would leave a copy of it in a temporary folder
        return Path(local_file_uri_to_path(owner.artifact_uri)) / wanted
    uri = f"runs:/{owner.run_id}/{wanted}"
    return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(scratch / parameter)))


def find_file(run_id: str, artifact: str, scratch: Path) -> Path:
    """Return the local file of an artifact: where a run of this session made it, or as `resolve` does."""
    made = scratch / run_id / artifact
    return made if made.is_file() else resolve(f"{run_id}/{artifact}", artifact, "resume", scratch)


def find_name(reference: str) -> str:
    """Return the name of the run that the value of a parameter refers to; empty if it is no run's id."""
    run_id = reference.removeprefix("runs:/")[:32].lower()
    found = _find(run_id) if re.fullmatch(r"[0-9a-f]{32}", run_id) else None
    return found.info.run_name if found else ""


def list_family(run_id: str) -> list[mlflow.entities.Run]:
    """Return a run and its children; nothing if there is no such run."""
    given = _find(run_id)
    return [given, *_list_children(given)] if given else []


def store_uri() -> str:
    """Return the address of the tracking store."""
    return mlflow.get_tracking_uri()


def local_folder() -> Path:
    """Return the folder of the store's SQLite file, or the working folder where the store is elsewhere."""
    place = _store_file()
    return place.parent if place else Path.cwd()


def _store_file() -> Path | None:
    """Return the store's SQLite file, if it is one; in its address MLflow writes blanks as %20, and so on."""
    place = store_uri().removeprefix("sqlite:///")
    return None if place == store_uri() else Path(unquote(place)).resolve()


def _find(run_id: str) -> mlflow.entities.Run | None:
    try:
        return MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _find_child(parent: str, stage: str) -> str:
    """Return the id of the newest child of a run that is of a stage; empty if there is none."""
    children = _list_children(MlflowClient().get_run(parent))
    return next((child.info.run_id for child in children if child.data.tags.get("stage") == stage), "")


def _list_children(parent: mlflow.entities.Run) -> list[mlflow.entities.Run]:
    having = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(MlflowClient().search_runs([parent.info.experiment_id], having))


def _has(candidate: mlflow.entities.Run, path: str) -> bool:
    listed = MlflowClient().list_artifacts(candidate.info.run_id, os.path.dirname(path) or None)
    return any(item.path == path for item in listed)
