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
from make_data import SEEN, UNSEEN, assert_same_data, rows_of, write_xlsa17, xlsa17_arrays

from cwgan.command_line import from_dict, override, to_dict
from cwgan.config import HIT_SCORES, ClassifierConfig, Config, DataConfig, GenerateConfig
from cwgan.config import SCORES as ALL_SCORES
from cwgan.data import matrix, stored
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import load_numbers
from cwgan.data.scaling import scale
from cwgan.data.sources import load_dataset
from cwgan.data.views import make_validation_view
from cwgan.errors import InputError
from cwgan.gan.checkpoint import load_checkpoint, load_classifier, load_generator, save_checkpoint
from cwgan.gan.mean_correction import predict_means
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.gan.snapshots import load_snapshots
from cwgan.gan_config import GanConfig, MonitorConfig, RegressorConfig
from cwgan.scoring.evaluation import evaluate
from cwgan.stages import job as stage_job
from cwgan.stages.classify import (
    _read_rows,
    evaluate_classifier,
    read_map_rows,
    score_generators,
    scores_of,
    train_classifier,
)
from cwgan.stages.generate import generate
from cwgan.stages.job import ANSWERS_FILE, CLASSIFIER_FILE, GAN_FILE, Job, load_data, read_config, stage_rng
from cwgan.stages.results import write_results
from cwgan.stages.train import train

SCORES = [name for name in ALL_SCORES if name not in HIT_SCORES]
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
    path = train(Job(TINY, numbers, tmp_path_factory.mktemp("gan"), ignore))
    assert path is not None
    return path


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


def test_a_correction_is_the_same_in_memory_and_in_a_file_and_sees_no_test_row(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    wanted = GenerateConfig(domain="all", counts=[30, 20], mean_correction=1)
    config = replace(TINY, generate=wanted)
    features = numbers.features.clone()
    features[torch.cat([numbers.test_seen, numbers.test_unseen])] = 9
    means = predict_means(
        numbers.features,
        numbers.labels,
        numbers.trainval,
        numbers.attributes,
        config.generate.mean_ridge,
    )
    checkpoint = load_checkpoint(gan_file)
    for dataset in (numbers, replace(numbers, features=features)):
        # The hash of the split covers test rows too, so the weights are saved as a GAN of these rows.
        Job(TINY, dataset, tmp_path, ignore).save(tmp_path / GAN_FILE, checkpoint.tensors, "gan", 1)
        path, (generator,) = generate(Job(config, dataset, tmp_path, ignore), tmp_path / GAN_FILE)
        with h5py.File(path) as file:
            made, labels = (
                torch.from_numpy(file["train/X"][:]),
                torch.from_numpy(file["train/Y"][:]).long().flatten() - 1,
            )
        for label in range(numbers.class_count):
            torch.testing.assert_close(made[labels == label].mean(0), means[label])
    result = train_classifier(Job(config, dataset, tmp_path, ignore), path)
    assert score_generators(config, dataset, [generator]) == result.scores


def test_rows_come_from_the_snapshots_that_were_scored_while_training_also_after_a_resume(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    dataset = make_validation_view(numbers, 0.2, 0)
    config = replace(
        TINY,
        protocol="validation",
        gan=replace(TINY.gan, epochs=3, snapshots=2, snapshot_every=2, score_every=3),
    )
    logged: dict[str, float] = {}
    whole = train(Job(config, dataset, tmp_path / "whole", lambda metrics, epoch: logged.update(metrics)))
    train(Job(replace(config, gan=replace(config.gan, epochs=2)), dataset, tmp_path / "half", ignore))
    resumed = train(Job(config, dataset, tmp_path / "half", ignore, is_resumed=True))
    assert whole is not None
    assert resumed is not None
    ours, theirs = load_checkpoint(whole).tensors, load_checkpoint(resumed).tensors
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    generators = load_snapshots(load_checkpoint(whole))
    assert len(generators) == 2
    assert not torch.equal(generators[0].output_weight, generators[1].output_weight)
    path, _ = generate(Job(config, dataset, tmp_path, ignore), whole)
    scores = scores_of(train_classifier(Job(config, dataset, tmp_path, ignore), path), config)
    assert scores == {name: logged[name] for name in scores}


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


def test_a_synthetic_file_that_names_no_data_is_read(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    made, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    with h5py.File(made, "r+") as file:
        del file["info"]
    assert train_classifier(Job(TINY, load_numbers(1), tmp_path, ignore), made).scores


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


def test_predictions_name_rows_of_the_whole_data_set_under_the_validation_protocol(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    config = override(TINY, {"protocol": "validation", "data.scaling": "min_max"})
    dataset, classifier = load_data(config), SoftmaxClassifier(128, torch.arange(80), torch.Generator())
    write_results(Job(config, dataset, tmp_path, ignore), evaluate(classifier, dataset), {}, classifier)
    classes, of_row = np.array(dataset.class_names), np.array(numbers.class_names)[numbers.labels]
    with h5py.File(tmp_path / "predictions.h5") as file:
        rows, labels = file["row"][:] - 1, file["Y"][:] - 1
    assert np.array_equal(of_row[rows], classes[labels])
    assert len(set(rows)) == len(rows)
    assert set(numbers.val.tolist()) < set(rows) < set(numbers.trainval.tolist())


@pytest.mark.parametrize(
    ("domain", "scores"), [("openset", set(SCORES)), ("openval", {"S"}), ("zsl", {"T1"})]
)
def test_the_domain_decides_which_scores_there_are(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset, domain: str, scores: set[str]
) -> None:
    config = replace(TINY, classifier=replace(TINY.classifier, domain=domain))
    path, _ = generate(Job(config, numbers, tmp_path, ignore), gan_file)
    assert set(train_classifier(Job(config, numbers, tmp_path, ignore), path).scores) == scores


def test_replacing_trains_on_the_synthetic_rows_alone(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    config = replace(TINY, classifier=replace(TINY.classifier, operation="replace", epochs=20))
    path, _ = generate(Job(config, numbers, tmp_path, ignore), gan_file)
    assert train_classifier(Job(config, numbers, tmp_path, ignore), path).scores["S"] == 0


def test_rows_merged_into_the_file_are_not_merged_again(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    config = replace(TINY, generate=replace(TINY.generate, merge=True))
    path, _ = generate(Job(config, numbers, tmp_path, ignore), gan_file)
    replaced = replace(config, classifier=replace(config.classifier, operation="replace"))
    plain, _ = generate(Job(TINY, numbers, tmp_path / "plain", ignore), gan_file)
    expected = train_classifier(Job(TINY, numbers, tmp_path, ignore), plain).scores
    for each in (config, replaced):
        assert train_classifier(Job(each, numbers, tmp_path, ignore), path).scores == expected


@pytest.mark.parametrize("scaling", ["none", "per_feature", "min_max"])
def test_a_merged_file_is_a_data_set_and_holds_what_to_train_its_classifier_on(
    tmp_path: Path, numbers: GzslDataset, scaling: str
) -> None:
    means = {"generate.source": "means", "generate.merge": True, "generate.domain": "all"}
    config = override(TINY, {**means, "generate.counts": [3, 2], "data.scaling": scaling})
    norm = 0 if scaling == "none" else 4
    dataset = scale(numbers, scaling, norm)
    path, _ = generate(Job(config, dataset, tmp_path / "first", ignore), None)
    expected = train_classifier(Job(config, dataset, tmp_path, ignore), path).scores
    moved = (tmp_path / "first").rename(tmp_path / "second") / path.name
    again = load_dataset(str(moved))
    if scaling != "min_max":  # whose rows the file holds as scaled
        assert_same_data(again, numbers)
    assert again.name == "numbers"
    job = Job(config, scale(again, scaling, norm), tmp_path, ignore)
    assert train_classifier(job, moved).scores == expected


def test_a_file_of_synthetic_rows_alone_is_no_data_set(tmp_path: Path, numbers: GzslDataset) -> None:
    config = override(TINY, {"generate.source": "means"})
    path, _ = generate(Job(config, numbers, tmp_path, ignore), None)
    save_hdf5(numbers, tmp_path)
    with pytest.raises(InputError, match=r"info/num_features.*generate\.merge=true"):
        load_dataset(str(path))


def test_npy_files_hold_the_synthetic_rows_of_the_file(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    config = replace(TINY, generate=replace(TINY.generate, merge=True, npy=True))
    path, _ = generate(Job(config, numbers, tmp_path, ignore), gan_file)
    with h5py.File(path) as file:
        skip = len(numbers.trainval)
        for name, key in (("X", "train/X"), ("Y", "train/Y"), ("A", "train/A/continuous")):
            assert np.array_equal(np.load(tmp_path / f"{name}.npy"), file[key][skip:]), name


def test_the_validation_protocol_never_reads_a_test_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: GzslDataset
) -> None:
    config = replace(
        TINY, protocol="validation", data=replace(TINY.data, scaling="min_max", attribute_norm=2.0)
    )
    results = []
    for spoiled in (False, True):
        features = numbers.features.clone()
        if spoiled:
            features[torch.cat([numbers.test_seen, numbers.test_unseen])] = torch.nan
        given = replace(numbers, features=features, test_concealed=True)
        monkeypatch.setattr(stage_job, "load_dataset", lambda *args, given=given: given)
        dataset = load_data(config)
        path = train(Job(config, dataset, tmp_path, ignore))
        assert path is not None
        made, _ = generate(Job(config, dataset, tmp_path, ignore), path)
        results.append(scores_of(train_classifier(Job(config, dataset, tmp_path, ignore), made), config))
    assert results[0] == results[1]
    assert set(results[0]) == {f"val_{name}" for name in SCORES}


def test_nan_in_a_test_row_is_refused_only_where_test_rows_are_read(numbers: GzslDataset) -> None:
    features = numbers.features.clone()
    features[numbers.test_unseen[3]] = torch.nan
    with pytest.raises(InputError, match="features: found NaN or infinity in 1 rows"):
        replace(numbers, features=features)
    concealed = replace(numbers, features=features, test_concealed=True)
    features[numbers.trainval[3]] = torch.nan
    with pytest.raises(InputError, match="features: found NaN or infinity in 1 rows"):
        replace(concealed, features=features)


def test_validation_of_files_reads_no_test_row(tmp_path: Path, numbers: GzslDataset) -> None:
    scores = []
    for name in ("whole", "spoiled"):
        save_hdf5(numbers, tmp_path / name)
        if name == "spoiled":
            with h5py.File(tmp_path / name / "data.h5", "r+") as file:
                for split in ("seen", "unseen"):
                    file[f"test/{split}/X"][:] = np.nan
        config = replace(TINY, protocol="validation", data=replace(TINY.data, path=str(tmp_path / name)))
        dataset = load_data(config)
        path = train(Job(config, dataset, tmp_path, ignore))
        assert path is not None
        scores.append(score_generators(config, dataset, load_snapshots(load_checkpoint(path))))
    assert scores[0] == scores[1]


def test_validation_of_the_archives_layout_reads_no_test_row(tmp_path: Path) -> None:
    features = xlsa17_arrays()["features"]
    features[:, np.concatenate([rows_of(SEEN, 3, 5), rows_of(UNSEEN)])] = np.nan
    datasets = []
    for name, values in (("whole", xlsa17_arrays()["features"]), ("spoiled", features)):
        folder = write_xlsa17(tmp_path / name, features=values)
        config = replace(
            TINY, protocol="validation", data=replace(TINY.data, path=str(folder), scaling="min_max")
        )
        datasets.append(load_data(config))
    assert torch.equal(datasets[0].features[:], datasets[1].features[:])
    assert datasets[0].digest == datasets[1].digest
    with pytest.raises(InputError, match="features: found NaN or infinity in 18 rows"):
        load_data(replace(config, protocol="final"))


def test_the_bias_is_chosen_on_validation_rows_and_given_for_test_rows(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    config = replace(TINY, classifier=replace(TINY.classifier, gamma=0.4))
    path, _ = generate(Job(config, numbers, tmp_path, ignore), gan_file)
    given = train_classifier(Job(config, numbers, tmp_path, ignore), path)
    assert given.scores["gamma"] == 0.4
    assert given.curve is not None
    best = train_classifier(Job(replace(config, protocol="validation"), numbers, tmp_path, ignore), path)
    assert best.scores["gamma"] == given.curve.best_gamma
    assert best.scores["H"] >= max(given.scores["H"], given.scores["raw_H"])


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


def test_the_validation_protocol_logs_scores_and_diagnostics_where_it_is_due(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    config = replace(
        TINY, protocol="validation", gan=replace(TINY.gan, epochs=3, score_every=2, cycle_weight=1)
    )
    logged: dict[int, Mapping[str, float]] = {}

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        if "gan/wasserstein" in metrics:
            logged[epoch] = metrics

    train(Job(config, make_validation_view(numbers, 0.2, 0), tmp_path, log))
    diagnostics = {f"gan/{name}_unseen" for name in ("cycle_error", "class_mean_distance", "frechet")} | {
        "gan/cycle_error_seen"
    }
    scores = {f"val_{name}" for name in SCORES}
    assert [epoch for epoch, metrics in logged.items() if diagnostics | scores <= set(metrics)] == [2, 3]
    assert not (diagnostics | scores) & set(logged[1])


def test_the_cycle_term_of_an_old_checkpoint_has_its_new_name(numbers: GzslDataset, tmp_path: Path) -> None:
    config = to_dict(Config())
    del config["gan"]["cycle_error"]
    for old, new in ((True, "legacy"), (False, "squared")):
        config["gan"]["legacy_cycle"] = old
        save_checkpoint(tmp_path / "old.safetensors", {"a": torch.zeros(1)}, "gan", 1, config, numbers)
        assert from_dict(read_config(tmp_path / "old.safetensors")).gan.cycle_error == new


@pytest.mark.parametrize("source", ["gan", "means"])
def test_rows_without_a_file_are_those_of_the_file_and_train_to_the_same_bits(
    source: str, tmp_path: Path, gan_file: Path, numbers: GzslDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"generate.source": source, "generate.mean_correction": 1, "generate.counts": [60]}
    config, checkpoint = override(TINY, changes), gan_file if source == "gan" else None
    dataset = numbers if checkpoint else scale(numbers, "overall", 0.0)
    job, written = Job(config, dataset, tmp_path, ignore), []
    for file in (generate(job, checkpoint)[0], None):
        train_classifier(job, file, checkpoint)
        written.append([(tmp_path / name).read_bytes() for name in (CLASSIFIER_FILE, ANSWERS_FILE)])
    assert written[0] == written[1]
    monkeypatch.setattr(matrix, "LARGE", 0)
    (stored, labels), (made, others) = (
        _read_rows(job, file, checkpoint) for file in (generate(job, checkpoint)[0], None)
    )
    everything = torch.arange(len(labels))
    assert torch.equal(stored[everything], made[everything])
    assert torch.equal(labels, others)
    assert labels[-100:].unique().numel() > 10, "many rows are made in a random order of classes"
    train_classifier(job, None, checkpoint)


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
