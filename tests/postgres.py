"""A real PostgreSQL server for tests, on loopback, with a folder and a port of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BINARIES = max(
    Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name)
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(is_so: Callable[[], Any], seconds: float, what: str) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := is_so():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


class Postgres:
    """The server, run as the user postgres where the tests run as root."""

    def __init__(self) -> None:
        # Not below pytest's folders, which are closed to other users.
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="cwgan-postgres-")), free_port()
        self.user: dict[str, Any] = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            shutil.chown(self.folder, "postgres")
        self.call("initdb", "--auth=trust", "--username=cwgan", "--no-sync", "-D", self.folder / "data")
        self.process: subprocess.Popen | None = None

    def call(self, program: str, *arguments: object) -> None:
        command = [BINARIES / program, *map(str, arguments)]
        done = subprocess.run(
            command, check=False, cwd=self.folder, capture_output=True, text=True, **self.user
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories="]
        command = [BINARIES / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-F"]
        command += [part for option in options for part in ("-c", option)]
        with open(self.folder / "postgres.log", "a") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self.user)
        wait_until(self.answers, 30, "PostgreSQL answers")

    def answers(self) -> bool:
        ask = [BINARIES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

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
