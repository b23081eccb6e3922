"""A real MLflow server for tests, on loopback; artifacts are reached through it alone."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postgres import free_port, wait_until


@contextmanager
def serve_mlflow(folder: Path) -> Iterator[str]:
    """Yield the address of a server that keeps everything in a folder, also its process id in `pid`."""
    port = free_port()
    command = [Path(sys.executable).with_name("mlflow"), "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # where uvicorn is
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    (folder / "pid").write_text(str(process.pid))

    def answers() -> bool:
        assert process.poll() is None, (folder / "server.log").read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            return False
        return True

    try:
        wait_until(answers, 60, "MLflow answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
