"""The validation protocol reads no test row, and what it chooses is used on test rows as it is."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from make_data import SEEN, UNSEEN, rows_of, write_xlsa17, xlsa17_arrays
from tiny import TINY, ignore

from cwgan.command_line import override
from cwgan.config import HIT_SCORES
from cwgan.config import SCORES as ALL_SCORES
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.views import make_validation_view
from cwgan.errors import InputError
from cwgan.gan.checkpoint import load_checkpoint
from cwgan.gan.networks import SoftmaxClassifier
from cwgan.gan.snapshots import load_snapshots
from cwgan.scoring.evaluation import evaluate
from cwgan.stages import job as stage_job
from cwgan.stages.classify import score_generators, scores_of, train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import Job, load_data
from cwgan.stages.results import write_results
from cwgan.stages.train import train

SCORES = [name for name in ALL_SCORES if name not in HIT_SCORES]


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
