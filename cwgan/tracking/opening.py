"""Opening and ending MLflow runs, and what a run says that failed or never began."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from cwgan import pages
from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.errors import InputError, Stopped, undisturbed
from cwgan.files import write_text
from cwgan.layers import flatten
from cwgan.tracking.record import NOTE, Run
from cwgan.tracking.references import find_child, list_children
from cwgan.tracking.store import STORE_ERRORS, impatient, insist

UNNAMED = re.compile(r"[a-z]+-[a-z]+-\d{1,4}|\w+ never began")  # by a user: bedecked-owl-123 is MLflow's
NEVER_BEGAN = (
    "**Failed:** `mlflow run` made this run, and its program never began. Is conda missing? Then give \
`--env-manager local`."
)
SOON = 30  # seconds from when `mlflow run` makes a run to when its program says what it is


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
    resume = resume or (find_child(within.run_id, stage) if within and within.is_resumed else "")
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
        note = "" if parent or within else config.description
        started = _prepare(opened, name, config, sections, references, scratch, bool(resume), note)
        patience: Callable[[], AbstractContextManager[None]] = nullcontext
        try:
            yield started
        except KeyboardInterrupt:
            patience = impatient
            raise
        finally:
            with patience():
                started.publish()  # of a run that failed too: its savepoints are worth as much
    except BaseException as error:
        is_killed = isinstance(error, KeyboardInterrupt | Stopped)
        # Neither whoever interrupts nor a store that was waited for already is waited for.
        is_hasty = isinstance(error, (KeyboardInterrupt, *STORE_ERRORS))
        with undisturbed, impatient() if is_hasty else nullcontext():
            if not is_killed:
                note_error(f"{type(error).__name__}: {error}", opened.info.run_id)
            with suppress(*STORE_ERRORS):
                mlflow.end_run("KILLED" if is_killed else "FAILED")
        raise
    mlflow.end_run()


def _prepare(
    opened: mlflow.ActiveRun, name: str, config: Config, sections: Sequence[str],
    references: Mapping[str, str], scratch: Path, is_resumed: bool, note: str,
) -> Run:  # fmt: skip
    """Make the folder of a run, bring there what it left, and log name, parameters and configuration."""
    info, known = opened.info, opened.data.params
    is_local = is_local_uri(info.artifact_uri)
    folder = Path(local_file_uri_to_path(info.artifact_uri)) if is_local else scratch / info.run_id
    folder.mkdir(parents=True, exist_ok=True)
    place = info.run_id, info.experiment_id, folder, info.artifact_uri, scratch
    started = Run(*place, references, is_resumed, note, opened.data.tags)
    if is_resumed:
        started.fetch()
        if "error" in opened.data.tags:  # of the attempt before
            MlflowClient().delete_tag(info.run_id, "error")
    started.tag({"mlflow.runName": name} | ({"description": note} if note else {}))
    if note or opened.data.tags.get(NOTE) == NEVER_BEGAN:  # it did, late
        started.describe("")
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
        insist(MlflowClient().set_experiment_tag, experiment_id, key, pages.EXPERIMENT_TAGS[key])


def adopt(parent: str, name: str) -> None:
    """Make the run that `mlflow run` opened for this process, if any, a child of the one it works for."""
    if run_id := os.environ.pop("MLFLOW_RUN_ID", ""):
        tags = [RunTag("mlflow.parentRunId", parent), RunTag("mlflow.runName", name)]
        MlflowClient().log_batch(run_id, tags=tags)


def end_lost(parent: str, alive: Set[str]) -> None:
    """End as FAILED the running descendants of a run, but none known to be alive and none of `adopt`."""
    for child in list_children(MlflowClient().get_run(parent)):
        is_adopted = "mlflow.project.entryPoint" in child.data.tags  # made by `mlflow run`
        if child.info.run_id not in alive and not is_adopted and child.info.status == "RUNNING":
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
        name_made_run(stage, f"{stage} refused: {field}" if field else f"{stage} failed")


def name_made_run(stage: str, name: str = "") -> None:
    """Tag the run that `mlflow run` made with its stage, and name it, unless its user did.

    The tag says that the program has begun. Nothing is done where `mlflow run` made none.
    """
    if run_id := os.environ.get("MLFLOW_RUN_ID", ""):
        with suppress(*STORE_ERRORS):
            tags = [RunTag("stage", stage)]
            if name and UNNAMED.fullmatch(MlflowClient().get_run(run_id).info.run_name):
                tags.append(RunTag("mlflow.runName", name))
            MlflowClient().log_batch(run_id, tags=tags)
