"""The sweep as a user runs it on one machine, at tiny size, and what it leaves in MLflow."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from cwgan.command_line import parse
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import load_numbers
from entrypoints import main

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own
ROOT = Path(__file__).resolve().parents[2]
TINY = """
threads: 1
monitor: {epochs: 1, batch_size: 512}
regressor: {epochs: 1, batch_size: 256}
gan: {epochs: 3, hidden_size: 64, score_every: 1, generator_lr: 3.0e-3}
generate: {counts: [30]}
classifier: {epochs: 6, batch_size: 128, lr: 1.0e-2}
sweep: {trials_per_gan: 3, heartbeat: 1, objective: calibrated_H}
"""


class Place:
    """A folder with a store of its own, where sweeps are run and looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        (folder / "tiny.yaml").write_text(TINY)

    def start(self, **flags: object) -> subprocess.Popen:
        given = [f"--{name}={value}" for name, value in {"config": "tiny.yaml", **flags}.items()]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": self.uri, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [sys.executable, "-m", "entrypoints.sweep", *given]
        return subprocess.Popen(command, cwd=self.folder, env=environment, **pipes)

    def sweep(self, status: int = 0, **flags: object) -> str:
        process = self.start(**flags)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == status, said
        return said

    def runs(self, parent: Run | None = None) -> list[Run]:
        """Return the children of a run, or the runs that have no parent, oldest first."""
        wanted = parent.info.run_id if parent else None
        mlflow.set_tracking_uri(self.uri)
        order = {"search_all_experiments": True, "output_format": "list", "order_by": ["start_time ASC"]}
        found = [
            run for run in mlflow.search_runs(**order) if run.data.tags.get("mlflow.parentRunId") == wanted
        ]
        mlflow.set_tracking_uri(None)
        return found

    def trials(self, parent: Run) -> list[Run]:
        return [run for run in self.runs(parent) if "trial_number" in run.data.tags]

    def artifacts(self, run: Run) -> Path:
        return self.folder / "mlruns" / run.info.experiment_id / run.info.run_id / "artifacts"


def points(trials: list[Run]) -> list[tuple[float, int]]:
    params = [run.data.params for run in trials]
    return [(float(given["gan.cycle_weight"]), int(given["generate.counts"])) for given in params]


def wait_for_line(process: subprocess.Popen, text: str) -> None:
    while text not in (line := process.stdout.readline()):
        assert line, "the command ended"


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in numbers as files in which every test row is NaN: whoever looks at one cannot go on."""
    folder = tmp_path_factory.mktemp("spoiled")
    save_hdf5(load_numbers(), folder)
    with h5py.File(folder / "data.h5", "r+") as file:
        for split in ("seen", "unseen"):
            file[f"test/{split}/X"][:] = np.nan
    return folder


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, spoiled: Path) -> Place:
    """A place where six trials have been run without a look at a test row."""
    place = Place(tmp_path_factory.mktemp("swept"))
    said = place.sweep(**{"data.path": spoiled, "sweep.trials": 6, "sweep.pruner": "none"})
    assert "6 trials complete, 0 pruned, 0 broken; 2 GANs trained" in said
    return place


def test_the_parent_answers_which_setting_is_best_and_every_trial_is_a_child(swept):
    (parent,) = swept.runs()
    assert (parent.info.status, parent.data.tags["stage"]) == ("FINISHED", "sweep")
    trials = swept.trials(parent)[:6]
    assert [run.data.tags["trial_number"] for run in trials] == list("012345")
    assert {run.info.status for run in trials} == {"FINISHED"}
    best = max(trials, key=lambda run: (run.data.metrics["value"], -int(run.data.tags["trial_number"])))
    tags, metrics = parent.data.tags, parent.data.metrics
    assert metrics["best_value"] == best.data.metrics["value"]
    weight, count = points([best])[0]
    assert (tags["best.gan.cycle_weight"], tags["best.generate.counts"]) == (f"{weight:.4g}", str(count))
    made = {path.name for path in swept.artifacts(parent).iterdir()}
    assert {"best.yaml", "trials.md", "history.png", "slices.png"} <= made
    assert not {"surface.png", "importances.png"} & made, "two GAN settings say nothing of what lies between"
    assert f"runs/{best.info.run_id}" in tags["mlflow.note.content"]


def test_one_gan_serves_several_counts_and_the_presets_own_setting_comes_first(swept):
    (parent,) = swept.runs()
    trials = swept.trials(parent)[:6]
    assert points(trials)[0] == (0.01, 30)
    gans = [run.data.tags["gan"] for run in trials]
    assert [gans.count(gan) for gan in dict.fromkeys(gans)] == [3, 3]
    assert [run.data.metrics["gan_trainings"] for run in trials] == [1, 0, 0, 1, 0, 0]
    assert parent.data.metrics["default_value"] == trials[0].data.metrics["value"]


def test_the_curve_of_a_trial_has_every_scored_epoch_and_its_value_is_the_best_of_them(swept):
    (parent,) = swept.runs()
    for run in swept.trials(parent)[:6]:
        curve = MlflowClient(swept.uri).get_metric_history(run.info.run_id, "val_calibrated_H")
        assert [point.step for point in curve] == [1, 2, 3]
        assert run.data.metrics["value"] == max(point.value for point in curve)


def test_the_best_setting_is_a_layer_to_use_as_it_is(swept):
    (parent,) = swept.runs()
    config = parse(main.COMMAND, ["--config", str(swept.artifacts(parent) / "best.yaml")]).config
    number = parent.data.tags["best.trial"]
    (best,) = [run for run in swept.trials(parent) if run.data.tags["trial_number"] == number]
    assert points([best]) == [(config.gan.cycle_weight, config.generate.counts[0])]
    assert (config.gan.hidden_size, config.gan.generator_lr, config.protocol) == (64, 3e-3, "final")
    assert config.gan.epochs == best.data.metrics["epoch"]


def test_the_same_command_adds_only_the_missing_trials_and_repeats_no_point(swept, spoiled):
    said = swept.sweep(
        **{"data.path": spoiled, "sweep.trials": 8, "sweep.pruner": "none", "sweep.workers": 2}
    )
    (parent,) = swept.runs()
    assert said.count(" complete: ") == 2
    found = points(swept.trials(parent))
    assert len(found) == len(set(found)) == 8


def test_a_study_is_not_mixed_with_other_settings(swept, spoiled):
    (parent,) = swept.runs()
    flags = {"data.path": spoiled, "sweep.study": parent.data.tags["study"], "gan.hidden_size": 32}
    said = swept.sweep(1, **flags)
    assert "gan.hidden_size: found 32; allowed: 64, as it was begun with; or another sweep.study" in said
    assert len(swept.runs()) == 1


def test_a_killed_command_goes_on_with_the_same_command_and_leaves_nothing_running(tmp_path):
    place = Place(tmp_path)
    process = place.start(**{"sweep.trials": 4, "sweep.workers": 2})
    until = time.monotonic() + 120
    while time.monotonic() < until:
        trials = [run for parent in place.runs() for run in place.trials(parent)]
        if any(run.info.status == "RUNNING" and run.data.metrics for run in trials):
            break
        time.sleep(0.2)
    process.kill()
    process.communicate()
    assert place.runs()[0].info.status == "RUNNING", "killed before it could say anything"
    place.sweep(**{"sweep.trials": 4})
    (parent,) = place.runs()
    states = [run.info.status for run in place.trials(parent)]
    assert (parent.info.status, states.count("FINISHED"), states.count("RUNNING")) == ("FINISHED", 4, 0)


def test_a_second_command_works_with_the_first_and_reports_when_that_is_killed(tmp_path):
    place = Place(tmp_path)
    commands = [place.start(**{"sweep.trials": 4}) for _ in range(2)]
    for command in commands:
        wait_for_line(command, "parent run")
    commands[0].kill()
    commands[0].communicate()
    said, _ = commands[1].communicate(timeout=240)
    assert commands[1].returncode == 0, said
    (parent,) = place.runs()
    states = [run.info.status for run in place.runs(parent)]
    assert (parent.info.status, states.count("FINISHED"), states.count("RUNNING")) == ("FINISHED", 4, 0)
    assert (place.artifacts(parent) / "best.yaml").is_file()


def test_mlflow_run_goes_on_with_the_parent_of_the_run_before(tmp_path):
    place = Place(tmp_path)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": place.uri, "PATH": path}
    for trials in (1, 2):
        given = {
            "config": tmp_path / "tiny.yaml",
            "sweep.trials": trials,
            "sweep.folder": tmp_path / "sweeps",
        }
        flags = [part for name, value in given.items() for part in ("-P", f"{name}={value}")]
        command = ["mlflow", "run", str(ROOT), "--env-manager", "local", "-e", "sweep", *flags]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    (parent,) = place.runs()
    assert len(place.trials(parent)) == 2
    (joined,) = [run for run in place.runs(parent) if "trial_number" not in run.data.tags]
    assert (joined.info.run_name, joined.info.status, parent.info.status) == (
        "joined",
        "FINISHED",
        "FINISHED",
    )


def test_a_deleted_parent_is_replaced(tmp_path):
    place = Place(tmp_path)
    place.sweep(**{"sweep.trials": 1})
    (old,) = place.runs()
    MlflowClient(place.uri).delete_run(old.info.run_id)
    place.sweep(**{"sweep.trials": 1})
    (new,) = place.runs()
    assert new.info.run_id != old.info.run_id
    assert (place.artifacts(new) / "best.yaml").is_file()


def test_a_broken_trial_does_not_end_the_sweep_and_keeps_its_traceback(tmp_path):
    place = Place(tmp_path)
    space = "gan.critic_lr: {choices: [1.0e-3, 1.0e+30]}\ngenerate.counts: {low: 10, high: 90}\n"
    (tmp_path / "space.yaml").write_text(space)
    said = place.sweep(**{"sweep.space": "space.yaml", "sweep.trials": 6, "sweep.pruner": "none"})
    (parent,) = place.runs()
    broken = [run for run in place.trials(parent) if run.info.status == "FAILED"]
    assert broken and "FloatingPointError" in said
    assert all("GAN: the term" in run.data.tags["error"] for run in broken)
    assert all("Traceback" in (place.artifacts(run) / "traceback.txt").read_text() for run in broken)
    assert parent.data.metrics["trials_complete"] == 6


def test_twenty_broken_trials_in_a_row_end_the_sweep_with_one_error(tmp_path):
    place = Place(tmp_path)
    (tmp_path / "space.yaml").write_text("gan.critic_lr: {low: 1.0e+30, high: 1.0e+31, log: true}\n")
    said = place.sweep(1, **{"sweep.space": "space.yaml", "sweep.trials": 40})
    (error,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert "20 trials in a row broke; the last: FloatingPointError: GAN: the term" in error
    (parent,) = place.runs()
    assert (parent.info.status, len(place.trials(parent))) == ("FAILED", 20)


SEARCHED = r"gan.cycle_wieght: found a parameter that cannot be searched; allowed: .*gan.cycle_weight"


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("space", "gan.cycle_wieght: {low: 0, high: 1}", SEARCHED),
        ("space", "gan.beta1: {low: 0.1, high: 2.0}", r"gan.beta1: found 2.0; allowed: .*below 1"),
        ("storage", "postgresql+psycopg://me:pa/ss@localhost/optuna", "sweep.storage: found a password"),
        (
            "storage",
            "postgresql+psycopg://localhost/optuna?user=me&password=pa/ss",
            "storage: found a password",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(flag, value, said, tmp_path):
    place = Place(tmp_path)
    (tmp_path / "space.yaml").write_text(value + "\n")
    printed = place.sweep(1, **{f"sweep.{flag}": "space.yaml" if flag == "space" else value})
    assert re.search(said, printed)
    assert "pa/ss" not in printed, "a password is never shown"
    assert place.runs() == []


def test_the_final_models_are_scored_once_per_seed_beside_the_presets_own(tmp_path):
    place, flags = Place(tmp_path), {"sweep.trials": 2, "sweep.final": "true", "seeds": "[0,1]"}
    place.sweep(**flags)
    (parent,) = place.runs()
    for name in ("S", "U", "H", "T1"):
        assert {name, f"{name}_std", f"default/{name}", f"default/{name}_std"} <= set(parent.data.metrics)
    names = [run.info.run_name.split(" numbers")[0] for run in place.runs(parent)]
    assert names == [
        "trial 0",
        "trial 1",
        *(f"{name} seed {seed}" for name in ("best", "default") for seed in (0, 1)),
    ]
    assert "best" in (place.artifacts(parent) / "final.md").read_text()
    place.sweep(**flags)
    (parent,) = place.runs()
    assert len(place.runs(parent)) == 6, "the test rows are read once"
    assert "seeds 0, 1" in parent.data.tags["mlflow.note.content"], "the answer stays at the head of the page"
    assert yaml.safe_load((place.artifacts(parent) / "best.yaml").read_text())["gan"]["hidden_size"] == 64
