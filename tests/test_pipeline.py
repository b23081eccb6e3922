"""The stages on plain values, at tiny size: what each leaves on disk, and that its parts fit together."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cwgan import pipeline, training
from cwgan.config import ClassifierConfig, Config, GanConfig, GenerateConfig, MonitorConfig, RegressorConfig
from cwgan.data import GzslDataset
from cwgan.errors import InputError

TINY = Config(
    monitor=MonitorConfig(epochs=1),
    regressor=RegressorConfig(epochs=1),
    gan=GanConfig(epochs=1, hidden_size=8),
    generate=GenerateConfig(counts=[4]),
    classifier=ClassifierConfig(epochs=2, lr=0.01),
)


def ignore(metrics: Mapping[str, float], epoch: int) -> None:
    """Stand where nobody listens to the curves."""


@pytest.fixture(scope="module")
def gan_file(tmp_path_factory: pytest.TempPathFactory, numbers: GzslDataset) -> Path:
    path = training.train(TINY, numbers, tmp_path_factory.mktemp("gan"), ignore)
    assert path is not None
    return path


def test_a_stage_draws_the_same_whatever_ran_before() -> None:
    torch.rand(3)
    first = torch.rand(3, generator=pipeline.stage_rng(0, "gan"))
    assert torch.equal(first, torch.rand(3, generator=pipeline.stage_rng(0, "gan")))
    assert not torch.equal(first, torch.rand(3, generator=pipeline.stage_rng(1, "gan")))
    assert not torch.equal(first, torch.rand(3, generator=pipeline.stage_rng(0, "generate")))


def test_scoring_in_memory_is_generating_training_and_scoring(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    path, generator = pipeline.generate(TINY, numbers, gan_file, tmp_path)
    result = pipeline.train_classifier(TINY, numbers, path, tmp_path, ignore)
    assert pipeline.score_generator(TINY, numbers, generator) == result.scores


def test_evaluating_a_saved_classifier_gives_the_scores_again(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    path, _ = pipeline.generate(TINY, numbers, gan_file, tmp_path)
    first = pipeline.train_classifier(TINY, numbers, path, tmp_path, ignore)
    again = pipeline.evaluate_classifier(TINY, numbers, tmp_path / "classifier.safetensors", tmp_path / "again")
    assert again.scores == first.scores
    for name in ("results.json", "per_class_accuracy.csv", "predictions.h5"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_results_and_predictions_can_be_recomputed_from_what_is_written(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    path, _ = pipeline.generate(TINY, numbers, gan_file, tmp_path)
    result = pipeline.train_classifier(TINY, numbers, path, tmp_path, ignore)
    assert json.loads((tmp_path / "results.json").read_text())["scores"] == result.scores
    with h5py.File(tmp_path / "predictions.h5") as file:
        rows, labels, predictions = (file[key][:] for key in ("row", "Y", "prediction"))
    assert np.array_equal(labels, numbers.labels[rows - 1].numpy() + 1)
    of_seen = np.isin(labels, numbers.seen_classes.numpy() + 1)
    share = [(predictions[labels == label] == label).mean() for label in np.unique(labels[of_seen])]
    assert np.mean(share) == pytest.approx(result.scores["S"])
    with open(tmp_path / "per_class_accuracy.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 100
    unseen = [float(row["accuracy_among_unseen"]) for row in table if row["kind"] == "unseen"]
    assert np.mean(unseen) == pytest.approx(result.scores["T1"], abs=1e-4)


@pytest.mark.parametrize(("domain", "scores"), [("openset", {"S", "U", "H", "T1"}), ("openval", {"S"}), ("zsl", {"T1"})])
def test_the_domain_decides_which_scores_there_are(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset, domain: str, scores: set[str]
) -> None:
    config = replace(TINY, classifier=replace(TINY.classifier, domain=domain))
    path, _ = pipeline.generate(config, numbers, gan_file, tmp_path)
    assert set(pipeline.train_classifier(config, numbers, path, tmp_path, ignore).scores) == scores


def test_replacing_trains_on_the_synthetic_rows_alone(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    config = replace(TINY, classifier=replace(TINY.classifier, operation="replace", epochs=20))
    path, _ = pipeline.generate(config, numbers, gan_file, tmp_path)
    assert pipeline.train_classifier(config, numbers, path, tmp_path, ignore).scores["S"] == 0


def test_rows_merged_into_the_file_are_not_merged_again(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    config = replace(TINY, generate=replace(TINY.generate, merge=True))
    path, _ = pipeline.generate(config, numbers, gan_file, tmp_path)
    with pytest.raises(InputError, match="holds the real rows already"):
        pipeline.train_classifier(config, numbers, path, tmp_path, ignore)
    replaced = replace(config, classifier=replace(config.classifier, operation="replace"))
    merged = pipeline.train_classifier(replaced, numbers, path, tmp_path, ignore)
    plain, _ = pipeline.generate(TINY, numbers, gan_file, tmp_path / "plain")
    assert merged.scores == pipeline.train_classifier(TINY, numbers, plain, tmp_path, ignore).scores


def test_npy_files_hold_the_synthetic_rows_of_the_file(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    config = replace(TINY, generate=replace(TINY.generate, merge=True, npy=True))
    path, _ = pipeline.generate(config, numbers, gan_file, tmp_path)
    with h5py.File(path) as file:
        skip = len(numbers.trainval)
        for name, key in (("X", "train/X"), ("Y", "train/Y"), ("A", "train/A/continuous")):
            assert np.array_equal(np.load(tmp_path / f"{name}.npy"), file[key][skip:]), name


def test_the_validation_protocol_never_reads_a_test_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: GzslDataset) -> None:
    config = replace(TINY, protocol="validation")
    results = []
    for spoiled in (False, True):
        features = numbers.features.clone()
        if spoiled:
            features[torch.cat([numbers.test_seen, numbers.test_unseen])] = 7.0
        given = replace(numbers, features=features)
        monkeypatch.setattr(pipeline, "load_dataset", lambda *args, given=given: given)
        dataset = pipeline.load_data(config)
        path = training.train(config, dataset, tmp_path, ignore)
        assert path is not None
        made, _ = pipeline.generate(config, dataset, path, tmp_path)
        results.append(pipeline.scores_of(pipeline.train_classifier(config, dataset, made, tmp_path, ignore), config))
    assert results[0] == results[1]
    assert set(results[0]) == {"val_S", "val_U", "val_H", "val_T1"}


def test_signed_features_are_refused_before_a_relu_generator(tmp_path: Path, numbers: GzslDataset) -> None:
    signed = replace(numbers, features=numbers.features - 0.5)
    with pytest.raises(InputError, match=r"features: found values down to -0\.5; allowed: no value below 0"):
        training.train(TINY, signed, tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []
