"""Runs and sessions against a real store, a SQLite file."""

import getpass
import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import mlflow
import pytest
import yaml
from mlflow.exceptions import MlflowException
from project import start
from runs import UNKNOWN, config_with, started

from cwgan import tracking
from cwgan.command_line import from_dict, to_dict
from cwgan.config import Config
from cwgan.errors import InputError, StoreError

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


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


def test_processes_that_create_one_store_at_once_wait_for_each_other(tmp_path):
    said, store = tmp_path / "said.txt", f"sqlite:///{tmp_path}/new/mlflow.db"
    place = {"folder": tmp_path, "out": said, "err": said}
    both = [start(open_and_close, **place, MLFLOW_TRACKING_URI=store) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0], said.read_text()
    assert "Error" not in said.read_text()


def test_runs_that_begin_at_once_in_a_new_experiment_all_record_the_data_set(store, tmp_path, numbers):
    mlflow.set_experiment("begun at once")
    beginning = Barrier(8)

    def begin():
        beginning.wait()
        with started(tmp_path) as run:
            run.log_dataset(numbers)
        return store.get_run(run.run_id)

    with ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(begin) for _ in range(8)]
        runs = [run.result() for run in begun]
    assert [len(run.inputs.dataset_inputs) for run in runs] == [1] * 8


def open_and_close():
    with tracking.session():
        pass


def test_lost_trials_are_ended_but_no_command_that_works_for_the_same_parent(store):
    experiment = store.get_experiment_by_name("tests").experiment_id
    parent = store.create_run(experiment).info.run_id
    of_parent = {"mlflow.parentRunId": parent, "stage": "sweep"}
    command = store.create_run(experiment, tags={**of_parent, "mlflow.project.entryPoint": "sweep"})
    lost, alive = (store.create_run(experiment, tags=of_parent) for _ in range(2))
    tracking.end_lost(parent, {alive.info.run_id})
    states = [store.get_run(run.info.run_id).info.status for run in (command, lost, alive)]
    assert states == ["RUNNING", "FAILED", "RUNNING"]
