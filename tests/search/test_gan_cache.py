"""Kept GANs: the very generators and scores of a training of their own, whatever interrupted or preceded them."""

import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cwgan.command_line import from_dict, to_dict
from cwgan.config import ClassifierConfig, Config, GanConfig, GenerateConfig, MonitorConfig, RegressorConfig
from cwgan.data.dataset import GzslDataset, validation_view
from cwgan.errors import InputError
from cwgan.files import locked
from cwgan.search.kept import KeptGan, epochs_scored, gan_hash, judges_hash, scored
from cwgan.stages.pipeline import SCORES
from cwgan.stages.train import JUDGES_FILE, train

TINY = Config(
    protocol="validation",
    monitor=MonitorConfig(epochs=1),
    regressor=RegressorConfig(epochs=1),
    gan=GanConfig(
        epochs=6,
        hidden_size=32,
        batch_size=16,
        noise_size=2,
        generator_lr=3e-3,
        cycle_weight=0.1,
        score_every=2,
    ),
    generate=GenerateConfig(counts=[20]),
    classifier=ClassifierConfig(epochs=20, lr=0.1),
)
SNAPSHOTS = {"snapshots": 3, "snapshot_every": 1}


@pytest.fixture(scope="module")
def blobs() -> GzslDataset:
    """Twelve classes round centres that their attributes fix, of which two are unseen and two validate."""
    rng = torch.Generator().manual_seed(0)
    labels, number = torch.arange(480) % 12, torch.arange(480) // 12
    attributes = torch.rand(12, 4, generator=rng)
    features = (attributes @ torch.rand(4, 12, generator=rng))[labels] + 0.3 * torch.rand(
        480, 12, generator=rng
    )
    seen, training, fitted = labels < 10, number < 30, labels < 8
    rows = [seen & training, fitted & training, seen & ~fitted & training, seen & ~training, ~seen]
    names = tuple(f"class {label}" for label in range(12))
    return GzslDataset(
        "blobs",
        "made in a test",
        features,
        labels,
        attributes,
        names,
        *(torch.nonzero(row).flatten() for row in rows),
    )


@pytest.fixture(scope="module")
def dataset(blobs: GzslDataset) -> GzslDataset:
    return validation_view(blobs, 0.2, 0)


def changed(config: Config = TINY, **changes: Any) -> Config:
    """A configuration with some parameters of it, and of its sections, changed."""
    values = to_dict(config)
    return from_dict(
        {
            **values,
            **{
                name: {**values[name], **new} if isinstance(new, dict) else new
                for name, new in changes.items()
            },
        }
    )


def trained(
    config: Config, dataset: GzslDataset, folder: Path
) -> tuple[dict[str, torch.Tensor], dict[int, dict[str, float]]]:
    """Train from start to end without a cache; return the last generator and what was logged by epoch."""
    logged: dict[int, dict[str, float]] = {}

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        if "gan/critic" in metrics:
            logged[epoch] = dict(metrics)

    path = train(config, dataset, folder, log)
    assert path is not None
    return {name: value for name, value in load_file(path).items() if name.startswith("generator.")}, logged


def kept_generator(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    (path,) = folder.glob(f"gan/*/generator-{epoch:04d}.safetensors")
    return load_file(path)


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def run_to_the_end(
    config: Config, dataset: GzslDataset, folder: Path, seeds: tuple[int, ...] = (0,)
) -> dict[int, dict[str, float]]:
    return dict(scored(config, seeds, dataset, folder))


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, with what tells whether it was written anew."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*.safetensors")
    }


# The same as a training of its own


@pytest.mark.parametrize(
    "gan", [{}, SNAPSHOTS, {"snapshots": 2, "snapshot_every": 3}], ids=["one", "several", "rare ones"]
)
def test_generators_and_scores_are_those_that_a_training_of_its_own_logs(
    gan: dict, dataset: GzslDataset, tmp_path: Path
) -> None:
    config = changed(gan=gan)
    generator, logged = trained(config, dataset, tmp_path / "alone")
    found = run_to_the_end(config, dataset, tmp_path / "kept")
    assert list(found) == [2, 4, 6]
    assert_same(kept_generator(tmp_path / "kept", 6), generator)
    for epoch, terms in found.items():
        names = [f"val_{name}" for name in SCORES if f"val_{name}" in logged[epoch]]
        assert {"val_H", "val_calibrated_H", "val_gamma"} <= set(names)
        assert {name: terms[name] for name in names} == {name: logged[epoch][name] for name in names}
        assert {name: value for name, value in terms.items() if name.startswith("gan/")} == {
            name: logged[epoch][name] for name in terms if name.startswith("gan/")
        }
    assert len({terms["val_calibrated_H"] for terms in found.values()}) > 1


def test_the_generator_of_an_earlier_epoch_is_that_of_a_training_which_ended_there(
    dataset: GzslDataset, tmp_path: Path
) -> None:
    run_to_the_end(TINY, dataset, tmp_path / "kept")
    generator, _ = trained(changed(gan={"epochs": 4, "score_every": 0}), dataset, tmp_path / "alone")
    assert_same(kept_generator(tmp_path / "kept", 4), generator)


def test_figures_of_several_seeds_are_their_means(dataset: GzslDataset, tmp_path: Path) -> None:
    both = run_to_the_end(TINY, dataset, tmp_path, (0, 1))
    for epoch, terms in both.items():
        each = [run_to_the_end(changed(seed=seed), dataset, tmp_path, (seed,))[epoch] for seed in (0, 1)]
        assert terms["val_calibrated_H"] == pytest.approx(
            (each[0]["val_calibrated_H"] + each[1]["val_calibrated_H"]) / 2
        )
        assert terms["gan_trainings"] == 2
        assert [one["gan_trainings"] for one in each] == [0, 0]


# Going on


def until_killed(config: Config, dataset: GzslDataset, folder: Path, epoch: int) -> None:
    """Train as a search does, and stop dead after an epoch."""
    gan = KeptGan(config, dataset, folder)
    for goal in epochs_scored(config):
        for at, _ in gan.terms_until(goal):
            if at == epoch:
                return


@pytest.mark.parametrize("epoch", [1, 3, 5])
@pytest.mark.parametrize("gan", [{}, SNAPSHOTS], ids=["one generator", "snapshots"])
def test_a_killed_training_goes_on_to_the_same_weights_and_scores(
    gan: dict, epoch: int, dataset: GzslDataset, tmp_path: Path
) -> None:
    config = changed(gan=gan)
    whole = run_to_the_end(config, dataset, tmp_path / "whole")
    until_killed(config, dataset, tmp_path / "killed", epoch)
    resumed = run_to_the_end(config, dataset, tmp_path / "killed")
    for at in epochs_scored(config):
        assert_same(kept_generator(tmp_path / "killed", at), kept_generator(tmp_path / "whole", at))
        assert resumed[at]["val_calibrated_H"] == whole[at]["val_calibrated_H"]
    assert resumed[6]["gan_trainings"] == (1 if epoch < 3 else 0), (
        "what was saved at a scored epoch is gone on from"
    )


def test_a_training_that_went_past_an_epoch_scored_now_is_done_again_with_the_same_weights(
    dataset: GzslDataset, tmp_path: Path
) -> None:
    for _, _ in zip(range(2), scored(TINY, (0,), dataset, tmp_path / "kept"), strict=False):
        pass  # given up at epoch 4
    found = run_to_the_end(changed(gan={"score_every": 3}), dataset, tmp_path / "kept")
    assert list(found) == [3, 6]
    assert found[6]["gan_trainings"] == 1
    generator, _ = trained(changed(gan={"epochs": 3}), dataset, tmp_path / "alone")
    assert_same(kept_generator(tmp_path / "kept", 3), generator)


def test_what_training_goes_on_from_is_gone_once_it_has_ended(dataset: GzslDataset, tmp_path: Path) -> None:
    states: list[bool] = []
    for _ in scored(TINY, (0,), dataset, tmp_path):
        states.append(any(tmp_path.glob("gan/*/state.safetensors")))
    assert states == [True, True, False]


def test_a_longer_training_keeps_what_a_shorter_one_left(dataset: GzslDataset, tmp_path: Path) -> None:
    run_to_the_end(changed(gan={"epochs": 4}), dataset, tmp_path / "kept")
    before = files_of(tmp_path / "kept")
    run_to_the_end(TINY, dataset, tmp_path / "kept")
    after = files_of(tmp_path / "kept")
    assert {name: after[name] for name in before} == before
    generator, _ = trained(TINY, dataset, tmp_path / "alone")
    assert_same(kept_generator(tmp_path / "kept", 6), generator)


# Sharing


def test_a_second_count_trains_nothing(dataset: GzslDataset, tmp_path: Path) -> None:
    first = run_to_the_end(TINY, dataset, tmp_path)
    before = files_of(tmp_path)
    second = run_to_the_end(changed(generate={"counts": [5]}, classifier={"lr": 0.01}), dataset, tmp_path)
    assert files_of(tmp_path) == before
    assert [terms["gan_trainings"] for terms in (first[6], second[6])] == [1, 0]
    assert not [name for name in second[6] if name.startswith("gan/")]
    assert second[6]["val_calibrated_H"] != first[6]["val_calibrated_H"]


def test_it_is_new_where_a_training_was_begun_from_nothing(dataset: GzslDataset, tmp_path: Path) -> None:
    gan = KeptGan(TINY, dataset, tmp_path)
    assert not gan.is_new
    assert [epoch for epoch, _ in gan.terms_until(2)] == [1, 2]
    assert gan.is_new
    again = KeptGan(TINY, dataset, tmp_path)
    assert list(again.terms_until(2)) == []
    assert [epoch for epoch, _ in again.terms_until(4)] == [3, 4]
    assert not again.is_new


def test_gans_of_one_seed_share_their_judges(dataset: GzslDataset, tmp_path: Path) -> None:
    run_to_the_end(changed(gan={"epochs": 2}), dataset, tmp_path)
    (judges,) = tmp_path.glob("judges/*/judges.safetensors")
    before = files_of(tmp_path)
    run_to_the_end(changed(gan={"epochs": 2, "cycle_weight": 3.0}), dataset, tmp_path)
    assert {name: file for name, file in files_of(tmp_path).items() if name in before} == before
    assert len(list(tmp_path.glob("gan/*"))) == 2
    train(
        replace(TINY, gan=replace(TINY.gan, train=False)),
        dataset,
        tmp_path / "alone",
        lambda metrics, epoch: None,
    )
    assert_same(load_file(judges), load_file(tmp_path / "alone" / JUDGES_FILE))


CHILD = """
import pickle, sys
from collections import deque
from pathlib import Path
from cwgan.search.kept import KeptGan, judges_hash
folder = Path(sys.argv[1])
config, dataset = pickle.loads((folder / "given").read_bytes())
print("ready", flush=True)
deque(KeptGan(config, dataset, folder).terms_until(1), maxlen=0)
print((folder / "judges" / judges_hash(config, dataset) / "judges.safetensors").stat().st_mtime_ns)
"""


def test_two_processes_fit_the_judges_once(dataset: GzslDataset, tmp_path: Path) -> None:
    folder = tmp_path / "judges" / judges_hash(TINY, dataset)
    children = []
    with locked(folder / "lock"):
        for weight in (0.0, 1.0):
            place = tmp_path / str(weight)
            place.mkdir()
            (place / "judges").symlink_to(tmp_path / "judges")
            (place / "given").write_bytes(pickle.dumps((changed(gan={"cycle_weight": weight}), dataset)))
            children.append(
                subprocess.Popen([sys.executable, "-c", CHILD, str(place)], stdout=subprocess.PIPE, text=True)
            )
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        assert not (folder / JUDGES_FILE).exists(), "both wait for the lock"
    said = [child.communicate(timeout=60)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(len(lines) for lines in said) == [1, 3], (
        "one says how its two judges do, and that they are there"
    )
    assert {lines[-1] for lines in said} == {str((folder / JUDGES_FILE).stat().st_mtime_ns)}


# What tells GANs apart


@pytest.mark.parametrize(
    ("changes", "judges_too"),
    [
        ({"gan": {"cycle_weight": 0.5}}, False),
        ({"gan": {"snapshots": 2}}, False),
        ({"gan": {"hidden_size": 33}}, False),
        ({"seed": 1}, True),
        ({"precision": "bfloat16"}, True),
        ({"monitor": {"epochs": 2}}, True),
        ({"regressor": {"lr": 0.5}}, True),
    ],
)
def test_whatever_shapes_a_gan_makes_it_another(
    changes: dict, judges_too: bool, dataset: GzslDataset
) -> None:
    assert gan_hash(changed(**changes), dataset) != gan_hash(TINY, dataset)
    assert (judges_hash(changed(**changes), dataset) != judges_hash(TINY, dataset)) == judges_too


@pytest.mark.parametrize(
    "changes",
    [
        {"generate": {"counts": [7]}},
        {"classifier": {"lr": 0.5, "epochs": 9, "gamma": 1.0, "loss": "logit_adjusted"}},
        {"gan": {"epochs": 60}},
        {"gan": {"score_every": 1}},
        {"gan": {"save": {"every": 1}}, "monitor": {"save": {"every": 1}}},
        {"threads": 3, "experiment": "x", "run_name": "y", "sweep": {"trials": 3}},
    ],
)
def test_what_shapes_no_gan_leaves_it_the_same(changes: dict, dataset: GzslDataset) -> None:
    changes = {
        name: {**to_dict(TINY)[name], **new} if isinstance(new, dict) else new
        for name, new in changes.items()
    }
    for section in ("gan", "monitor"):
        if "every" in changes.get(section, {}).get("save", {}):
            changes[section]["save"] = {**to_dict(TINY)[section]["save"], **changes[section]["save"]}
    assert gan_hash(changed(**changes), dataset) == gan_hash(TINY, dataset)


def test_other_data_give_another_gan(dataset: GzslDataset, blobs: GzslDataset) -> None:
    features = dataset.features.clone()
    features[0, 0] += 0.5
    others = [
        replace(dataset, features=features),
        replace(dataset, attributes=dataset.attributes + 1),
        validation_view(blobs, 0.3, 0),
        validation_view(blobs, 0.2, 1),
    ]
    hashes = {gan_hash(TINY, one) for one in [dataset, *others]}
    assert len(hashes) == 5
    assert gan_hash(TINY, replace(dataset, name="renamed", source="elsewhere")) in hashes


# When it is scored


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [(6, 2, [2, 4, 6]), (7, 3, [3, 6, 7]), (3, 5, [3]), (4, 1, [1, 2, 3, 4]), (5, 5, [5])],
)
def test_it_is_scored_at_the_multiples_and_at_the_last_epoch(
    epochs: int, every: int, expected: list[int]
) -> None:
    assert epochs_scored(changed(gan={"epochs": epochs, "score_every": every})) == expected


def test_a_figure_says_what_was_spent_so_far(dataset: GzslDataset, tmp_path: Path) -> None:
    curve: Iterator[tuple[int, dict[str, float]]] = scored(TINY, (0,), dataset, tmp_path)
    spent = [(terms["seconds/training"], terms["seconds/scoring"]) for _, terms in curve]
    for before, after in itertools.pairwise(spent):
        assert 0 < before[0] < after[0]
        assert 0 < before[1] < after[1]


def test_a_term_that_is_no_longer_finite_is_an_error_and_leaves_no_generator(
    dataset: GzslDataset, tmp_path: Path
) -> None:
    with pytest.raises(FloatingPointError, match=r"GAN: the term \w+ is (nan|-?inf) in epoch"):
        run_to_the_end(changed(gan={"generator_lr": 1e30}), dataset, tmp_path)
    assert list(tmp_path.glob("gan/*/*.safetensors")) == []


def test_features_that_the_generator_cannot_make_are_refused_before_anything_is_kept(
    dataset: GzslDataset, tmp_path: Path
) -> None:
    signed = replace(dataset, features=dataset.features - 9)
    with pytest.raises(InputError, match=r"features: found values down to -8\."):
        run_to_the_end(TINY, signed, tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
