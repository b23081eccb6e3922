"""Runs against a server that keeps the artifacts to itself, which may be away."""

import contextlib
import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import mlflow
import pytest
from runs import TINY, files_of, resolve_file, started

from cwgan import tracking
from cwgan.config import HIT_SCORES, RAW, SCORES
from cwgan.errors import StoreError
from cwgan.launch import launch
from entrypoints import evaluate, main

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def test_files_are_uploaded_as_they_come_and_deleted_as_savepoints_go(remote, tmp_path):
    with started(tmp_path) as run:
        assert not Path(run.artifact_uri).exists()
        (run.folder / "checkpoints").mkdir()
        for epoch in (1, 2, 3):
            (run.folder / f"checkpoints/gan-{epoch}").write_text(str(epoch))
            if epoch > 1:
                (run.folder / f"checkpoints/gan-{epoch - 1}").unlink()
            (run.folder / ".gan.part").write_text("unfinished")
            run.log({"gan/critic": 1.0}, epoch)
            assert files_of(remote, run.run_id, "checkpoints") == [f"checkpoints/gan-{epoch}"]
        (run.folder / "gan.safetensors").write_text("late")
    assert files_of(remote, run.run_id) == ["checkpoints", "config.yaml", "gan.safetensors"]
    assert resolve_file(run.run_id, tmp_path / "new").read_text() == "late"


def test_what_changes_is_uploaded_again(remote, tmp_path):
    with started(tmp_path) as run:
        (run.folder / "gan.safetensors").write_text("first")
        run.publish()
        (run.folder / "gan.safetensors").write_text("second")
    assert resolve_file(run.run_id, tmp_path / "new").read_text() == "second"


def test_a_failed_run_uploads_what_it_has(remote, tmp_path):
    with pytest.raises(FloatingPointError), started(tmp_path) as run:
        (run.folder / "gan-epoch-0007").write_text("worth keeping")
        raise FloatingPointError("loss")
    assert remote.get_run(run.run_id).info.status == "FAILED"
    assert "gan-epoch-0007" in files_of(remote, run.run_id)


def test_what_the_server_cannot_store_fails_the_run_and_is_kept_here(remote, server_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError) as error, tracking.session() as scratch, started(scratch) as run:
        (server_folder / run.experiment_id / run.run_id).write_text("in the way of the artifacts")
        (run.folder / "gan.safetensors").write_text("hours of work")
    assert re.fullmatch(
        rf"MLflow at http:.*: uploading to {run.artifact_uri}: .*; files made so far are kept in {scratch}",
        str(error.value),
    )
    assert (run.folder / "gan.safetensors").read_text() == "hours of work"
    assert remote.get_run(run.run_id).info.status == "FAILED"
    shutil.rmtree(scratch)


@contextlib.contextmanager
def stopped(server_folder):
    """Have the server's processes stand still, so that it takes requests and answers none."""
    number = int((server_folder / "pid").read_text())
    os.killpg(number, signal.SIGSTOP)
    yield
    os.killpg(number, signal.SIGCONT)


def test_a_training_goes_on_while_the_server_is_away_and_sends_all_later(
    remote, server_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("cwgan.tracking.store.SECONDS_OF_PATIENCE", 1)
    monkeypatch.setattr("cwgan.tracking.record.SECONDS_OF_QUIET", 0.2)
    with started(tmp_path) as run:
        run.log({"gan/critic": 1.0}, 1)
        with stopped(server_folder):
            for epoch in (2, 3, 4):
                (run.folder / f"gan-{epoch}").write_text("made meanwhile")
                run.log({"gan/critic": float(epoch)}, epoch)
        time.sleep(0.3)
        run.log({"gan/critic": 5.0}, 5)
        points = remote.get_metric_history(run.run_id, "gan/critic")
        assert [(point.step, point.value) for point in points] == [(n, float(n)) for n in range(1, 6)]
        assert {"gan-2", "gan-3", "gan-4"} <= set(files_of(remote, run.run_id))
    assert remote.get_run(run.run_id).info.status == "FINISHED"
    assert "warning: MLflow is away, logs wait: " in capsys.readouterr().err


def test_a_training_goes_on_from_what_the_server_has_on_another_machine(remote, tmp_path, monkeypatch):
    mlflow.set_experiment("moved")
    flags = [*TINY, "--gan.epochs=4", "--gan.save.resume_every=1e-9"]
    log, before = tracking.Run.log, tempfile.tempdir
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt(run, metrics, epoch):
        log(run, metrics, epoch)
        if "gan/critic" in metrics and epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tracking.Run, "log", interrupt)
        assert launch(main.COMMAND, flags) == 130
    # PyTorch makes a folder of its own.
    left = [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")]
    assert left == [], "nothing of it is left here"
    child, parent = remote.search_runs([remote.get_experiment_by_name("moved").experiment_id])
    assert (child.info.status, parent.info.status) == ("KILLED", "KILLED")
    assert files_of(remote, child.info.run_id, "resume")
    assert launch(main.COMMAND, [f"--resume={parent.info.run_id}"]) == 0
    monkeypatch.setattr(tempfile, "tempdir", before)
    runs = remote.search_runs([remote.get_experiment_by_name("moved").experiment_id])
    assert sorted(run.data.tags["stage"] for run in runs) == ["generate", "main", "train_cls", "train_gan"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    points = remote.get_metric_history(child.info.run_id, "gan/critic")
    assert [point.step for point in points] == [1, 2, 3, 4]
    assert not files_of(remote, child.info.run_id, "resume")


def test_the_whole_road_runs_against_a_server_and_can_be_built_upon(remote, capsys, tmp_path):
    mlflow.set_experiment("road")
    assert launch(main.COMMAND, TINY) == 0
    assert f"Curves and pictures: {tracking.store_uri()}/#/experiments/" in capsys.readouterr().out
    runs = {
        run.data.tags["stage"]: run.info.run_id
        for run in remote.search_runs([remote.get_experiment_by_name("road").experiment_id])
    }
    assert {"results.json", "summary.md", "training_curves.png"} <= set(files_of(remote, runs["main"]))
    assert "gan.safetensors" in files_of(remote, runs["train_gan"])
    assert "synthetic.h5" in files_of(remote, runs["generate"])
    assert launch(evaluate.COMMAND, [f"--classifier={runs['main']}"]) == 0
    (again, *_) = remote.search_runs([remote.get_experiment_by_name("road").experiment_id])
    assert again.data.tags["stage"] == "evaluate"
    scores = remote.get_run(runs["main"]).data.metrics
    shown = [name for name in SCORES if name not in (*RAW, *HIT_SCORES, "gamma")]
    assert {name: scores[name] for name in shown} == again.data.metrics
