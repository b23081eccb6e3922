"""The sweep as a user runs it on one machine, at tiny size, and what it leaves in MLflow."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from place import Place

from cwgan.command_line import parse
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import load_numbers
from cwgan.search import worker
from entrypoints import main

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own


def points(trials: list[Run]) -> list[tuple[float, int]]:
    params = [run.data.params for run in trials]
    return [(float(given["gan.cycle_weight"]), int(given["generate.counts"])) for given in params]


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
        curve = MlflowClient(swept.uri).get_metric_history(run.info.run_id, "val_H")
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
    flags = {"data.path": spoiled, "sweep.trials": 8, "sweep.pruner": "none", "sweep.workers": 2}
    said = swept.sweep(**flags)
    (parent,) = swept.runs()
    assert "8 trials complete, 0 pruned, 0 broken" in said
    found = points(swept.trials(parent))
    assert len(found) == len(set(found)) == 8


def test_a_study_is_not_mixed_with_other_settings(swept, spoiled):
    (parent,) = swept.runs()
    flags = {"data.path": spoiled, "sweep.study": parent.data.tags["study"], "gan.hidden_size": 32}
    said = swept.sweep(1, **flags)
    assert "gan.hidden_size: found 32; allowed: 64, as it was begun with; or another sweep.study" in said
    assert len(swept.runs()) == 1


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
    assert parent.data.metrics["trials_complete"] + len(broken) == 6


def test_too_many_broken_trials_in_a_row_end_the_sweep_with_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "LIMIT", 5)
    place = Place(tmp_path)
    (tmp_path / "space.yaml").write_text("gan.critic_lr: {low: 1.0e+30, high: 1.0e+31, log: true}\n")
    said = place.sweep(1, **{"sweep.space": "space.yaml", "sweep.trials": 40})
    (error,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert "5 trials in a row broke; the last: FloatingPointError: GAN: the term" in error
    (parent,) = place.runs()
    assert (parent.info.status, len(place.trials(parent))) == ("FAILED", 5)


SEARCHED = r"gan.cycle_wieght: found a parameter that cannot be searched; allowed: .*gan.cycle_weight"


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("space", "gan.cycle_wieght: {low: 0, high: 1}", SEARCHED),
        ("storage", "postgresql+psycopg://me:pa/ss@localhost/optuna", "sweep.storage: found a password"),
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
        both = {f"{which}/{name}{end}" for which in ("best", "default") for end in ("", "_std")}
        assert both <= set(parent.data.metrics)
    names = [run.info.run_name.removeprefix("numbers ") for run in place.runs(parent)]
    seeds = [f"{name} seed {seed}" for name in ("best", "default") for seed in (0, 1)]
    assert names == ["trial 0", "trial 1", *seeds]
    assert "best" in (place.artifacts(parent) / "final.md").read_text()
    place.sweep(**flags)
    (parent,) = place.runs()
    assert len(place.runs(parent)) == 6, "the test rows are read once"
    assert "seeds 0, 1" in parent.data.tags["mlflow.note.content"], "the answer stays at the head of the page"
    assert yaml.safe_load((place.artifacts(parent) / "best.yaml").read_text())["gan"]["hidden_size"] == 64
