"""The stages on plain values, at tiny size: what each leaves on disk, and that its parts fit together."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tiny import TINY, ignore

from cwgan.command_line import from_dict, override, to_dict
from cwgan.config import Config, DataConfig
from cwgan.data import matrix, stored
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import load_numbers
from cwgan.data.scaling import scale
from cwgan.data.sources import load_dataset
from cwgan.data.views import redivide
from cwgan.errors import InputError
from cwgan.gan.checkpoint import load_checkpoint, load_classifier, load_generator, save_checkpoint
from cwgan.stages.classify import evaluate_classifier, read_map_rows, score_generators, train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import Job, read_config, stage_rng, view_data
from cwgan.stages.train import train


def test_a_stage_draws_the_same_whatever_ran_before() -> None:
    torch.rand(3)
    first = torch.rand(3, generator=stage_rng(0, "gan"))
    assert torch.equal(first, torch.rand(3, generator=stage_rng(0, "gan")))
    assert not torch.equal(first, torch.rand(3, generator=stage_rng(1, "gan")))
    assert not torch.equal(first, torch.rand(3, generator=stage_rng(0, "generate")))


def test_scoring_in_memory_is_generating_training_and_scoring(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    path, (generator,) = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    result = train_classifier(Job(TINY, numbers, tmp_path, ignore), path)
    assert score_generators(TINY, numbers, [generator]) == result.scores


def test_evaluating_a_saved_classifier_gives_the_scores_again(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    path, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    first = train_classifier(Job(TINY, numbers, tmp_path, ignore), path)
    again = evaluate_classifier(
        Job(TINY, numbers, tmp_path / "again", ignore), tmp_path / "classifier.safetensors"
    )
    assert again.scores == first.scores
    for name in ("results.json", "per_class_accuracy.csv", "predictions.h5"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_files_of_another_split_are_refused_and_only_evaluate_can_be_told_to_take_them(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    made, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    train_classifier(Job(TINY, numbers, tmp_path, ignore), made)
    classifier, other = tmp_path / "classifier.safetensors", load_numbers(1)
    monitor = replace(TINY.monitor, train=False)
    job = Job(replace(TINY, monitor=monitor, data=DataConfig(seed=1)), other, tmp_path / "other", ignore)
    uses = {
        generate: (job, gan_file),
        train_classifier: (job, made),
        evaluate_classifier: (job, classifier),
        partial(train, pretrained=gan_file): (job,),
    }
    for use, arguments in uses.items():
        refused = f"split: found {numbers.split_hash}, made from numbers; allowed: {other.split_hash}"
        with pytest.raises(InputError, match=refused):
            use(*arguments)
    told = replace(job, config=override(job.config, {"data.other_split": True}))
    assert evaluate_classifier(told, classifier).scores


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        (
            {"data.scaling": "per_feature"},
            "scaling: found .*, fitted on those of numbers; allowed: .*overall",
        ),
        ({"classifier.domain": "zsl"}, "classes: found 20 of 100 classes, of both sides of this split"),
    ],
)
def test_on_another_split_a_classifier_needs_the_same_scaling_and_whole_sides(
    changes: dict[str, object], refused: str, tmp_path: Path, numbers: GzslDataset
) -> None:
    config = override(TINY, {**changes, "data.other_split": True, "generate.source": "means"})
    job = Job(config, view_data(config, numbers), tmp_path, ignore)
    train_classifier(job, None)
    assert evaluate_classifier(job, tmp_path / "classifier.safetensors").scores
    other = replace(job, dataset=view_data(config, redivide(numbers, 1, 0.2)))
    with pytest.raises(InputError, match=refused):
        evaluate_classifier(other, tmp_path / "classifier.safetensors")


def test_results_and_predictions_can_be_recomputed_from_what_is_written(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    path, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    result = train_classifier(Job(TINY, numbers, tmp_path, ignore), path)
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
    with open(tmp_path / "confused_pairs.csv", newline="") as file:
        most = next(csv.DictReader(file))
    label, answer = (numbers.class_names.index(most[key]) + 1 for key in ("class", "answered_as"))
    taken = predictions[labels == label] == answer
    assert (int(most["rows"]), float(most["share_of_class"])) == (taken.sum(), round(taken.mean(), 4))


def test_the_final_classifier_is_saved_and_measured_on_held_out_rows_as_it_is_trained(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    path, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    rule = {"classifier.holdout": 0.2, "classifier.lr_decay": 1.0, "classifier.save.epochs": [2]}
    config = override(TINY, {**rule, "classifier.epochs": 3})
    curves: dict[str, list[float]] = {}

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            curves.setdefault(name, []).append(value)

    train_classifier(Job(config, numbers, tmp_path, log), path)
    measured = {"loss", "lr", "accuracy", "val_loss", "val_accuracy"}
    assert curves.keys() == {f"classifier/{name}" for name in measured}
    assert curves["classifier/lr"] == [0.01, 0.005, 0.01 / 3]
    assert 0 < curves["classifier/accuracy"][0] < curves["classifier/accuracy"][-1]
    assert curves["classifier/val_loss"][0] > curves["classifier/val_loss"][-1]
    saved = tmp_path / "checkpoints" / "classifier-epoch-0002.safetensors"
    scores = evaluate_classifier(Job(config, numbers, tmp_path / "again", ignore), saved).scores
    shorter = override(config, {"classifier.epochs": 2})
    assert train_classifier(Job(shorter, numbers, tmp_path / "shorter", ignore), path).scores == scores


def test_a_savepoint_of_a_classifier_needs_a_given_number_of_epochs_that_reaches_it(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    for epochs, allowed in ((0, "which must then be given"), (36, "36")):
        config = override(TINY, {"classifier.epochs": epochs, "classifier.save.epochs": [37]})
        with pytest.raises(InputError, match=f"found 37; allowed: at most classifier.epochs, {allowed}"):
            train(Job(config, numbers, tmp_path, ignore))


def test_stored_probabilities_are_of_all_test_rows_and_give_the_predictions(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    path, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    config = override(TINY, {"classifier.store_scores": True, "classifier.gamma": 3.0})
    result = train_classifier(Job(config, numbers, tmp_path, ignore), path)
    with h5py.File(tmp_path / "predictions.h5") as file:
        probabilities, classes, predictions = (
            file[name][:] for name in ("probabilities", "classes", "prediction")
        )
    assert probabilities.shape == (len(result.rows), numbers.class_count)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (classes[probabilities.argmax(1)] == predictions).all()
    assert set(classes[probabilities.argmax(1)] - 1) & set(numbers.unseen_classes.tolist())


def test_rows_of_the_map_are_of_unseen_classes_by_number_as_the_classifier_sees_them(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    scaled = scale(numbers, "per_feature", 0)
    config = override(TINY, {"generate.source": "means"})
    job = Job(config, scaled, tmp_path, ignore)
    path, _ = generate(job, None)
    with h5py.File(path) as file:
        labels, features = file["train/Y"][:] - 1, torch.from_numpy(file["train/X"][:]) / scaled.divisor
    found = read_map_rows(job, path)
    assert [rows.name for rows in found] == ["03", "18", "35", "52", "62", "80"], "evenly among 20 classes"
    for rows in found:
        label = numbers.class_names.index(rows.name)
        assert torch.equal(rows.made, features[labels == label])
        assert torch.equal(
            rows.real, scaled.features[scaled.test_unseen[scaled.labels[scaled.test_unseen] == label]]
        )


def test_a_seen_prior_above_one_moves_answers_to_unseen_classes(gan_file: Path, numbers: GzslDataset) -> None:
    generator, biases = load_generator(load_checkpoint(gan_file)), []
    for prior in (0.01, 1.0, 100.0):
        options = replace(TINY.classifier, epochs=10, loss="logit_adjusted", seen_prior=prior)
        config = replace(TINY, classifier=options, protocol="validation")
        biases.append(score_generators(config, numbers, [generator])["val_gamma"])
    assert biases[0] > biases[1] > biases[2], "the bias that balances both sides shrinks"


def test_relu_logits_survive_the_checkpoint(tmp_path: Path, gan_file: Path, numbers: GzslDataset) -> None:
    config = replace(TINY, classifier=replace(TINY.classifier, relu_logits=True))
    path, _ = generate(Job(config, numbers, tmp_path, ignore), gan_file)
    first = train_classifier(Job(config, numbers, tmp_path, ignore), path)
    again = evaluate_classifier(
        Job(config, numbers, tmp_path / "again", ignore), tmp_path / "classifier.safetensors"
    )
    assert again.scores == first.scores
    classifier = load_classifier(load_checkpoint(tmp_path / "classifier.safetensors"), "classifier")
    assert classifier.relu
    assert (classifier(numbers.features[:50]) >= 0).all()


def test_a_sigmoid_generator_needs_features_from_0_to_1_and_survives_the_checkpoint(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    config = replace(TINY, gan=replace(TINY.gan, output="sigmoid"))
    with pytest.raises(
        InputError,
        match=r"features: found values up to 2; allowed: no value above 1, as the generator ends in sigmoid",
    ):
        train(Job(config, replace(numbers, features=2 * numbers.features), tmp_path, ignore))
    path = train(Job(config, numbers, tmp_path, ignore))
    assert path is not None
    made = load_generator(load_checkpoint(path))(numbers.attributes, torch.randn(100, 20))
    assert 0 < made.min() < made.max() < 1


def test_the_cycle_term_of_an_old_checkpoint_has_its_new_name(numbers: GzslDataset, tmp_path: Path) -> None:
    config = to_dict(Config())
    del config["gan"]["cycle_error"]
    for old, new in ((True, "legacy"), (False, "squared")):
        config["gan"]["legacy_cycle"] = old
        save_checkpoint(tmp_path / "old.safetensors", {"a": torch.zeros(1)}, "gan", 1, config, numbers)
        assert from_dict(read_config(tmp_path / "old.safetensors")).gan.cycle_error == new


def test_rows_that_are_shuffled_as_a_disk_can_follow_train_as_well_within_what_seeds_differ_by(
    tmp_path: Path, numbers: GzslDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_hdf5(numbers, tmp_path)
    monkeypatch.setattr(stored, "BLOCK", 2)
    monkeypatch.setattr(matrix, "WINDOW", 2600)  # 13 blocks of each class, as of ImageNet's
    config = override(TINY, {"generate.source": "means", "generate.counts": [50], "classifier.epochs": 20})

    def score(memory: str) -> torch.Tensor:
        dataset = scale(load_dataset(str(tmp_path), memory=memory), "overall", 4.0)
        found = [score_generators(override(config, {"seed": seed}), dataset, []) for seed in range(3)]
        return torch.tensor([[scores[name] for name in ("H", "T1", "AUSUC")] for scores in found])

    ram, disk = score("ram"), score("disk")
    spread = ram.amax(0) - ram.amin(0)
    assert ((disk.mean(0) - ram.mean(0)).abs() <= spread).all()
    assert ram.min() > 0.5
