"""Selection, seeds and ablation as a user runs them, at tiny size, and what they leave in MLflow."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from make_data import LABELS, ROWS, write_xlsa17
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from cwgan import tracking
from cwgan.launch import launch
from cwgan.scoring.comparison import VARIANTS
from entrypoints import ablation, main

PICTURES = {
    "selection",
    "class_accuracies",
    "confused_pairs",
    "confusion",
    "feature_map",
    "seen_unseen_curve",
}
TINY = {
    "data.path": ".",
    "monitor.epochs": 1,
    "regressor.epochs": 1,
    "gan.hidden_size": 8,
    "gan.critic_steps": 1,
    "gan.epochs": 2,
    "generate.counts": "[9]",
    "generate.mean_correction": 1,
    "classifier.epochs": 50,
    "classifier.lr": 0.1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store is, and a data set of thirty rows whose features are near their class's attributes."""
    rng = np.random.default_rng(0)
    attributes = rng.random((5, 6))
    features = attributes[:, LABELS] + rng.random((5, ROWS))
    return write_xlsa17(tmp_path_factory.mktemp("store"), features=features, att=attributes)


@pytest.fixture(autouse=True)
def _store(folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Use the store, with an experiment of the test's own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(request.node.name)
    yield
    mlflow.set_tracking_uri(None)


def flags(**more: object) -> list[str]:
    return [f"--{name}={value}" for name, value in {**TINY, **more}.items()]


def runs(parent: Run | None) -> list[Run]:
    """Return the children of a run, or the runs that have no parent, oldest first."""
    everything: list[Run] = mlflow.search_runs(output_format="list", order_by=["start_time ASC"])
    return [
        run
        for run in everything
        if run.data.tags.get("mlflow.parentRunId") == (parent.info.run_id if parent else None)
    ]


def stages(parent: Run) -> list[str]:
    return [run.data.tags["stage"] for run in runs(parent)]


@pytest.mark.filterwarnings("default")
def test_every_seed_chooses_on_validation_classes_and_is_scored_on_test_rows(folder: Path) -> None:
    given = {"gan.score_every": 1, "generate.source": "gan"}
    assert launch(main.COMMAND, flags(select="true", folds=2, seeds="[4,7]", **given)) == 0
    (parent,) = runs(None)
    assert stages(parent) == ["seed 4", "seed 7"]
    for child, seed in zip(runs(parent), (4, 7), strict=True):
        pictures = {path.stem for path in Path(child.info.artifact_uri).glob("*.png")}
        assert pictures >= PICTURES
        assert child.data.params.get("seed") == str(seed)
        assert stages(child) == ["select 1", "select 2", "train_gan", "generate", "train_cls"]
        choosing, _, training, _, scoring = runs(child)
        metrics = child.data.metrics
        assert choosing.data.params["protocol"] == "validation"
        assert "H" not in choosing.data.metrics, "no test score before the choice is made"
        assert "protocol" not in training.data.params
        assert training.data.params["gan.epochs"] == str(int(metrics["selected_epoch"]))
        assert not {"H", "S", "U"} & scoring.data.metrics.keys()
        assert tracking.resolve(child.info.run_id, "gan.safetensors", "gan", folder).parent == Path(
            training.info.artifact_uri
        ), "the GANs of the choice are not meant"
        logged = MlflowClient().search_logged_models(
            [child.info.experiment_id], f"source_run_id = '{scoring.info.run_id}'"
        )
        scores = {metric.key: metric.value for metric in logged[0].metrics}
        assert (scores["H"], scores["val_H"]) == (metrics["H"], metrics["val_H"])
        assert float(scoring.data.params["classifier.gamma"]) == metrics["gamma"] == metrics["val_gamma"]
    both = [run.data.metrics for run in runs(parent)]
    assert both[0]["H"] != both[1]["H"]
    assert parent.data.metrics["H"] == pytest.approx(sum(metrics["H"] for metrics in both) / 2)
    assert parent.data.metrics["H_std"] == pytest.approx(abs(both[0]["H"] - both[1]["H"]) / 2**0.5)
    assert "validation" in mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/summary.md")
    assert Path(parent.info.artifact_uri, "seeds.png").is_file()
    assert parent.data.tags["data.digest"] == runs(parent)[0].data.tags["data.digest"]
    assert parent.inputs.dataset_inputs
    assert parent.info.run_name.startswith(f"{folder.name} seeds 4 7")


@pytest.mark.filterwarnings("default")
def test_the_ablation_trains_every_variant_with_every_seed_under_one_parent() -> None:
    assert launch(ablation.COMMAND, flags(select="false", seeds="[0]", **{"gan.epochs": 1})) == 0
    (parent,) = runs(None)
    assert stages(parent) == [f"{variant} seed 0" for variant in VARIANTS]
    assert {float(run.data.params.get("gan.cycle_weight", 0)) > 0 for run in runs(parent)[:2]} == {False}
    assert {f"{variant}/H" for variant in VARIANTS} <= set(parent.data.metrics)
    assert not [name for name in parent.data.metrics if name.endswith("_std") or " " in name], "of one seed"
    assert parent.data.tags["data.digest"] and parent.inputs.dataset_inputs
    table = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/ablation.md")
    assert [line.split()[1] for line in table.splitlines()[2:]] == list(VARIANTS)
    assert Path(parent.info.artifact_uri, "ablation.png").is_file()


@pytest.mark.filterwarnings("default")
def test_the_ablation_takes_named_variants_and_divisions_and_compares_them_in_pairs() -> None:
    chosen = {"variants": "[defaults,no_gan,eszsl]", "divisions": "[0,1]", "seeds": "[3]"}
    assert launch(ablation.COMMAND, flags(select="false", **chosen, **{"gan.epochs": 1})) == 0
    (parent,) = runs(None)
    names = [f"{variant} division {k} seed 3" for variant in ("defaults", "no_gan", "eszsl") for k in (0, 1)]
    assert stages(parent) == names
    hashes = [run.data.tags["data.split_hash"] for run in runs(parent)]
    assert hashes[0] == hashes[2] and hashes[1] == hashes[3] and hashes[0] != hashes[1]
    scores = {name: run.data.metrics["T1"] for name, run in zip(names, runs(parent), strict=True)}
    differences = [
        scores[f"no_gan division {k} seed 3"] - scores[f"defaults division {k} seed 3"] for k in (0, 1)
    ]
    table = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/ablation.md")
    (line,) = [line for line in table.splitlines() if line.split()[1:2] == ["no_gan"] and " of 2" in line]
    assert line.split("|")[3].split()[0] == f"{100 * sum(differences) / 2:+.1f}"
    wins = sum(difference > 0 for difference in differences)
    assert f"({wins} of 2, p " in line.split("|")[3]


@pytest.mark.filterwarnings("default")
def test_what_is_left_to_select_is_chosen_without_a_gan_and_what_is_given_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = {"classifier.epochs": 0, "generate.source": "means", "data.scaling": "per_feature"}
    assert launch(main.COMMAND, flags(folds=2, **given)) == 0
    (parent,) = runs(None)
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "without a GAN" in line]
    tried = {key: value for key, value in parent.data.metrics.items() if key.endswith("/val_AUSUC")}
    chosen = int(runs(parent)[-1].data.params["classifier.epochs"])
    assert tried[f"classifier.epochs/{chosen}/val_AUSUC"] == max(tried.values())
    assert len(tried) in (2, 3) and line.startswith("classifier.epochs")
    assert parent.data.metrics["val_AUSUC"] == max(tried.values())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"gan.train": "false"}, "gan.train: found false"),
        ({"register": "a/b:c"}, "register: found 'a/b:c'"),
        (
            {"classifier.save.every": 1, "classifier.save.best_by": "val_loss"},
            "classifier.save.best_by: found",
        ),
        ({"gan.save.every": 1, "gan.save.best_by": "val_H"}, "gan.save.best_by: found 'val_H'"),
    ],
)
def test_what_the_final_model_cannot_have_is_refused_before_any_division_is_trained(
    changes: dict[str, object], refused: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(main.COMMAND, flags(select="true", **{"gan.score_every": 1}, **changes)) == 1
    assert f"configuration: {refused}" in capfd.readouterr().err
    (run,) = runs(None)
    assert (run.info.status, stages(run)) == ("FAILED", [])


def test_without_unseen_test_rows_the_road_ends_with_what_can_be_measured(tmp_path: Path) -> None:
    write_xlsa17(tmp_path / "data", test_unseen_loc=None)
    given = flags(select="true", folds=2, **{"gan.epochs": 1, "data.path": tmp_path / "data"})
    assert launch(main.COMMAND, [*given, "--gan.hidden_size", "8"]) == 0
    (parent,) = runs(None)
    metrics = parent.data.metrics
    assert {"S", "val_H", "val_T1"} <= set(metrics)
    assert not {"U", "H", "T1"} & set(metrics)
    made = MlflowClient().list_artifacts(parent.info.run_id)
    assert "summary.md" in {item.path for item in made}
