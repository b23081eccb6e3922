"""Sweeps that are killed, joined, resumed under `mlflow run`, or whose parent run was deleted."""

import time

import pytest
from mlflow.tracking import MlflowClient
from place import Place
from project import mlflow_run

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own


def test_a_killed_command_goes_on_with_the_same_command_and_leaves_nothing_running(tmp_path):
    place = Place(tmp_path)
    process = place.start("said.txt", **{"sweep.trials": 4, "sweep.workers": 2})
    until = time.monotonic() + 120
    while time.monotonic() < until:
        trials = [run for parent in place.runs() for run in place.trials(parent)]
        if any(run.info.status == "RUNNING" and run.data.metrics for run in trials):
            break
        time.sleep(0.2)
    process.kill()
    process.join()
    assert place.runs()[0].info.status == "RUNNING", "killed before it could say anything"
    place.sweep(**{"sweep.trials": 4})
    (parent,) = place.runs()
    states = [run.info.status for run in place.trials(parent)]
    assert (parent.info.status, states.count("FINISHED"), states.count("RUNNING")) == ("FINISHED", 4, 0)


def test_a_second_command_works_with_the_first_and_reports_when_that_is_killed(tmp_path):
    place = Place(tmp_path)
    first, second = (place.start(said, **{"sweep.trials": 4}) for said in ("first.txt", "second.txt"))
    first.kill()
    second.join(240)
    assert second.exitcode == 0, (tmp_path / "second.txt").read_text()
    (parent,) = place.runs()
    states = [run.info.status for run in place.runs(parent)]
    assert (parent.info.status, states.count("FINISHED"), states.count("RUNNING")) == ("FINISHED", 4, 0)
    assert (place.artifacts(parent) / "best.yaml").is_file()


def test_mlflow_run_goes_on_with_the_parent_of_the_command_before(tmp_path):
    place = Place(tmp_path)
    place.sweep(**{"sweep.trials": 1})
    given = f"config={tmp_path}/tiny.yaml", f"sweep.folder={tmp_path}/sweeps", "sweep.trials=2"
    done = mlflow_run(tmp_path, "sweep", *given)
    assert done.status == 0, done.err
    (parent,) = place.runs()
    assert len(place.trials(parent)) == 2
    (joined,) = [run for run in place.runs(parent) if "trial_number" not in run.data.tags]
    ended = (joined.info.run_name, joined.info.status, parent.info.status)
    assert ended == ("joined", "FINISHED", "FINISHED")


def test_a_deleted_parent_is_replaced(tmp_path):
    place = Place(tmp_path)
    place.sweep(**{"sweep.trials": 1})
    (old,) = place.runs()
    MlflowClient(place.uri).delete_run(old.info.run_id)
    place.sweep(**{"sweep.trials": 1})
    (new,) = place.runs()
    assert new.info.run_id != old.info.run_id
    assert (place.artifacts(new) / "best.yaml").is_file()
