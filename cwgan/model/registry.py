"""MLflow's models: logging one, registering it, and finding it again."""

import logging
import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric, RunInfo
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.types import ColSpec, Schema, TensorSpec

from cwgan import images
from cwgan.errors import InputError, first_line
from cwgan.tracking import list_family

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it announces every check of an example
CODE = Path(__file__).with_name("answer.py")
PACKAGES = ("mlflow", "numpy", "pandas", "safetensors")
IMAGES_CODE = Path(images.__file__).with_name("backbone.py")
IMAGES_PACKAGES = ("torch", "torchvision", "timm", "pillow")
CHAMPION, BEST = "champion", 5
NAME = "a name that MLflow takes for a registered model"
WANTED = "a run id, models:/<name>@<alias>, models:/<name>/<version>, or the folder of a model"
NO_FAULT_OF_THE_STORE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def log_model(
    weights: Path,
    example: np.ndarray,
    class_count: int,
    scores: Mapping[str, float],
    digest: str,
    run_id: str,
    sees: bool = False,
) -> str:
    """Log the model of the open run, and its scores, which the run `run_id` gets too; return the model's id.

    What the run has left of a model, as it was interrupted, is deleted, and none is left if this fails.
    `weights` is the file of `cwgan.stages.answers`, `example` some rows in the units of the user's files.
    A model that `sees` takes images too, for which it carries code and names packages.
    """
    if run := mlflow.active_run():
        _delete_models(run.info)
    model = mlflow.initialize_logged_model("model", tags={"data.digest": digest}, model_type="classifier")
    try:
        mlflow.pyfunc.log_model(
            name="model",
            model_id=model.model_id,
            python_model=str(CODE),
            artifacts={"weights": str(weights)},
            signature=_make_signature(example.shape[1], class_count, sees),
            code_paths=[str(IMAGES_CODE)] if sees else None,
            input_example=example.astype(np.float64),
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES + IMAGES_PACKAGES * sees],
            metadata={"program": "cwgan"},
        )
    except BaseException:
        MlflowClient().delete_logged_model(model.model_id)
        raise
    # Of one time, so that a run that is interrupted here and goes on has no score twice.
    began = MlflowClient().get_run(run_id).info.start_time
    headed = {"H": scores["H"], **scores} if "H" in scores else scores  # the UI's first column of scores
    metrics = [Metric(name, value, began, 0, model.model_id) for name, value in headed.items()]
    MlflowClient().log_batch(run_id, metrics)
    return model.model_id


def _delete_models(run: RunInfo) -> None:
    """Delete the models of a run, and their registered versions."""
    client = MlflowClient()
    for model in client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'"):
        for made in client.search_model_versions(f"run_id = '{run.run_id}'"):
            client.delete_model_version(made.name, made.version)
        client.delete_logged_model(model.model_id)


def register(name: str, model_id: str, scores: Mapping[str, float], digest: str) -> str:
    """Register a logged model, and say what became of the alias `champion`.

    It moves to the new version if that has a val_H, chosen on validation classes, above the champion's, and
    both are of the same data. A name without a champion takes the first version that has a val_H.
    """
    client = MlflowClient()
    tags = {key: str(scores[key]) for key in ("H", "val_H") if key in scores} | {"data.digest": digest}
    try:
        _create_name(client, name)
        uri, run_id = f"models:/{model_id}", client.get_logged_model(model_id).source_run_id
        made = client.create_model_version(name, uri, run_id, tags=tags, model_id=model_id)
    except MlflowException as error:
        _blame(error, ("configuration", "register"), name, NAME)
    champion = _find_champion(client, name)
    if reason := _find_reason_to_stay(champion, tags):
        return f"registered {name} version {made.version}; {CHAMPION} stays {_show(champion)}: {reason}"
    client.set_registered_model_alias(name, CHAMPION, made.version)
    return f"registered {name} version {made.version}, now the {CHAMPION} instead of {_show(champion)}"


def check_name(name: str) -> None:
    """Refuse a name that MLflow does not take for a registered model."""
    try:
        MlflowClient().get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            _blame(error, ("configuration", "register"), name, NAME)


def load_model(reference: str) -> tuple[PyFuncModel, int]:
    """Return a model, and the number of features it takes; InputError if there is none.

    The reference is a run id, also of the parent of the run that logged it, an address models:/..., or a
    folder. Only models of this program are loaded, as loading a model runs its code.
    """
    folder = Path(reference).resolve()
    if (folder / "MLmodel").is_file():
        uri = str(folder)
    else:
        uri = reference if reference.startswith("models:/") else f"models:/{_find_logged(reference)}"
    try:
        kind = (mlflow.models.get_model_info(uri).metadata or {}).get("program")
        if kind != "cwgan":
            raise InputError("--model", "model", f"a model of another program at {uri}", WANTED)
        model = mlflow.pyfunc.load_model(uri)
        return model, len(model.unwrap_python_model().divisor)
    except MlflowException as error:
        _blame(error, ("--model", "model"), reference, WANTED)


def backbone_of(model: PyFuncModel) -> dict[str, Any]:
    """Return what made the features that a loaded model learnt from; empty if they were not of images."""
    return model.unwrap_python_model().facts.get("backbone") or {}


def answer(model: PyFuncModel, rows: np.ndarray) -> pd.DataFrame:
    """Return the answers of a loaded model; InputError for rows that it refuses."""
    try:
        answers: pd.DataFrame = model.predict(rows)
    except MlflowException as error:
        raise InputError("--features", "features", first_line(error), "what the model takes") from None
    return answers


def _make_signature(feature_size: int, class_count: int, sees: bool) -> ModelSignature:
    """Return the types of what goes in and what comes out; MLflow has none for numbers or texts."""
    columns: list[ColSpec | TensorSpec] = [ColSpec("string", "class"), ColSpec("double", "probability")]
    columns += [ColSpec("string", "kind"), ColSpec("boolean", "far")]
    for place in range(2, min(BEST, class_count) + 1):
        columns += [ColSpec("string", f"class_{place}"), ColSpec("double", f"probability_{place}")]
    rows = Schema([TensorSpec(np.dtype(np.float64), (-1, feature_size))])
    return ModelSignature(None if sees else rows, Schema(columns))


def _blame(error: MlflowException, field: tuple[str, str], given: str, allowed: str) -> NoReturn:
    """Raise what MLflow refuses as an InputError, and a fault of the store as it is."""
    if error.error_code not in NO_FAULT_OF_THE_STORE:
        raise error
    raise InputError(*field, f"{given!r} ({first_line(error)})", allowed) from None


def _create_name(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_champion(client: MlflowClient, name: str) -> ModelVersion | None:
    version_of = client.get_registered_model(name).aliases
    return client.get_model_version(name, version_of[CHAMPION]) if CHAMPION in version_of else None


def _find_reason_to_stay(champion: ModelVersion | None, tags: Mapping[str, str]) -> str:
    """Return why the champion stays, or nothing where the version with these tags takes its place."""
    if "val_H" not in tags:
        return "the new version has no val_H, which main has from select"
    if champion is None:
        return ""
    if champion.tags.get("data.digest") != tags["data.digest"]:
        return "the new version is of other data, or of other scaling"
    ours, theirs = float(tags["val_H"]), float(champion.tags.get("val_H", "-inf"))
    return "" if ours > theirs else f"its val_H is {100 * theirs:.1f} %, the new one's {100 * ours:.1f} %"


def _show(champion: ModelVersion | None) -> str:
    return f"version {champion.version}" if champion else "none"


def _find_logged(reference: str) -> str:
    """Return the id of the one model that a run or its children logged."""
    family = list_family(reference.lower()) if re.fullmatch(r"[0-9a-fA-F]{32}", reference) else []
    if not family:
        found = f"neither a run id, nor a model's folder, nor models:/...: {reference!r}"
        raise InputError("--model", "model", found, WANTED)
    experiment = [family[0].info.experiment_id]
    models: list[LoggedModel] = []
    for run in family:
        models += MlflowClient().search_logged_models(experiment, f"source_run_id = '{run.info.run_id}'")
    if len(models) != 1:
        known = ", ".join(f"models:/{model.model_id}" for model in models)
        allowed = (
            f"one of {known}" if known else "a run of main, train_cls or add_classes with protocol=final"
        )
        raise InputError("--model", f"run {reference}", f"{len(models)} models", allowed)
    return models[0].model_id
