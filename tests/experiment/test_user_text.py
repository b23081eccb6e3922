"""What a user types stays data: no shell runs it, and no name made of it leaves its folder."""

import os
import subprocess
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.projects._project_spec import load_project

from cwgan.command_line import parse
from cwgan.errors import InputError
from cwgan.launch import launch
from entrypoints import generate, main, prepare, train_gan

pytestmark = [pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")]
ROOT = Path(__file__).resolve().parents[2]
NASTY = (
    "$(touch owned)",
    "`touch owned`",
    "a; touch owned",
    "a' 'b",
    '"; touch owned; "',
    "a\nb && touch owned",
    "../../owned",
    "/owned",
    "é 猫 \N{SNOWMAN} ${HOME}",
    "{data} %s %(name)s",
    "-x --gan.epochs=9",
)
SHORT = ("--threads=1", "--gan.train=false", "--monitor.epochs=1", "--regressor.epochs=1")


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize(("entry", "declared"), [("train_gan", "data.name"), ("prepare", "out")])
def test_mlflow_run_hands_every_text_to_the_program_as_it_is(
    tmp_path: Path, text: str, entry: str, declared: str
) -> None:
    point = load_project(str(ROOT)).get_entry_point(entry)
    command = point.compute_command({declared: text}, None)
    script = f"python() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == ["-m", f"entrypoints.{entry}", f"--{declared}", text]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", NASTY)
def test_a_name_of_any_text_is_taken_as_it_is(text: str) -> None:
    names = ("data.name", "run_name", "experiment", "register")
    config = parse(main.COMMAND, [f"--{name}={text}" for name in names]).config
    assert {config.data.name, config.run_name, config.experiment, config.register} == {text}


def test_names_of_any_text_leave_nothing_outside_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)  # undone after the test
    mlflow.set_tracking_uri(None)
    text = "../../owned $(touch owned)\n; 'b é"
    names = [f"--{name}={text}" for name in ("data.name", "run_name", "experiment")]
    assert launch(train_gan.COMMAND, [*SHORT, *names]) == 0, capsys.readouterr().err
    (run,) = MlflowClient().search_runs([MlflowClient().get_experiment_by_name(text).experiment_id])
    assert (run.info.run_name, run.data.params["data.name"]) == (text, text)
    assert launch(prepare.COMMAND, [f"--data.name={text}", "--out=pair"]) == 0, capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
    assert not list(tmp_path.rglob("owned*"))
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)

    outside = f"--gan={run.info.run_id}/../../../mlflow.db"
    capsys.readouterr()
    assert launch(generate.COMMAND, [outside]) == 1
    assert "allowed: an artifact within the run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a\0b", "a\udcff"])
@pytest.mark.parametrize("name", ["data.name", "data.path", "run_name", "register", "gan"])
def test_text_that_no_file_takes_is_refused(text: str, name: str) -> None:
    command = generate.COMMAND if name == "gan" else main.COMMAND
    with pytest.raises(InputError, match="allowed: text in UTF-8 without zero characters"):
        parse(command, ["--gan=x", f"--{name}={text}"] if name == "gan" else [f"--{name}={text}"])
