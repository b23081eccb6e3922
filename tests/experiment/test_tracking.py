"""The wall to MLflow against real stores: a SQLite file, and a server that keeps the artifacts to itself."""

import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import make_data
import mlflow
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file
from server import serve_mlflow

from cwgan import tracking
from cwgan.command_line import from_dict, to_dict
from cwgan.config import HIT_SCORES, RAW, SCORES, Config
from cwgan.errors import InputError, StoreError
from cwgan.launch import launch
from entrypoints import evaluate, generate, main, prepare, train_gan

# MLflow's own queries, and pictures of tensors, are not yet of the newest SQLAlchemy and NumPy.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
TINY = [
    "--threads=1",
    *(
        "--gan.hidden_size=8",
        "--gan.epochs=2",
        "--gan.critic_steps=1",
        "--gan.batch_size=512",
        "--regressor.epochs=1",
    ),
    *("--monitor.epochs=1", "--monitor.batch_size=2048", "--classifier.epochs=1", "--generate.counts=[20]"),
]
UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    """The address of a SQLite store; its artifacts are in a folder beside it."""
    folder = tmp_path_factory.mktemp("sqlite")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with contextlib.chdir(folder):
        MlflowClient(uri).create_experiment("tests")
    return uri


@pytest.fixture(scope="module")
def server_folder(tmp_path_factory):
    """Where the server keeps what it keeps."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(server_folder):
    """The address of an MLflow server whose artifacts are reached through it alone."""
    with serve_mlflow(server_folder) as uri:
        yield uri


@pytest.fixture
def store(sqlite, monkeypatch):
    """The SQLite store, in use."""
    yield from in_use(sqlite, monkeypatch)


@pytest.fixture
def remote(server, monkeypatch):
    """The server, in use."""
    yield from in_use(server, monkeypatch)


def in_use(uri, monkeypatch):
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    yield MlflowClient()
    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(None)


def started(scratch, config=None, sections=("gan",), references=None, **options):
    return tracking.run("stage", config or Config(), sections, references or {}, scratch, **options)


def config_with(**values):
    return from_dict({**to_dict(Config()), **values})


def files_of(client, run_id, folder=None):
    return sorted(item.path for item in client.list_artifacts(run_id, folder))


# Runs


def test_a_run_keeps_its_parameters_configuration_and_stage(store, tmp_path):
    config = from_dict({**to_dict(Config()), "seed": 3, "gan": {"beta1": 0.25}, "data": {"fold": 1}})
    with started(tmp_path, config, references={"gan_file": "abc", "gan.epochs": "12"}) as run:
        assert (run.folder / "config.yaml").is_file()
    kept = store.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "stage numbers gan.epochs=12"
    assert kept.data.tags["stage"] == "stage"
    given, differing = {"gan_file": "abc", "gan.epochs": "12"}, {"seed": "3", "gan.beta1": "0.25"}
    assert kept.data.params == given | differing
    assert from_dict(yaml.safe_load((run.folder / "config.yaml").read_text())) == config


def test_a_description_is_a_tag_and_stands_above_what_a_run_says_of_itself(store, tmp_path):
    with started(tmp_path, config_with(description="with new attributes")) as run:
        assert store.get_run(run.run_id).data.tags["mlflow.note.content"] == "with new attributes"
        run.describe("**H 50.0 %**")
        with started(tmp_path, config_with(description="with new attributes"), within=run) as child:
            assert "description" not in store.get_run(child.run_id).data.tags
    tags = store.get_run(run.run_id).data.tags
    assert tags["description"] == "with new attributes"
    assert tags["mlflow.note.content"] == "with new attributes\n\n**H 50.0 %**"


def test_metrics_of_an_epoch_become_points_of_their_curves(store, tmp_path):
    with started(tmp_path) as run:
        run.log({"gan/critic": 2.0, "gan/cycle": 1.0}, 1)
        run.log({"gan/critic": 0.5, "gan/cycle": 1.0}, 2)
        run.log_scores({"H": 0.25})
    curve = store.get_metric_history(run.run_id, "gan/critic")
    assert [(point.step, point.value) for point in curve] == [(1, 2.0), (2, 0.5)]
    assert store.get_run(run.run_id).data.metrics["H"] == 0.25


def test_the_data_set_is_an_input_of_the_run(store, tmp_path, numbers):
    with started(tmp_path) as run:
        run.log_dataset(numbers)
    kept = store.get_run(run.run_id)
    recorded = kept.inputs.dataset_inputs[0]
    assert (recorded.dataset.name, recorded.dataset.digest) == ("numbers", numbers.digest)
    assert {tag.key: tag.value for tag in recorded.tags}["split_hash"] == numbers.split_hash
    assert kept.data.tags["data.digest"] == numbers.digest


def test_a_run_with_a_parent_is_its_child_whether_that_is_open_here_or_not(store, tmp_path):
    with started(tmp_path) as parent, started(tmp_path, parent=parent.run_id) as within:
        pass
    with started(tmp_path, parent=parent.run_id) as after:
        pass
    for run in (within, after):
        kept = store.get_run(run.run_id)
        assert kept.data.tags["mlflow.parentRunId"] == parent.run_id
        assert (kept.info.run_name, kept.info.experiment_id) == ("stage", parent.experiment_id)


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (
            InputError("file", "field", "this", "that"),
            "FAILED",
            "InputError: file: field: found this; allowed: that",
        ),
        (FloatingPointError("loss is nan"), "FAILED", "FloatingPointError: loss is nan"),
        (KeyboardInterrupt(), "KILLED", None),
    ],
)
def test_an_error_ends_the_run_and_its_parent_and_goes_on_upwards(store, tmp_path, error, status, tag):
    with pytest.raises(type(error)), started(tmp_path) as parent, started(tmp_path, within=parent) as child:
        raise error
    for run in (parent, child):
        kept = store.get_run(run.run_id)
        assert kept.info.status == status
        assert kept.data.tags.get("error") == tag


def test_children_point_at_their_parent_and_bear_the_name_of_their_stage(store, tmp_path):
    config = config_with(run_name="the whole")
    with started(tmp_path, config) as parent, started(tmp_path, config, within=parent) as child:
        pass
    assert store.get_run(parent.run_id).info.run_name == "the whole"
    assert store.get_run(child.run_id).info.run_name == "stage numbers"
    assert store.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("baseline", "baseline"),
        ("flo seed-3", "flo seed-3"),
        ("flo-lr-0.01", "flo-lr-0.01"),
        ("bedecked-owl-123", "stage numbers"),
        ("", "stage numbers"),
    ],
)
def test_the_name_given_to_mlflow_run_stays_unless_it_is_of_mlflows_own_shape(
    store, tmp_path, monkeypatch, given, kept
):
    made = store.create_run(store.get_experiment_by_name("tests").experiment_id, run_name=given or None)
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    with started(tmp_path) as run:
        assert run.run_id == made.info.run_id
    assert store.get_run(run.run_id).info.run_name == kept


def test_what_mlflow_run_has_logged_is_not_logged_in_another_spelling(store, tmp_path, monkeypatch):
    made = store.create_run(store.get_experiment_by_name("tests").experiment_id)
    store.log_param(made.info.run_id, "gan.cycle_weight", "0.010")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    with started(tmp_path, references={"gan.cycle_weight": "0.01"}) as run:
        pass
    assert store.get_run(run.run_id).data.params == {"gan.cycle_weight": "0.010"}


def test_a_run_whose_program_never_began_is_ended_by_the_next_and_one_that_began_or_may_begin_is_not(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr("cwgan.tracking.opening.SOON", 0)
    begun = {"mlflow.project.entryPoint": "main", "mlflow.user": getpass.getuser()}
    tags = [
        begun,
        {**begun, "stage": "main"},
        {**begun, "mlflow.parentRunId": UNKNOWN},
        {"mlflow.user": "me"},
    ]
    experiment = store.create_experiment("begun")
    made = [store.create_run(experiment, tags=each, run_name="bedecked-owl-1").info.run_id for each in tags]
    time.sleep(0.01)
    mlflow.set_experiment("begun")
    with started(tmp_path):
        pass
    assert [store.get_run(run).info.status for run in made] == ["FAILED", "RUNNING", "RUNNING", "RUNNING"]
    never = store.get_run(made[0])
    assert never.info.run_name == "main never began"
    assert "--env-manager local" in never.data.tags["mlflow.note.content"]
    monkeypatch.setenv("MLFLOW_RUN_ID", made[0])  # it does, late
    with started(tmp_path):
        pass
    late = store.get_run(made[0])
    assert (late.info.status, late.info.run_name) == ("FINISHED", "stage numbers")
    assert late.data.tags["mlflow.note.content"] == ""


def test_an_experiment_has_h_as_its_primary_metric_and_a_view_of_all_results(store, tmp_path):
    mlflow.set_experiment("tagged")
    experiment = store.get_experiment_by_name("tagged").experiment_id
    store.set_experiment_tag(experiment, "mlflow.experiment.primaryMetric.name", "mine")
    with started(tmp_path):
        pass
    tags = store.get_experiment(experiment).tags
    assert tags["mlflow.experiment.primaryMetric.name"] == "mine", "what is there stays"
    view = json.loads(tags["mlflow.sharedViewState.results"])
    with started(tmp_path) as run:
        run.log_scores({"H": 0.5})
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    (found,) = store.search_runs([experiment], view["searchFilter"], order_by=[order])
    assert found.info.run_id == run.run_id


def test_an_experiment_is_chosen_but_not_against_mlflow_run(store, tmp_path, monkeypatch):
    with started(tmp_path, config_with(experiment="another")) as run:
        pass
    assert store.get_experiment(run.experiment_id).name == "another"
    monkeypatch.setenv("MLFLOW_RUN_ID", UNKNOWN)
    with (
        pytest.raises(InputError, match="experiment: found 'another'; allowed: nothing under `mlflow run`"),
        started(tmp_path, config_with(experiment="another")),
    ):
        pass


def test_an_artifact_folder_that_cannot_be_made_fails_the_run(store, tmp_path):
    (tmp_path / "file").write_text("in the way")
    mlflow.set_experiment(
        experiment_id=store.create_experiment("blocked", str(tmp_path / "file" / "artifacts"))
    )
    with pytest.raises(NotADirectoryError), started(tmp_path):
        pass
    (failed,) = store.search_runs([store.get_experiment_by_name("blocked").experiment_id])
    assert failed.info.status == "FAILED"
    assert "Not a directory" in failed.data.tags["error"]


# Sessions


def test_the_temporary_folder_of_a_session_is_gone_after_it(store):
    with tracking.session() as scratch:
        (scratch / "file").write_text("content")
    assert not scratch.exists()
    with pytest.raises(InputError), tracking.session() as scratch:
        raise InputError("file", "field", "this", "that")
    assert not scratch.exists()


def test_what_could_not_be_uploaded_is_kept_and_its_place_told(store):
    with pytest.raises(StoreError) as error, tracking.session() as scratch:
        (scratch / "gan.safetensors").write_text("hours of work")
        raise MlflowException("the disk is full\nand more")
    assert (
        str(error.value)
        == f"MLflow at {tracking.store_uri()}: the disk is full; files made so far are kept in {scratch}"
    )
    assert (scratch / "gan.safetensors").read_text() == "hours of work"
    (scratch / "gan.safetensors").unlink()
    scratch.rmdir()


def test_processes_that_create_one_store_at_once_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/mlflow.db")
    program = "from cwgan import tracking\nwith tracking.session(): pass"
    both = [
        subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate()[1].count("Error") for process in both] == [0, 0]
    assert [process.returncode for process in both] == [0, 0]


# References


@pytest.fixture
def family(store, tmp_path):
    """A run with a child that made a file, in a folder too."""
    with started(tmp_path) as parent, started(tmp_path, within=parent) as child:
        (child.folder / "checkpoints").mkdir()
        for name in ("gan.safetensors", "checkpoints/gan-epoch-0002.safetensors"):
            (child.folder / name).write_text(name)
    return parent, child


def resolved(reference, scratch=Path("unused")):
    return tracking.resolve(reference, "gan.safetensors", "gan", scratch)


def test_a_file_or_a_folder_with_the_artifact_stands_for_itself(tmp_path, monkeypatch):
    (tmp_path / "gan.safetensors").write_text("")
    (tmp_path / "other").write_text("")
    monkeypatch.chdir(tmp_path)
    assert resolved(str(tmp_path)) == tmp_path / "gan.safetensors"
    assert resolved(".") == tmp_path / "gan.safetensors"
    assert resolved("other") == tmp_path / "other"


def test_a_run_stands_for_the_artifact_that_it_or_its_child_made(family):
    parent, child = family
    for run in (parent, child):
        for spelling in (
            run.run_id,
            run.run_id.upper(),
            f"runs:/{run.run_id}",
            f"{run.run_id}/gan.safetensors",
        ):
            assert resolved(spelling) == child.folder / "gan.safetensors"
        savepoint = "checkpoints/gan-epoch-0002.safetensors"
        assert resolved(f"{run.run_id}/{savepoint}") == child.folder / savepoint


def test_two_children_with_the_artifact_are_told_apart_by_the_user(store, tmp_path):
    with started(tmp_path) as parent:
        for _ in range(2):
            with started(tmp_path, within=parent) as child:
                (child.folder / "gan.safetensors").write_text("")
    with pytest.raises(
        InputError,
        match=rf"found 2 children that have gan\.safetensors; allowed: one of them: .*{child.run_id}",
    ):
        resolved(parent.run_id)
    assert resolved(child.run_id) == child.folder / "gan.safetensors"


def test_references_to_nothing_are_refused_with_what_is_there(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"--gan: run id: found no run {UNKNOWN} in sqlite:"):
        resolved(UNKNOWN)
    with pytest.raises(
        InputError, match=rf"neither run id nor file: 'nothing/here'.*relative paths start at {tmp_path}"
    ):
        resolved("nothing/here")
    with pytest.raises(InputError, match=rf"no gan\.safetensors in the folder {tmp_path}"):
        resolved(".")
    with started(tmp_path) as run:
        pass
    with pytest.raises(InputError, match=r"no artifact gan\.safetensors \(it has config\.yaml\)"):
        resolved(run.run_id)
    with pytest.raises(InputError, match=r"no artifact pretrained\.safetensors"):
        resolved(f"{run.run_id}/pretrained.safetensors")


# Entry points, in this process


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
    assert launch(train_gan.COMMAND, [given, "--gan.epochs=4"]) == 0
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
    ours, theirs = (load_file(resolved(each.info.run_id)) for each in (again, whole))
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


# A server that keeps the artifacts to itself


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
    assert resolved(run.run_id, tmp_path / "new").read_text() == "late"


def test_what_changes_is_uploaded_again(remote, tmp_path):
    with started(tmp_path) as run:
        (run.folder / "gan.safetensors").write_text("first")
        run.publish()
        (run.folder / "gan.safetensors").write_text("second")
    assert resolved(run.run_id, tmp_path / "new").read_text() == "second"


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
    assert list(tmp_path.iterdir()) == [], "nothing of it is left here"
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
