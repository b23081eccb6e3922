"""Synthetic rows, in a file or without one: which there are, and what a classifier makes of them."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from make_data import assert_same_data
from tiny import TINY, ignore

from cwgan.command_line import override
from cwgan.config import HIT_SCORES, GenerateConfig
from cwgan.config import SCORES as ALL_SCORES
from cwgan.data import matrix
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.numbers import load_numbers
from cwgan.data.scaling import scale
from cwgan.data.sources import load_dataset
from cwgan.data.views import make_validation_view
from cwgan.errors import InputError
from cwgan.gan.checkpoint import load_checkpoint
from cwgan.gan.mean_correction import predict_means
from cwgan.gan.snapshots import load_snapshots
from cwgan.stages.classify import _read_rows, score_generators, scores_of, train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import ANSWERS_FILE, CLASSIFIER_FILE, GAN_FILE, Job
from cwgan.stages.train import train

SCORES = [name for name in ALL_SCORES if name not in HIT_SCORES]


def test_a_synthetic_file_that_names_no_data_is_read(
    tmp_path: Path, gan_file: Path, numbers: GzslDataset
) -> None:
    made, _ = generate(Job(TINY, numbers, tmp_path, ignore), gan_file)
    with h5py.File(made, "r+") as file:
        del file["info"]
    assert train_classifier(Job(TINY, load_numbers(1), tmp_path, ignore), made).scores


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
