"""Entry points in this process: what they log, refuse, and go on with."""

import re
import shutil
import socket
from pathlib import Path

import make_data
import mlflow
import pytest
import torch
from runs import TINY, resolve_file
from safetensors.torch import load_file

from cwgan.launch import launch
from entrypoints import evaluate, generate, main, prepare, train_gan

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def failure(capsys, command, *flags):
    """The one line that an entry point ends with."""
    assert launch(command, list(flags)) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_only_the_scores_that_were_asked_for_and_h_are_logged_and_printed(store, capsys):
    mlflow.set_experiment("asked for")
    flags = ["--protocol=validation", "--gan.score_every=1", "--metrics=T1"]
    assert launch(main.COMMAND, [*TINY, *flags]) == 0
    printed = capsys.readouterr().out
    *_, whole = store.search_runs([store.get_experiment_by_name("asked for").experiment_id])
    assert {name for name in whole.data.metrics if "/" not in name} == {"val_H", "val_T1"}
    assert "val_T1" in printed
    assert not re.search(r"val_(S|U|AUSUC|raw_\w|gamma|leak\w+)\b", printed)


def test_a_failing_stage_fails_the_whole_and_leaves_nothing_running(store, capsys):
    mlflow.set_experiment("failing")
    message = failure(capsys, main.COMMAND, *TINY, "--gan.generator_lr=1e30")
    assert message.startswith("error: GAN: the term ")
    child, parent = store.search_runs([store.get_experiment_by_name("failing").experiment_id])
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    for run in (parent, child):
        assert run.info.status == "FAILED"
        assert run.data.tags["error"].startswith("FloatingPointError: GAN: the term ")


def test_the_same_run_goes_on_by_its_id_and_may_have_more_epochs(store, capsys):
    mlflow.set_experiment("resumed")
    assert launch(train_gan.COMMAND, [*TINY, "--run_name=first", "--seed=3"]) == 0
    (run,) = store.search_runs([store.get_experiment_by_name("resumed").experiment_id])
    given = f"--resume={run.info.run_id}"
    store.set_tag(run.info.run_id, "error", "of this attempt")
    assert launch(train_gan.COMMAND, [given, "--gan.epochs=4"]) == 0
    assert "error" not in store.get_run(run.info.run_id).data.tags
    (again,) = store.search_runs([store.get_experiment_by_name("resumed").experiment_id])
    assert (again.info.run_id, again.info.run_name, again.info.status) == (
        run.info.run_id,
        "first",
        "FINISHED",
    )
    for name, last in {"gan/critic": 4, "monitor/loss": 1}.items():
        points = store.get_metric_history(run.info.run_id, name)
        assert [point.step for point in points] == list(range(1, last + 1))
    assert launch(train_gan.COMMAND, [*TINY, "--run_name=unbroken", "--seed=3", "--gan.epochs=4"]) == 0
    (whole, _) = store.search_runs([store.get_experiment_by_name("resumed").experiment_id])
    ours, theirs = (load_file(resolve_file(each.info.run_id)) for each in (again, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for changed, why in {
        "--gan.epochs=3": "gan.epochs: found 3; allowed: at least 4, as run",
        "--seed=4": "seed: found 4; allowed: 3, as run",
        "--data.seed=1": "data.seed: found 1; allowed: 0, as run",
        "--gan.hidden_size=9": "gan.hidden_size: found 9; allowed: 8, as run",
    }.items():
        assert failure(capsys, train_gan.COMMAND, given, changed).startswith(f"error: --resume: {why}")
    assert "found a run of train_gan; allowed: the id of a run of main" in failure(
        capsys, main.COMMAND, given
    )
    assert "run id: found no run 'none'" in failure(capsys, main.COMMAND, "--resume=none")


def test_a_run_does_not_go_on_with_other_data(store, capsys, tmp_path):
    mlflow.set_experiment("other data")
    shutil.copytree(make_data.write_xlsa17(tmp_path / "data"), tmp_path / "moved")
    flags = [*TINY, "--select=false", "--gan.batch_size=8"]
    assert launch(train_gan.COMMAND, [*flags, f"--data.path={tmp_path / 'data'}"]) == 0
    (run,) = store.search_runs([store.get_experiment_by_name("other data").experiment_id])
    given = f"--resume={run.info.run_id}"
    assert launch(train_gan.COMMAND, [given, f"--data.path={tmp_path / 'moved'}"]) == 0
    make_data.write_xlsa17(tmp_path / "moved", features=2 * make_data.xlsa17_arrays()["features"] + 1)
    message = failure(capsys, train_gan.COMMAND, given, f"--data.path={tmp_path / 'moved'}")
    known = run.data.tags["data.digest"]
    assert "moved" in message
    assert f"allowed: {known}, that of the run that is resumed" in message


def test_a_run_that_was_killed_before_it_began_is_ended_and_cannot_go_on(store, capsys):
    run = store.create_run(store.get_experiment_by_name("tests").experiment_id, tags={"stage": "main"})
    message = failure(capsys, main.COMMAND, f"--resume={run.info.run_id}")
    assert "which was interrupted before it began; allowed: " in message
    assert store.get_run(run.info.run_id).info.status == "KILLED"


def test_main_needs_a_gan_and_says_so_before_it_trains_anything(store, capsys):
    message = failure(capsys, main.COMMAND, "--gan.train=false")
    assert message.startswith("error: configuration: gan.train: found false; allowed: true")


def test_only_a_whole_data_set_is_converted(store, capsys, tmp_path):
    message = failure(capsys, prepare.COMMAND, f"--out={tmp_path}/pair", "--protocol=validation")
    assert message.startswith("error: configuration: protocol: found validation; allowed: final")
    assert not (tmp_path / "pair").exists()


def test_a_checkpoint_that_would_supply_nothing_is_refused(store, capsys, tmp_path):
    (tmp_path / "pretrained.safetensors").write_text("never read")
    message = failure(capsys, train_gan.COMMAND, f"--pretrained={tmp_path}")
    assert message.startswith(
        "error: --pretrained: use: found nothing to supply; allowed: monitor.train=false"
    )


def test_a_folder_without_data_is_named_in_full(store, capsys):
    message = failure(capsys, train_gan.COMMAND, "--data.path=data/none")
    assert f"{Path.cwd()}/data/none: data.path: found" in message


def test_what_is_built_upon_must_be_of_the_right_kind(store, capsys, tmp_path):
    (tmp_path / "file").write_text("words")
    message = failure(capsys, generate.COMMAND, f"--gan={tmp_path}/file")
    assert "allowed: a checkpoint written by this program" in message
    assert "--classifier: value: found nothing" in failure(capsys, evaluate.COMMAND)


def test_a_store_that_cannot_be_reached_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        message = failure(capsys, train_gan.COMMAND)
    assert message.startswith(f"error: MLflow at {uri}: API request to {uri}/api")
