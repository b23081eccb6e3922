"""Where MLflow keeps runs: its address, what goes wrong there, and how long it is waited for."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import mlflow
from filelock import FileLock
from mlflow import MlflowClient, MlflowException
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from cwgan.errors import StoreError, first_line

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # `main` says where to look
STORE_ERRORS = (MlflowException, SQLAlchemyError, RequestException)
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED")
SECONDS_OF_PATIENCE = 10  # for its answer, in the midst of a training


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


def insist(request: Callable[..., object], *arguments: object) -> None:
    """Ask MLflow for something, and once more if that fails.

    It looks whether a row is there before it makes one: of two programs that do so at once, one fails.
    """
    try:
        request(*arguments)
    except MlflowException:
        request(*arguments)


@contextmanager
def impatient() -> Iterator[None]:
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
