"""Kept GANs: the generators and scores of a training of their own, whatever interrupted them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from cwgan.command_line import override
from cwgan.config import SCORES, ClassifierConfig, Config, GenerateConfig
from cwgan.data.dataset import GzslDataset
from cwgan.data.views import make_validation_view
from cwgan.errors import InputError
from cwgan.gan_config import GanConfig, MonitorConfig, RegressorConfig
from cwgan.layers import flatten
from cwgan.search.kept import KeptGan, train_and_score
from cwgan.stages.job import PRETRAINED_FILE, Job
from cwgan.stages.train import train

GAN = GanConfig(
    **{
        "epoch_steps": 0,
        "critic_steps": 1,
        "snapshots": 1,
        "beta1": 0.9,
        "critic_lr": 1e-3,
        "output": "relu",
    },
    epochs=6,
    hidden_size=32,
    batch_size=16,
    noise_size=2,
    generator_lr=3e-3,
    cycle_weight=0.1,
    score_every=2,
)
TINY = Config(
    protocol="validation",
    monitor=MonitorConfig(epochs=1),
    regressor=RegressorConfig(epochs=1),
    gan=GAN,
    generate=GenerateConfig(counts=[20]),
    classifier=ClassifierConfig(epochs=20, lr=0.1),
)
SNAPSHOTS = {"snapshots": 3, "snapshot_every": 1}
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def blobs():
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
    index = [torch.nonzero(row).flatten() for row in rows]
    return GzslDataset("blobs", "made in a test", features, labels, attributes, names, *index)


@pytest.fixture(scope="module")
def dataset(blobs):
    return make_validation_view(blobs, 0.2, 0)


def changed(**values):
    """The tiny configuration with some parameters changed; a section's are given as a dictionary."""
    return override(TINY, flatten(values))


def make_job(config, dataset, folder):
    return Job(config, dataset, folder, lambda terms, epoch: None)


def train_alone(config, dataset, folder):
    """Train from start to end on its own; return the last generator and what was logged by epoch."""
    logged: dict[int, Mapping[str, float]] = {}

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        if "gan/critic" in metrics:
            logged[epoch] = dict(metrics)

    path = train(Job(config, dataset, folder, log))
    assert path is not None
    return {name: value for name, value in load_file(path).items() if name.startswith("generator.")}, logged


def train_kept(config, dataset, folder, seeds=(0,)):
    return {epoch: terms for epoch, terms, _ in train_and_score(make_job(config, dataset, folder), seeds)}


def find_folders(dataset, **changes):
    """Tell whether changed parameters make another GAN, and other pretrained networks."""
    ours, theirs = (KeptGan(make_job(one, dataset, Path("/"))) for one in (TINY, changed(**changes)))
    kinds = ("gan", "pretrained")
    return tuple(
        "the same" if ours.find_folder(kind) == theirs.find_folder(kind) else "another" for kind in kinds
    )


def load_kept(folder, epoch):
    (path,) = folder.glob(f"gan/*/generator-{epoch:04d}.safetensors")
    return load_file(path)


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def list_files(folder):
    """Every file, with what tells whether it was written anew."""
    found = {path: path.stat() for path in folder.rglob("*.safetensors")}
    return {str(path.relative_to(folder)): (facts.st_ino, facts.st_mtime_ns) for path, facts in found.items()}


# The same as a training of its own


@pytest.mark.parametrize("gan", [{}, SNAPSHOTS, {"snapshots": 2, "snapshot_every": 3}])
def test_generators_and_scores_are_those_that_a_training_of_its_own_logs(gan, dataset, tmp_path):
    config = changed(gan=gan)
    generator, logged = train_alone(config, dataset, tmp_path / "alone")
    found = train_kept(config, dataset, tmp_path / "kept")
    assert list(found) == [2, 4, 6]
    assert_same(load_kept(tmp_path / "kept", 6), generator)
    for epoch, terms in found.items():
        names = [f"val_{name}" for name in SCORES if f"val_{name}" in logged[epoch]]
        assert {"val_H", "val_raw_H", "val_gamma"} <= set(names)
        names += [name for name in terms if name.startswith("gan/")]
        assert {name: terms[name] for name in names} == {name: logged[epoch][name] for name in names}
    assert len({terms["val_H"] for terms in found.values()}) > 1


def test_figures_of_several_seeds_are_their_means(dataset, tmp_path):
    both = train_kept(TINY, dataset, tmp_path, (0, 1))
    each = [train_kept(changed(seed=seed), dataset, tmp_path, (seed,)) for seed in (0, 1)]
    for epoch, terms in both.items():
        mean = sum(one[epoch]["val_H"] for one in each) / 2
        assert terms["val_H"] == pytest.approx(mean)
        assert [terms["gan_trainings"], *(one[epoch]["gan_trainings"] for one in each)] == [2, 0, 0]


# Going on


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("gan", [{}, SNAPSHOTS], ids=["one generator", "snapshots"])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights_and_scores(gan, stop, dataset, tmp_path):
    config = changed(gan=gan)
    whole = train_kept(config, dataset, tmp_path / "whole")
    training = KeptGan(make_job(config, dataset, tmp_path / "killed")).train()
    for _ in range(stop):
        next(training)
    resumed = train_kept(config, dataset, tmp_path / "killed")
    for epoch in (2, 4, 6):
        assert_same(load_kept(tmp_path / "killed", epoch), load_kept(tmp_path / "whole", epoch))
        assert resumed[epoch]["val_H"] == whole[epoch]["val_H"]
    assert resumed[6]["gan_trainings"] == 0, "it goes on from what was saved at a scored epoch"


def test_a_training_that_went_past_an_epoch_scored_now_is_done_again_with_the_same_weights(dataset, tmp_path):
    training = KeptGan(make_job(TINY, dataset, tmp_path / "kept")).train()
    assert [next(training)[0] for _ in range(2)] == [2, 4]
    found = train_kept(changed(gan={"score_every": 3}), dataset, tmp_path / "kept")
    assert (list(found), found[6]["gan_trainings"]) == ([3, 6], 1)
    generator, _ = train_alone(changed(gan={"epochs": 3}), dataset, tmp_path / "alone")
    assert_same(load_kept(tmp_path / "kept", 3), generator)


def test_only_a_training_that_has_not_ended_keeps_its_state_and_tells_that_to_go_on_is_to_train(
    dataset, tmp_path
):
    job = make_job(TINY, dataset, tmp_path)
    state = KeptGan(job).find_folder("gan") / "state.safetensors"
    first = [(trains, state.is_file()) for _, _, trains in train_and_score(job, [0])]
    assert first == [(True, True), (True, True), (False, False)]
    assert [trains for _, _, trains in train_and_score(job, [0])] == [False] * 3


def test_a_longer_training_keeps_what_a_shorter_one_left(dataset, tmp_path):
    train_kept(changed(gan={"epochs": 4}), dataset, tmp_path / "kept")
    before = list_files(tmp_path / "kept")
    train_kept(TINY, dataset, tmp_path / "kept")
    after = list_files(tmp_path / "kept")
    assert {name: after[name] for name in before} == before
    generator, _ = train_alone(TINY, dataset, tmp_path / "alone")
    assert_same(load_kept(tmp_path / "kept", 6), generator)


# Sharing


def test_a_second_count_trains_nothing(dataset, tmp_path):
    first = train_kept(TINY, dataset, tmp_path)
    before = list_files(tmp_path)
    config = changed(generate={"counts": [5]}, classifier={"lr": 0.01})
    second = train_kept(config, dataset, tmp_path)
    assert list_files(tmp_path) == before
    assert [terms["gan_trainings"] for terms in (first[6], second[6])] == [1, 0]
    assert not [name for name in second[6] if name.startswith("gan/")]
    assert second[6]["val_H"] != first[6]["val_H"]


def test_gans_of_one_seed_share_their_pretrained_networks(dataset, tmp_path):
    train_kept(changed(gan={"epochs": 2}), dataset, tmp_path)
    (pretrained,) = tmp_path.glob(f"pretrained/*/{PRETRAINED_FILE}")
    before = list_files(tmp_path)
    train_kept(changed(gan={"epochs": 2, "cycle_weight": 3.0}), dataset, tmp_path)
    assert {name: file for name, file in list_files(tmp_path).items() if name in before} == before
    assert len(list(tmp_path.glob("gan/*"))) == 2
    train(make_job(changed(gan={"train": False}), dataset, tmp_path / "alone"))
    assert_same(load_file(pretrained), load_file(tmp_path / "alone" / PRETRAINED_FILE))


def test_two_workers_fit_the_pretrained_networks_once(dataset, tmp_path):
    jobs = [make_job(changed(gan={"cycle_weight": weight}), dataset, tmp_path) for weight in (0.0, 1.0)]
    folder = KeptGan(jobs[0]).find_folder("pretrained")
    with ThreadPoolExecutor(2) as pool:
        with FileLock(folder / "lock"):
            trainings = [pool.submit(next, KeptGan(job).train()) for job in jobs]
            assert not wait(trainings, 1).done, "both wait for the lock"
            assert list(tmp_path.rglob("*.safetensors")) == []
        assert trainings[0].result()[0] == 2
        before = list_files(folder)
        assert trainings[1].result()[0] == 2
    assert list_files(folder) == before != {}


# What tells GANs apart


@pytest.mark.parametrize("gan", [{"cycle_weight": 0.5}, {"snapshots": 2}, {"hidden_size": 33}])
def test_whatever_shapes_a_gan_makes_it_another(gan, dataset):
    assert find_folders(dataset, gan=gan) == ("another", "the same")


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"precision": "bfloat16"}, {"monitor": {"epochs": 2}}, {"regressor": {"lr": 0.5}}],
)
def test_whatever_shapes_the_pretrained_networks_makes_other_ones_and_another_gan(changes, dataset):
    assert find_folders(dataset, **changes) == ("another", "another")


@pytest.mark.parametrize(
    "changes",
    [
        {"generate": {"counts": [7]}},
        {"classifier": {"lr": 0.5, "epochs": 9, "gamma": 1.0, "loss": "logit_adjusted"}},
        {"gan": {"epochs": 60, "score_every": 1, "save": {"every": 1}}, "monitor": {"save": {"every": 1}}},
        {"threads": 3, "experiment": "x", "run_name": "y", "sweep": {"trials": 3}},
    ],
)
def test_what_shapes_no_gan_leaves_it_the_same(changes, dataset):
    assert find_folders(dataset, **changes) == ("the same", "the same")


def test_other_data_give_another_gan(dataset, blobs):
    features = dataset.features[:].clone()
    features[0, 0] += 0.5
    views = [make_validation_view(blobs, 0.3, 0), make_validation_view(blobs, 0.2, 1)]
    others = [
        replace(dataset, features=features),
        replace(dataset, attributes=dataset.attributes + 1),
        *views,
    ]
    folders = {KeptGan(make_job(TINY, one, Path("/"))).find_folder("gan") for one in [dataset, *others]}
    assert len(folders) == 5
    renamed = replace(dataset, name="renamed", source="elsewhere")
    assert KeptGan(make_job(TINY, renamed, Path("/"))).find_folder("gan") in folders


def test_a_term_that_is_no_longer_finite_is_an_error_and_leaves_no_generator(dataset, tmp_path):
    with pytest.raises(FloatingPointError, match=r"GAN: the term \w+ is (nan|-?inf) in epoch"):
        train_kept(changed(gan={"generator_lr": 1e30}), dataset, tmp_path)
    assert list(tmp_path.glob("gan/*/*.safetensors")) == []


def test_features_that_the_generator_cannot_make_are_refused_before_anything_is_kept(dataset, tmp_path):
    signed = replace(dataset, features=dataset.features[:] - 9)
    with pytest.raises(InputError, match=r"features: found values down to -8\."):
        train_kept(changed(gan={"output": "relu"}), signed, tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
