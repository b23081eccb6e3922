"""What is killed or interrupted and resumed leaves the same as what nobody disturbed."""

import time

import pytest
from mlflow import MlflowClient

from benchmarks.soak import TINY, Road, kill_and_resume
from cwgan.gan.checkpoint import load_checkpoint

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def test_a_road_killed_at_random_moments_goes_on_to_the_same_bits_and_curves(tmp_path):
    assert kill_and_resume(tmp_path, TINY, kills=2)["differ"] == 0


def test_a_signal_ends_parent_and_child_as_killed_with_a_whole_checkpoint_and_the_command(tmp_path):
    road = Road(tmp_path, "stopped", {**TINY, "gan.epochs": 1000})
    process = road.start()
    while len(list(tmp_path.glob("mlruns/*/*/artifacts/resume/gan-*"))) < 2:
        time.sleep(0.1)
        assert process.exitcode is None
    process.terminate()
    process.join(20)
    assert process.exitcode == 130
    child, parent = road.list_runs()
    assert [run.info.status for run in (child, parent)] == ["KILLED", "KILLED"]
    said = (tmp_path / "stopped.txt").read_text().splitlines()
    assert said[-2:] == [
        f"to go on with it: python -m entrypoints.main --resume={parent.info.run_id}",
        "interrupted",
    ]
    points = sorted(tmp_path.glob("mlruns/*/*/artifacts/resume/*"))
    epochs = [load_checkpoint(point).facts["epoch"] for point in points]
    assert len(epochs) == 2
    logged = MlflowClient(road.uri).get_metric_history(child.info.run_id, "gan/critic")
    assert epochs[-1] in (len(logged) - 1, len(logged))
