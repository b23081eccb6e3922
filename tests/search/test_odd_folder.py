"""A project folder of any name holds what is made there, and nothing lands beside it."""

import os
import shlex
from pathlib import Path

import mlflow
import pytest
from place import Place

from cwgan.command_line import Command
from cwgan.launch import launch
from entrypoints import generate, train_gan

pytestmark = [pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")]
NAME = "my proj # 50% l'été (1)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of that name, with MLflow as it is where nobody has set anything."""
    place = tmp_path / "work" / NAME
    place.mkdir(parents=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(place)
    mlflow.set_tracking_uri(None)
    return place


def test_a_sweep_a_training_and_what_builds_on_them_work_in_a_folder_of_any_name(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    place = Place(folder)
    place.uri = ""  # MLflow takes an empty address for none
    said = place.sweep(**{"sweep.trials": 1})
    assert (folder / "sweeps" / "optuna.db").is_file()
    assert list((folder / "sweeps" / "gan").iterdir())
    assert list(folder.glob("mlruns/0/*/artifacts/best.yaml"))
    files = [path for path in folder.parent.rglob("*") if path.is_file() and folder not in path.parents]
    assert files == []

    typed = said.split("Use it: ")[1].split(", or download")[0]  # -P config=<folder>/best.yaml
    _, best = shlex.split(typed.strip("`"))
    run_id = run(train_gan.COMMAND, capsys, f"--{best}", "--gan.epochs=1")
    run(generate.COMMAND, capsys, f"--gan={run_id}")
    assert len(list(folder.glob("mlruns/0/*/artifacts/synthetic.h5"))) == 1


def run(command: Command, capsys: pytest.CaptureFixture, *argv: str) -> str:
    """Run an entry point in this process; return the id of its run."""
    assert launch(command, list(argv)) == 0, capsys.readouterr().err
    os.environ.pop("MLFLOW_RUN_ID", None)
    return capsys.readouterr().out.split(f"{command.name} run ")[1].split()[0]
