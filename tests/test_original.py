"""docs/original.md: the command of every row is run, at sizes that take about a second."""

import contextlib
import re
import shlex
from importlib import import_module
from pathlib import Path

import mlflow
import pytest
from make_data import write_xlsa17

from cwgan.command_line import Command
from cwgan.launch import launch

pytestmark = pytest.mark.filterwarnings("default")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "original.md"
_, _, *ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
SMALL = {
    **{"monitor.epochs": 1, "regressor.epochs": 1, "gan.epochs": 2, "gan.hidden_size": 8, "threads": 1},
    **{"generate.counts": "[3,3]", "generate.domain": "all", "classifier.epochs": 1},
}


def read_flags(command: Command, words: list[str]) -> list[str]:
    """Return the flags of a command, with small sizes where it takes them and none are given."""
    assert words[::2] == ["-P"] * (len(words) // 2)
    given = dict(word.split("=", 1) for word in words[1::2])
    small = {} if command.inherits or "resume" in given else SMALL
    values = {key: value for key, value in small.items() if command.has_flag(key)} | given
    return [f"--{key}={value}" for key, value in values.items()]


def test_the_command_of_every_row_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"<folder>": str(write_xlsa17(tmp_path / "data"))}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(ROWS) > 10
    with contextlib.chdir(tmp_path):
        for row in ROWS:
            text = row.rpartition(" | ")[2].strip("` |")
            option, name, *words = shlex.split(re.sub("<[^>]+>", lambda found: known[found[0]], text))
            assert option == "-e"
            command = import_module(f"entrypoints.{name}").COMMAND
            assert launch(command, read_flags(command, words)) == 0, text
            for stage, run_id in re.findall(r"^(\w+) run (\w+) in ", capsys.readouterr().out, re.MULTILINE):
                known[f"<run of {stage}>"] = run_id
    mlflow.set_tracking_uri(None)
