"""A sweep on several machines: a real PostgreSQL, a real MLflow server, three commands, a killed worker, and a lost database."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
BINARIES = max(
    Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name)
)
TRIALS = 10
TINY = """
data: {path: numbers}
threads: 1
monitor: {epochs: 2, batch_size: 512}
regressor: {epochs: 2, batch_size: 256}
gan: {epochs: 4, hidden_size: 96, batch_size: 64, score_every: 1, critic_steps: 2}
classifier: {epochs: 3, batch_size: 512, lr: 1.0e-2}
"""

pytestmark = pytest.mark.skipif(
    BINARIES is None, reason="needs PostgreSQL's server (Debian's package postgresql)"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(is_so, seconds: float, what: str):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := is_so():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


class Postgres:
    """A server on loopback with a folder and a port of its own, run as the user postgres where the tests run as root."""

    def __init__(self) -> None:
        # Not below pytest's folders, which are closed to other users.
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="cwgan-postgres-")), free_port()
        self.user = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            shutil.chown(self.folder, "postgres")
        self.call("initdb", "--auth=trust", "--username=cwgan", "--no-sync", "-D", self.folder / "data")
        self.process: subprocess.Popen | None = None

    def call(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [BINARIES / program, *map(str, arguments)],
            check=False,
            cwd=self.folder,
            capture_output=True,
            text=True,
            **self.user,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        flags = [
            "-D",
            self.folder / "data",
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-F",
        ]
        with open(self.folder / "postgres.log", "a") as log:
            self.process = subprocess.Popen(
                [BINARIES / "postgres", *flags], cwd=self.folder, stdout=log, stderr=log, **self.user
            )
        wait_until(self.answers, 30, "PostgreSQL answers")

    def answers(self) -> bool:
        return (
            subprocess.run(
                [BINARIES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
            ).returncode
            == 0
        )

    def stop(self) -> None:
        """Disconnect everybody and end, at once."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def remove(self) -> None:
        """End it, if it still runs, and delete its folder."""
        if self.process and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://cwgan@127.0.0.1:{self.port}/{database}"


@pytest.fixture
def postgres():
    server = Postgres()
    server.start()
    for database in ("optuna", "mlflow"):
        server.call("createdb", "-h", "127.0.0.1", "-p", server.port, "-U", "cwgan", database)
    yield server
    server.remove()


@pytest.fixture
def tracking_uri(postgres, tmp_path):
    port = free_port()
    flags = [
        "--backend-store-uri",
        postgres.url("mlflow"),
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
        "--workers",
        "1",
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(tmp_path / "server.log", "w") as log:
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *flags,
        ]
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return bool(MlflowClient(address).search_experiments(max_results=1))
        except Exception:
            return False

    old = {
        name: os.environ.get(name)
        for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    }
    os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT="10")
    wait_until(answers, 90, f"the MLflow server answers; {(tmp_path / 'server.log').read_text()[-2000:]}")
    for name, value in old.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    yield address
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)


@pytest.fixture
def machines():
    """Commands under way, which do not outlive the test."""
    started: list[subprocess.Popen] = []
    yield started
    for command in started:
        if command.poll() is None:
            command.terminate()
            command.wait(60)


def test_a_sweep_on_three_machines_survives_a_killed_worker_and_a_lost_database(
    postgres, tracking_uri, machines, tmp_path
):
    (tmp_path / "tiny.yaml").write_text(TINY)
    url = postgres.url("optuna")
    logs = []
    for number in range(3):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        logs.append(folder / "log.txt")
        flags = [
            "--config",
            str(tmp_path / "tiny.yaml"),
            "--sweep.trials",
            str(TRIALS),
            "--sweep.storage",
            url,
            "--sweep.study",
            "shared",
        ]
        flags += ["--sweep.folder", str(folder), "--sweep.heartbeat", "2"]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "PYTHONPATH": str(ROOT)}
        with open(logs[-1], "w") as log:
            command = [sys.executable, "-m", "entrypoints.sweep", *flags]
            machines.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))

    def said() -> str:
        return "\n".join(f"--- {path.parent.name}\n{path.read_text()}" for path in logs)

    # Opened only to look: the commands make the tables, and a connection ends with every look.
    looks = {
        "skip_table_creation": True,
        "skip_compatibility_check": True,
        "engine_kwargs": {"poolclass": sqlalchemy.pool.NullPool},
    }
    storages: list[optuna.storages.RDBStorage] = []

    def study() -> optuna.Study | None:
        try:
            if not storages:
                storages.append(optuna.storages.RDBStorage(url, **looks))
            return optuna.load_study(study_name="shared", storage=storages[0])
        except (KeyError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError):
            return None

    def under_way():
        found = study()
        trials = found.get_trials(states=(optuna.trial.TrialState.RUNNING,)) if found else []
        return next(
            (trial for trial in trials if "run_id" in trial.user_attrs and trial.intermediate_values), None
        )

    victim = wait_until(under_way, 120, "a trial is under way")
    os.kill(int(victim.user_attrs["worker"].rpartition(":")[2]), signal.SIGKILL)
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    wait_until(lambda: len(study().get_trials(states=done)) >= 2, 120, "two trials are done")
    postgres.stop()
    time.sleep(5)
    postgres.start()
    for machine in machines:
        assert machine.wait(300) == 0, said()

    trials = study().get_trials()
    finished = [trial for trial in trials if trial.state in done]
    assert TRIALS <= len(finished) <= TRIALS + 2, said()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert victim.params in [trial.params for trial in finished], "the killed worker's trial was not repeated"

    client = MlflowClient(tracking_uri)
    runs = {run.info.run_id: run for run in client.search_runs(["0"])}
    assert [run.info.run_name for run in runs.values() if run.info.status == "RUNNING"] == []
    parents = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1 and parents[0].info.status == "FINISHED", said()
    for trial in finished:
        run = runs[trial.user_attrs["run_id"]]
        assert run.data.tags["trial_number"] == str(trial.number)
        assert run.info.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[trial.state.name]
        if trial.state.name == "COMPLETE":
            assert run.data.metrics["value"] == pytest.approx(trial.value)
    assert set(Counter(trial.user_attrs["run_id"] for trial in finished).values()) == {1}
    best = max((trial for trial in finished if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    assert parents[0].data.metrics["best_value"] == pytest.approx(best.value)
