"""Every entry point by a real `mlflow run`, from a folder that is not the project's, chained by run ids."""

import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from project import ROOT, mlflow_run, start_entry_point

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

EPOCHS = 3
PRETRAINED = ["monitor.epochs=2", "regressor.epochs=2"]
GAN = [f"gan.epochs={EPOCHS}", "gan.hidden_size=16", "gan.critic_steps=1", "gan.generator_lr=0.01"]
GENERATE = ["generate.domain=all", "generate.counts=[100, 20]"]
CLASSIFIER = ["classifier.epochs=5", "classifier.operation=replace"]
LOSSES = {"critic", "wasserstein", "gradient_penalty", "generator", "adversarial", "cycle"}
SCORES = ("S", "U", "H", "T1")


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """All entry points: the whole on built-in data, and beside it stage by stage on the pair made of it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pair = folder / "it's a pair"
    made = SimpleNamespace(folder=folder, pair=pair)

    def run_whole():
        whole = [*PRETRAINED, *GAN, *GENERATE, *CLASSIFIER, "gan.cycle_weight=0.10"]
        made.main = mlflow_run(folder, "main", *whole, options=("--run-name", "by hand"))
        made.evaluate = mlflow_run(folder, "evaluate", f"classifier={made.main.id}")

    def run_stages():
        made.prepare = mlflow_run(folder, "prepare", f"out={pair}")
        data = ("config=numbers", f"data.path={pair}", "data.name=numbers", "run_name=a 'b' $HOME")
        made.train_gan = mlflow_run(folder, "train_gan", *PRETRAINED, *GAN, "gan.cycle_weight=0.1", *data)
        made.generate = mlflow_run(folder, "generate", f"gan={made.train_gan.id.upper()} ", *GENERATE)
        synthetic = folder / "mlruns" / "0" / made.generate.id / "artifacts" / "synthetic.h5"
        made.train_cls = mlflow_run(folder, "train_cls", f"synthetic={synthetic}", *CLASSIFIER)

    # Alone, as two that create MLflow's store at once would disturb each other.
    made.misspelt = mlflow_run(folder, "train_gan", "gan.epoch=5")
    made.client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in [pool.submit(run_whole), pool.submit(run_stages)]:
            done.result()
    return made


ENTRY_POINTS = ("prepare", "main", "train_gan", "generate", "train_cls", "evaluate")


def kept(road, name):
    return road.client.get_run(getattr(road, name).id)


def children(road, name):
    found = road.client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{getattr(road, name).id}'")
    return {run.data.tags["stage"]: run for run in found}


def artifacts(road, run):
    return {item.path for item in road.client.list_artifacts(run.info.run_id)}


def scores_of(run):
    return {name: run.data.metrics[name] for name in SCORES}


# Every entry point


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_run_finishes_and_tells_its_id(road, name):
    done = getattr(road, name)
    assert done.status == 0, done.err
    assert kept(road, name).info.status == "FINISHED"
    assert f"run {done.id} in sqlite:///{road.folder}/mlflow.db" in done.out


def test_the_command_that_goes_on_names_the_folder_of_the_project(road):
    command = rf"mlflow run /\S+/project --env-manager local -e main -P resume={road.main.id}"
    assert re.search(f"to go on with it: {command}\n", road.main.out)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_run_records_its_code_stage_and_data(road, name):
    run = kept(road, name)
    assert run.data.tags["stage"] == run.data.tags["mlflow.project.entryPoint"] == name
    assert run.inputs.dataset_inputs[0].dataset.digest == run.data.tags["data.digest"]
    assert run.data.tags["data.digest"] == kept(road, "prepare").data.tags["data.digest"]
    if (ROOT / ".git").exists():
        commit = run.data.tags["mlflow.source.git.commit"]
        assert (
            subprocess.run(
                ["git", "cat-file", "-t", commit], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
            == "commit\n"
        )


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_run_keeps_its_resolved_configuration(road, name):
    assert "config.yaml" in artifacts(road, kept(road, name))


def test_nothing_is_left_running_and_nothing_half_written(road):
    assert road.client.search_runs(["0"], "attributes.status = 'RUNNING'") == []
    assert [path for path in road.folder.rglob("*") if path.name.endswith(".part")] == []


def test_store_and_artifacts_are_made_where_the_user_stands(road):
    assert {path.name for path in road.folder.iterdir()} == {"mlflow.db", "mlruns", "it's a pair"}


# Names and parameters


def test_runs_are_named_by_stage_and_data_unless_named_by_hand(road):
    assert kept(road, "main").info.run_name == "by hand"
    assert kept(road, "train_gan").info.run_name == "a 'b' $HOME"
    assert kept(road, "evaluate").info.run_name == "evaluate numbers seed 0"
    assert children(road, "main")["train_cls"].info.run_name == "train_cls numbers seed 0"


def test_parameters_stand_as_they_were_given_and_the_others_as_they_resolved(road):
    assert kept(road, "main").data.params["gan.cycle_weight"] == "0.10"
    assert children(road, "main")["train_gan"].data.params["gan.cycle_weight"] == "0.1"
    assert kept(road, "main").data.params["monitor.batch_size"] == "256"
    assert kept(road, "main").data.params["config"] == "numbers"


def test_a_stage_inherits_the_configuration_it_builds_on(road):
    assert kept(road, "generate").data.params["data.path"] == str(road.pair)
    assert kept(road, "train_cls").data.params["classifier.lr"] == "0.01"


def test_a_stage_has_the_parameters_of_its_own_sections_alone(road):
    sections = {name.partition(".")[0] for name in kept(road, "train_cls").data.params if "." in name}
    assert sections == {"data", "classifier"}


# Metrics and artifacts


def test_the_whole_and_its_stages_are_parent_and_children(road):
    assert set(children(road, "main")) == {"train_gan", "generate", "train_cls"}
    assert all(run.info.status == "FINISHED" for run in children(road, "main").values())


def test_the_scores_are_on_the_whole_alone_so_that_a_result_is_one_row(road):
    scores = scores_of(kept(road, "main"))
    for stage in children(road, "main").values():
        assert not {*SCORES, "raw_H", "gamma"} & stage.data.metrics.keys()
    assert kept(road, "main").data.tags["mlflow.note.content"].startswith(f"**H {100 * scores['H']:.1f} %**")
    assert 0 < scores["U"] < 1
    assert scores["H"] == pytest.approx(2 * scores["S"] * scores["U"] / (scores["S"] + scores["U"]))
    assert f"{100 * scores['H']:.1f} |" in road.main.out


def test_every_term_has_a_curve_with_a_point_for_every_epoch(road):
    for run in (kept(road, "train_gan"), children(road, "main")["train_gan"]):
        for term in (*LOSSES, "monitor_accuracy"):
            curve = road.client.get_metric_history(run.info.run_id, f"gan/{term}")
            assert [point.step for point in curve] == list(range(1, EPOCHS + 1))
        assert {name for name in run.data.metrics if name.startswith("gan/")} == {
            f"gan/{term}" for term in (*LOSSES, "monitor_accuracy")
        }


def test_every_stage_leaves_its_files(road):
    stages = children(road, "main")
    assert {"pretrained.safetensors", "gan.safetensors", "training_curves.png"} <= artifacts(
        road, stages["train_gan"]
    )
    assert {"synthetic.h5", "imagined_numbers.png"} <= artifacts(road, stages["generate"])
    assert {"classifier.safetensors", "results.json", "predictions.h5"} <= artifacts(
        road, stages["train_cls"]
    )
    assert {"summary.md", "results.json", "training_curves.png", "class_accuracies.png"} <= artifacts(
        road, kept(road, "main")
    )
    assert {"results.json", "predictions.h5", "per_class_accuracy.csv"} <= artifacts(
        road, kept(road, "evaluate")
    )
    assert {path.name for path in road.pair.iterdir()} == {"data.h5", "knn.h5"}


# One seed, one result


def test_stage_by_stage_on_the_prepared_pair_the_scores_are_those_of_the_whole(road):
    assert scores_of(kept(road, "train_cls")) == scores_of(kept(road, "main"))


def test_a_classifier_scored_again_has_its_scores_again(road):
    assert scores_of(kept(road, "evaluate")) == scores_of(kept(road, "main"))


# Failures


def test_a_misspelt_parameter_fails_the_run_and_names_the_nearest(road):
    assert road.misspelt.status != 0
    assert "Traceback" not in road.misspelt.err
    (line,) = [line for line in road.misspelt.err.splitlines() if line.startswith("error: ")]
    assert "gan.epoch: found an unknown parameter" in line
    assert "nearest: gan.epochs" in line
    assert kept(road, "misspelt").info.status == "FAILED"
    assert kept(road, "misspelt").data.tags["error"] == line.removeprefix("error: ")
    assert kept(road, "misspelt").data.tags["mlflow.note.content"] == f"**Failed:** {line[7:]}"
    assert kept(road, "misspelt").info.run_name == "train_gan refused: gan.epoch"


def test_a_polite_kill_and_a_second_one_end_a_training_as_killed(road, tmp_path):
    folder = road.folder
    flags = [
        *PRETRAINED,
        *GAN,
        "gan.epochs=100000",
        "gan.save.every=1",
        "gan.save.keep=1",
        "experiment=killed",
        "config=numbers",
    ]
    said = tmp_path / "said.txt"
    process = start_entry_point("train_gan", *(f"--{flag}" for flag in flags), folder=folder, said=said)
    deadline = time.monotonic() + 120
    while not (is_saved := list(folder.rglob("gan-epoch-0003.safetensors"))) and process.is_alive():
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    process.terminate()
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert is_saved and process.exitcode == 130, said.read_text()
    assert said.read_text().splitlines()[-1] == "interrupted"
    assert "Traceback" not in said.read_text()
    (run,) = road.client.search_runs([road.client.get_experiment_by_name("killed").experiment_id])
    assert run.info.status == "KILLED"
    assert [path for path in folder.rglob("*") if path.name.endswith(".part")] == []
