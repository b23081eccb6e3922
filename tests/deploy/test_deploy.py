"""The files in deploy/ against their published schemas and the program's parser; their commands are run."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import sqlalchemy
import yaml
from mlflow.tracking import MlflowClient
from postgres import BINARIES, Postgres, free_port, wait_until

from cwgan.command_line import parse
from cwgan.layers import find_layer, read_layer
from entrypoints import sweep

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
JOB = yaml.safe_load((DEPLOY / "job.yaml").read_text())
POD = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
DOCKERFILE = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?([^}]+))\}")
PROGRAM = ["python", "-m", "entrypoints.sweep"]
TINY = "--monitor.epochs 1 --regressor.epochs 1 --gan.epochs 1 --gan.hidden_size 32 --classifier.epochs 2"


def services(**variables: str) -> dict[str, Any]:
    """Return what Compose would start, variables filled in as it does: an empty one takes its default."""

    def fill(found: re.Match[str]) -> str:
        name, default, message = found.groups()
        value = variables.get(name) or default
        if value is None:
            raise KeyError(f"{name}: {message}")
        return value

    return yaml.safe_load(VARIABLE.sub(fill, COMPOSE))["services"]


def sweep_command(**variables: str) -> list[str]:
    return shlex.split(services(PGPASSWORD="secret", **variables)["worker"]["command"])


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the Dockerfile, once for each."""
    return re.findall(rf"^{name} +(.+?) *$", DOCKERFILE, re.MULTILINE)


def copied() -> list[str]:
    """Return the files and folders of the project that the image is made of."""
    return [source for arguments in instructions("COPY") for source in arguments.split()[:-1]]


# Schemas


def test_the_compose_file_follows_the_compose_specification():
    check = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(DEPLOY / "compose.yaml"),
    ]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_the_job_follows_the_schema_of_kubernetes(version):
    kubernetes_validate.validate(JOB, version, strict=True)


# The sweep command


def test_the_job_runs_the_sweep_command_of_compose():
    assert CONTAINER["command"] == sweep_command()


def test_without_a_command_the_image_runs_a_sweep():
    (command,) = instructions("CMD")
    assert json.loads(command) == PROGRAM == sweep_command()[:3]


def test_the_sweep_command_is_accepted_by_the_program():
    arguments = parse(sweep.COMMAND, sweep_command()[3:])
    assert arguments.layers["config"] == "numbers"
    assert arguments.config.sweep.trials == 20
    assert arguments.config.sweep.folder == "/sweeps"


def test_the_variables_of_compose_reach_the_program():
    flags = "--gan.epochs 50 --data.path data/mine --generate.counts [200]"
    command = sweep_command(SWEEP_CONFIG="flo", SWEEP_TRIALS="7", SWEEP_THREADS="3", SWEEP_FLAGS=flags)
    arguments = parse(sweep.COMMAND, command[3:])
    config = arguments.config
    assert arguments.layers["config"] == "flo"
    assert (config.sweep.trials, config.threads, config.gan.epochs) == (7, 3, 50)
    assert (config.data.path, config.generate.counts) == ("data/mine", [200])


def test_every_variable_of_compose_has_a_default_except_the_password():
    with pytest.raises(KeyError, match=r"PGPASSWORD: set it in deploy/\.env"):
        services()
    assert {name for name, _, message in VARIABLE.findall(COMPOSE) if message} == {"PGPASSWORD"}
    described, _, body = COMPOSE.partition("\nname:")
    assert "$" not in VARIABLE.sub("", body)
    assert set(re.findall(r"^#   ([A-Z]\w+)  ", described, re.MULTILINE)) == {
        name for name, _, _ in VARIABLE.findall(body)
    }


def test_a_worker_of_the_job_has_as_many_threads_as_cpus():
    threads = parse(sweep.COMMAND, CONTAINER["command"][3:]).config.threads
    assert CONTAINER["resources"]["limits"]["cpu"] == str(threads)


# Passwords


def test_no_file_holds_a_password():
    for path in DEPLOY.iterdir():
        if path.name != ".env":
            assert not re.search(r"://[^\s/@:]*:[^\s/@]*@", path.read_text()), path
    given = [
        (name, str(value))
        for service in yaml.safe_load(COMPOSE)["services"].values()
        for name, value in service["environment"].items()
        if "PASS" in name
    ]
    assert [name for name, _ in given] == ["POSTGRES_PASSWORD", "PGPASSWORD", "PGPASSWORD"]
    assert {value for _, value in given} == {"${PGPASSWORD:?set it in deploy/.env}"}
    (entry,) = (entry for entry in CONTAINER["env"] if "PASS" in entry["name"])
    assert entry == {
        "name": "PGPASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "cwgan-postgres", "key": "password"}},
    }


def test_the_file_of_the_password_stays_out_of_git_and_of_the_image():
    assert ".env" in (DEPLOY / ".gitignore").read_text().splitlines()
    assert not any(source in (".", "deploy") or source.startswith("deploy/") for source in copied())


# What belongs together


def test_python_has_the_version_that_conda_installs():
    conda = next(
        item
        for item in yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
        if "python=" in str(item)
    )
    version = conda.removeprefix("python=")
    assert instructions("FROM") == [f"python:{version}-slim"]
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == f">={version}"
    )


def test_the_databases_made_are_those_used():
    made = re.findall(r"CREATE DATABASE (\w+);", (DEPLOY / "databases.sql").read_text())
    used = [sqlalchemy.make_url(url) for url in re.findall(r"postgresql\+psycopg://\S+", COMPOSE)]
    assert sorted(made) == sorted(url.database for url in used)
    assert {(url.username, url.host, url.port) for url in used} == {("cwgan", "postgres", 5432)}
    postgres = services(PGPASSWORD="secret")["postgres"]
    assert postgres["environment"]["POSTGRES_USER"] == "cwgan"
    assert "./databases.sql:/docker-entrypoint-initdb.d/databases.sql:ro" in postgres["volumes"]


def test_services_wait_until_what_they_need_is_healthy():
    started = services(PGPASSWORD="secret")
    needs = {name: service["depends_on"] for name, service in started.items() if "depends_on" in service}
    healthy = {"condition": "service_healthy"}
    assert needs == {"mlflow": {"postgres": healthy}, "worker": {"postgres": healthy, "mlflow": healthy}}
    assert all("healthcheck" in started[name] for name in ("postgres", "mlflow"))


def test_both_talk_to_the_same_mlflow_server():
    server = services(PGPASSWORD="secret")["worker"]["environment"]["MLFLOW_TRACKING_URI"]
    assert server == "http://mlflow:5000"
    assert {"name": "MLFLOW_TRACKING_URI", "value": server} in CONTAINER["env"]


def test_data_lie_read_only_where_the_presets_look():
    (workdir,) = instructions("WORKDIR")
    mounts = [
        mount for mount in services(PGPASSWORD="secret")["worker"]["volumes"] if isinstance(mount, dict)
    ]
    assert [(mount["target"], mount["read_only"]) for mount in mounts] == [(f"{workdir}/data", True)]
    assert {"name": "data", "mountPath": f"{workdir}/data", "readOnly": True} in CONTAINER["volumeMounts"]
    for preset in ("awa1", "cub", "flo", "sun"):
        assert read_layer(find_layer(preset, "config"))["data"]["path"] == f"data/{preset}"


def test_what_is_written_goes_into_volumes_of_the_images_user():
    (user,) = instructions("USER")
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsNonRoot"]) == (int(user), True)
    assert f"--uid {user} " in DOCKERFILE
    assert f"install --directory --owner={user} --group={user} /sweeps /artifacts" in DOCKERFILE
    started = services(PGPASSWORD="secret")
    assert "sweeps:/sweeps" in started["worker"]["volumes"]
    assert "artifacts:/artifacts" in started["mlflow"]["volumes"]
    assert "--artifacts-destination=/artifacts" in started["mlflow"]["command"]
    assert {"name": "sweeps", "mountPath": "/sweeps"} in CONTAINER["volumeMounts"]


def test_workers_of_the_job_are_counted_once():
    spec = JOB["spec"]
    assert spec["completions"] == spec["parallelism"]
    assert spec["completionMode"] == "Indexed"


def test_the_build_context_holds_what_is_copied():
    everything, *kept = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert everything == "*"
    let_in = [line[1:] for line in kept if line.startswith("!")]
    assert sorted(copied()) == sorted(let_in)
    for source in copied():
        assert (ROOT / source).exists()
        assert not any(fnmatch.fnmatch(source, line) for line in kept if not line.startswith("!"))


def test_the_image_installs_the_pins_of_the_project(tmp_path):
    (program,) = re.findall(r'python -c "([^"]+)" > /tmp/pins.txt', DOCKERFILE)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (
        done.stdout.splitlines()
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    )


# All of it, by hand


@pytest.fixture
def guarded():
    """A PostgreSQL that asks for a password, with databases as Compose has them made."""
    server = Postgres()
    server.start()
    script = server.folder / "databases.sql"
    shutil.copy(DEPLOY / "databases.sql", script)
    asked = ["-h", "127.0.0.1", "-p", server.port, "-U", "cwgan", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
    server.call("psql", *asked, "-f", script)
    (server.folder / "data/pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    server.call("psql", *asked, "-c", "ALTER USER cwgan PASSWORD 'secret'", "-c", "SELECT pg_reload_conf()")
    yield server
    server.remove()


def listens(port: int) -> bool:
    """Tell whether it is worth while to start a program that asks a server whether it is healthy."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(BINARIES is None, reason="needs PostgreSQL's server (Debian's package postgresql)")
def test_the_commands_of_compose_work_together(guarded, tmp_path):
    port = free_port()
    places = {
        "@postgres:5432": f"@127.0.0.1:{guarded.port}",
        "http://mlflow:5000": f"http://127.0.0.1:{port}",
    }
    places |= {
        "http://127.0.0.1:5000": f"http://127.0.0.1:{port}",
        "=/artifacts": f"={tmp_path / 'artifacts'}",
    }
    places |= {
        "--port=5000": f"--port={port}",
        "--host=0.0.0.0": "--host=127.0.0.1",
        "/sweeps": str(tmp_path / "sweeps"),
    }
    places |= {"--threads 1": f"--threads 1 {TINY} --sweep.heartbeat 2"}
    app = tmp_path / "app"
    for source in copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        app.mkdir(exist_ok=True)
        copy(ROOT / source, app / source)

    def here(text: str) -> str:
        for place, stand_in in places.items():
            text = text.replace(place, stand_in)
        return text

    started = services(PGPASSWORD="secret", SWEEP_TRIALS="2")
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PG", "PYTHONPATH"))
    }

    def environment(service: str) -> dict[str, str]:
        return {**inherited, "MLFLOW_DISABLE_TELEMETRY": "true"} | {
            name: here(value) for name, value in started[service]["environment"].items()
        }

    def is_healthy(service: str, *program: str) -> bool:
        check = [*program, *map(here, started[service]["healthcheck"]["test"][2:])]
        return subprocess.run(check, capture_output=True, check=False).returncode == 0

    assert is_healthy("postgres", str(BINARIES / "pg_isready"), f"--port={guarded.port}")
    with open(tmp_path / "server.log", "w") as log:
        command = [sys.executable, "-m", *map(here, started["mlflow"]["command"])]
        server = subprocess.Popen(
            command, cwd=app, env=environment("mlflow"), stdout=log, stderr=log, start_new_session=True
        )
    workers: list[subprocess.Popen] = []
    try:
        wait_until(
            lambda: server.poll() is not None or (listens(port) and is_healthy("mlflow", sys.executable)),
            240,
            "the MLflow server is healthy",
        )

        def answer_to(host: str) -> int:
            address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(address, headers={"Host": host}), timeout=30
                ) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        hosts = ("mlflow:5000", "localhost:5000", "example.org")
        assert [answer_to(host) for host in hosts] == [200, 200, 403], (tmp_path / "server.log").read_text()
        command = [sys.executable, *shlex.split(here(started["worker"]["command"]))[1:]]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        workers += [
            subprocess.Popen(command, cwd=app, env=environment("worker"), **streams) for _ in range(2)
        ]
        said = [worker.communicate(timeout=240)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], "\n---\n".join(said)
        runs = MlflowClient(f"http://127.0.0.1:{port}").search_runs(["0"])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert parent.info.status == "FINISHED" and "best_value" in parent.data.metrics
        assert sum(run.info.status in ("FINISHED", "KILLED") for run in runs) >= 3
        assert any((tmp_path / "artifacts").rglob("*.md"))
        assert any((tmp_path / "sweeps").iterdir())
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
                worker.communicate(timeout=60)
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
