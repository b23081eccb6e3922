"""From what a user gives, as a run's id, to runs and their files."""

import json
import os
import re
from functools import partial
from pathlib import Path

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from cwgan.errors import InputError
from cwgan.tracking.record import PROGRESS_FILE
from cwgan.tracking.store import store_uri


def find_active(run_id: str | None) -> str:
    """Return the id of a run if there is one which has not been deleted, else an empty text."""
    found = find_run(run_id) if run_id else None
    return found.info.run_id if found and found.info.lifecycle_stage == "active" else ""


def find_begun(reference: str, stage: str, scratch: Path) -> tuple[str, Path, dict[str, str], list[str]]:
    """Return the id of a run to resume, the file of its configuration, its parameters, and what it has done.

    InputError if there is no such run, it is of another stage, or it was interrupted before it began.
    """
    run_id = reference.removeprefix("runs:/").lower()
    found = find_run(run_id) if re.fullmatch(r"[0-9a-f]{32}", run_id) else None
    allowed = f"the id of a run of {stage}"
    if found is None or found.data.tags.get("stage", stage) != stage:
        got = f"a run of {found.data.tags['stage']}" if found else f"no run {reference!r} in {store_uri()}"
        raise InputError("--resume", "run id", got, allowed)
    if not has_artifact(found, "config.yaml"):
        MlflowClient().set_terminated(run_id, "KILLED")
        got = f"run {run_id}, which was interrupted before it began"
        raise InputError("--resume", "run id", got, f"{allowed}; start this one anew")
    locate = partial(find_file, run_id, scratch=scratch)
    done = json.loads(locate(PROGRESS_FILE).read_text()) if has_artifact(found, PROGRESS_FILE) else {}
    return run_id, locate("config.yaml"), found.data.params, [*done]


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
    if (given := find_run(run_id)) is None:
        raise refuse("run id", f"no run {run_id} in {store_uri()}", allowed)
    owners = (
        [given]
        if has_artifact(given, wanted)
        else [run for run in list_children(given) if has_artifact(run, wanted)]
    )
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
    found = find_run(run_id) if re.fullmatch(r"[0-9a-f]{32}", run_id) else None
    return found.info.run_name if found else ""


def list_family(run_id: str) -> list[mlflow.entities.Run]:
    """Return a run and its children; nothing if there is no such run."""
    given = find_run(run_id)
    return [given, *list_children(given)] if given else []


def find_run(run_id: str) -> mlflow.entities.Run | None:
    try:
        return MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def find_child(parent: str, stage: str) -> str:
    """Return the id of the newest child of a run that is of a stage; empty if there is none."""
    children = list_children(MlflowClient().get_run(parent))
    return next((child.info.run_id for child in children if child.data.tags.get("stage") == stage), "")


def list_children(parent: mlflow.entities.Run) -> list[mlflow.entities.Run]:
    having = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(mlflow.search_runs([parent.info.experiment_id], having, output_format="list"))  # all pages


def has_artifact(candidate: mlflow.entities.Run, path: str) -> bool:
    listed = MlflowClient().list_artifacts(candidate.info.run_id, os.path.dirname(path) or None)
    return any(item.path == path for item in listed)
