"""A sweep on several machines: real servers, three commands, a killed worker, and a lost database."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import optuna
import pytest
import sqlalchemy
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from postgres import BINARIES, Postgres, free_port, wait_until
from project import start_entry_point
from test_report import make_task

from cwgan.search.study import Study

TRIALS = 10
TINY = """
data: {path: numbers}
threads: 1
monitor: {epochs: 2, batch_size: 512}
regressor: {epochs: 2, batch_size: 256}
gan: {epochs: 4, hidden_size: 96, batch_size: 64, score_every: 1, critic_steps: 2}
classifier: {epochs: 3, batch_size: 512, lr: 1.0e-2}
"""
DONE = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

pytestmark = pytest.mark.skipif(
    BINARIES is None, reason="needs PostgreSQL's server (Debian's package postgresql)"
)


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    server.start()
    for database in ("optuna", "mlflow"):
        server.call("createdb", "-h", "127.0.0.1", "-p", server.port, "-U", "cwgan", database)
    yield server
    server.remove()


@pytest.fixture
def tracking_uri(postgres, tmp_path, monkeypatch):
    port, log = free_port(), tmp_path / "server.log"
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", postgres.url("mlflow")]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(log, "w") as out:
        to = {"stdout": out, "stderr": out, "cwd": tmp_path, "start_new_session": True}
        server = subprocess.Popen(command, env=environment, **to)

    def answers() -> bool:
        try:
            return bool(MlflowClient(address).search_experiments(max_results=1))
        except Exception:
            return False

    with monkeypatch.context() as impatient:
        impatient.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        impatient.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        wait_until(answers, 90, f"the MLflow server answers; {log}")
    yield address
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)


@pytest.fixture
def machines(postgres, tracking_uri, tmp_path):
    """Three commands that work for one study, each in a folder of its own; they do not outlive the test."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    flags = {"config": tmp_path / "tiny.yaml", "sweep.trials": TRIALS, "sweep.study": "shared"}
    flags |= {"sweep.storage": postgres.url("optuna"), "sweep.heartbeat": 2}
    started = []
    for number in range(3):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        own = {"sweep.folder": folder, "sweep.workers": 1 + (number == 0)}
        given = [f"--{name}={value}" for name, value in {**flags, **own}.items()]
        place = {"folder": folder, "said": folder / "log.txt"}
        started.append(start_entry_point("sweep", *given, **place, MLFLOW_TRACKING_URI=tracking_uri))
    yield started
    for command in started:
        command.terminate()
        command.join(60)


def test_a_sweep_on_three_machines_survives_a_killed_worker_and_a_lost_database(
    postgres, tracking_uri, machines, tmp_path
):
    client = MlflowClient(tracking_uri)

    def said() -> str:
        logs = sorted(tmp_path.glob("machine*/log.txt"))
        return "\n".join(f"--- {path.parent.name}\n{path.read_text()}" for path in logs)

    def find_trial(status: str) -> Run | None:
        found = client.search_runs(["0"], f"attributes.status = '{status}' and tags.trial_number != ''")
        return next((run for run in found if "val_H" in run.data.metrics), None)

    wait_until(lambda: "parent run" in said(), 120, "the tables are made")
    victim = wait_until(lambda: find_trial("RUNNING"), 120, "a trial is under way")
    killed = int(victim.data.tags["worker"].rpartition(":")[2])
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: find_trial("FINISHED"), 120, "a trial is done")
    postgres.stop()
    time.sleep(5)
    postgres.start()
    for machine in machines:
        machine.join(300)
        assert machine.exitcode == (-signal.SIGKILL if machine.pid == killed else 0), said()

    unpooled = {"poolclass": sqlalchemy.pool.NullPool}  # leaves no connection open
    storage = optuna.storages.RDBStorage(postgres.url("optuna"), engine_kwargs=unpooled)
    trials = optuna.load_study(study_name="shared", storage=storage).get_trials()
    finished = [trial for trial in trials if trial.state in DONE]
    (lost,) = [trial for trial in trials if trial.user_attrs.get("run_id") == victim.info.run_id]
    assert len(finished) == TRIALS, said()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len({str(trial.params) for trial in finished}) == TRIALS, "a setting was tried twice"
    assert lost.params in [trial.params for trial in finished], "the killed worker's trial was not repeated"

    runs = {run.info.run_id: run for run in client.search_runs(["0"])}
    assert [run.info.run_name for run in runs.values() if run.info.status == "RUNNING"] == []
    (parent,) = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED", said()
    for trial in finished:
        run = runs[trial.user_attrs["run_id"]]
        assert run.data.tags["trial_number"] == str(trial.number)
        assert run.info.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[trial.state.name]
        if trial.state.name == "COMPLETE":
            assert run.data.metrics["value"] == pytest.approx(trial.value)
    assert set(Counter(trial.user_attrs["run_id"] for trial in finished).values()) == {1}
    best = max((trial for trial in finished if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    assert parent.data.metrics["best_value"] == pytest.approx(best.value)


def test_who_holds_the_lock_for_hours_has_no_transaction_open_that_a_database_might_end(postgres, tmp_path):
    study = Study(replace(make_task(tmp_path), storage=postgres.url("optuna")))
    engine = sqlalchemy.create_engine(postgres.url("optuna"), poolclass=sqlalchemy.pool.NullPool)
    asked = "SELECT state FROM pg_stat_activity WHERE query LIKE 'SELECT pg_advisory_lock%'"
    with study.lock(), engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(asked)).scalars().all() == ["idle"]
    for each in (study._engine, study._storage.engine):
        each.dispose()
