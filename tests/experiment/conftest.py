"""Stores of MLflow: a SQLite file, and a server that keeps the artifacts to itself."""

import contextlib

import mlflow
import pytest
from mlflow import MlflowClient
from server import serve_mlflow


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory):
    """The address of a SQLite store; its artifacts are in a folder beside it."""
    folder = tmp_path_factory.mktemp("sqlite")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with contextlib.chdir(folder):
        MlflowClient(uri).create_experiment("tests")
    return uri


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory):
    """Where the server keeps what it keeps."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def server(server_folder):
    """The address of an MLflow server whose artifacts are reached through it alone."""
    with serve_mlflow(server_folder) as uri:
        yield uri


@pytest.fixture
def store(sqlite, monkeypatch):
    """The SQLite store, in use."""
    yield from in_use(sqlite, monkeypatch)


@pytest.fixture
def remote(server, monkeypatch):
    """The server, in use."""
    yield from in_use(server, monkeypatch)


def in_use(uri, monkeypatch):
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    yield MlflowClient()
    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(None)
