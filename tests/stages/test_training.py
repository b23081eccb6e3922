"""The training stage: what it writes and logs, which checkpoints stay, and that resuming changes nothing."""

import dataclasses
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cwgan.command_line import from_dict, override, to_dict
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.gan.checkpoint import load_checkpoint, load_classifier
from cwgan.gan_config import GanConfig, MonitorConfig, RegressorConfig
from cwgan.layers import find_layer, flatten, read_layer
from cwgan.stages import resume
from cwgan.stages.classify import train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import Job, view_data
from cwgan.stages.train import fix_output, train

TINY = Config(
    monitor=MonitorConfig(epochs=2),
    regressor=RegressorConfig(epochs=2, batch_size=512),
    gan=GanConfig(epochs=4, hidden_size=8, batch_size=512, generator_lr=1e-2, cycle_weight=0.1),
)


def changed(config: Config = TINY, **sections: dict) -> Config:
    """A configuration with some parameters of some sections changed."""
    values = to_dict(config)
    return from_dict({**values, **{name: {**values[name], **section} for name, section in sections.items()}})


def with_saves(stage: str = "gan", **rule: object) -> Config:
    return changed(TINY, **{stage: {"save": to_dict(TINY)[stage]["save"] | rule}})


class Curves(dict):
    """What a training logs: the values of each term by epoch."""

    def __call__(self, metrics, epoch):
        for name, value in metrics.items():
            self.setdefault(name, {})[epoch] = value


def assert_same_tensors(first: Path, second: Path) -> None:
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


# What a training leaves behind


def test_a_training_writes_three_checkpoints_and_logs_every_term_of_every_epoch(numbers, tmp_path):
    curves = Curves()
    gan_file = train(Job(TINY, numbers, tmp_path, curves))
    assert gan_file == tmp_path / "gan.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gan.safetensors", "pretrained.safetensors"]
    pretrained = {
        "monitor/loss",
        "monitor/val_loss",
        "monitor/accuracy",
        "monitor/val_accuracy",
        "regressor/loss",
        "regressor/val_loss",
    }
    players = {
        "critic",
        "wasserstein",
        "gradient_penalty",
        "generator",
        "adversarial",
        "cycle",
        "monitor_accuracy",
    }
    assert set(curves) == pretrained | {f"gan/{name}" for name in players}
    assert all(list(curves[name]) == [1, 2] for name in pretrained)
    assert all(list(curves[f"gan/{name}"]) == [1, 2, 3, 4] for name in players)


def test_the_same_seed_gives_the_same_file_and_another_seed_another(numbers, tmp_path):
    for folder, seed in (("first", 0), ("second", 0), ("third", 1)):
        train(Job(dataclasses.replace(TINY, seed=seed), numbers, tmp_path / folder, Curves()))
    first, second, third = (
        (tmp_path / folder / "gan.safetensors").read_bytes() for folder in ("first", "second", "third")
    )
    assert first == second
    assert (
        load_file(tmp_path / "first/gan.safetensors").keys()
        == load_file(tmp_path / "third/gan.safetensors").keys()
    )
    assert first != third


def test_without_the_gan_only_monitor_and_regressor_are_fitted(numbers, tmp_path):
    assert train(Job(changed(gan={"train": False}), numbers, tmp_path, Curves())) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pretrained.safetensors"]


def test_without_a_cycle_term_there_is_no_regressor(numbers, tmp_path):
    curves, config = Curves(), changed(gan={"cycle_weight": 0.0, "epochs": 2, "score_every": 1})
    config = dataclasses.replace(config, protocol="validation")
    gan_file = train(Job(config, view_data(config, numbers), tmp_path, curves))
    files = (gan_file, tmp_path / "pretrained.safetensors")
    assert not [name for file in files for name in load_file(file) if name.startswith("regressor.")]
    assert "gan/frechet_unseen" in curves
    assert not [name for name in curves if "regressor" in name or "cycle" in name]


@pytest.mark.parametrize(("alone", "other"), [("monitor", "regressor"), ("regressor", "monitor")])
def test_each_pretrained_network_can_be_fitted_alone(numbers, tmp_path, alone, other):
    train(Job(changed(gan={"train": False}, **{other: {"train": False}}), numbers, tmp_path, Curves()))
    names = load_file(tmp_path / "pretrained.safetensors")
    assert {name.partition(".")[0] for name in names} == {alone}


def test_a_training_of_nothing_is_refused(numbers, tmp_path):
    nothing = {stage: {"train": False} for stage in ("gan", "monitor", "regressor")}
    with pytest.raises(InputError, match=r"monitor\.train: found false; allowed: true, or a checkpoint"):
        train(Job(changed(**nothing), numbers, tmp_path, Curves()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        ({"cycle_weight": 0.0}, set()),
        ({"unseen_cycle_weight": 0.01}, {"gan/cycle", "gan/unseen_cycle"}),
        ({"classification_weight": 0.01}, {"gan/cycle", "gan/classification"}),
    ],
)
def test_a_term_of_weight_zero_is_not_logged(numbers, tmp_path, weights, terms):
    curves = Curves()
    train(Job(changed(gan={"epochs": 1, **weights}), numbers, tmp_path, curves))
    assert {"gan/cycle", "gan/unseen_cycle", "gan/classification"} & set(curves) == terms


def test_the_validation_protocol_scores_every_so_many_epochs(numbers, tmp_path):
    config = dataclasses.replace(
        changed(gan={"score_every": 2}, classifier={"epochs": 1}), protocol="validation"
    )
    curves = Curves()
    train(Job(config, numbers, tmp_path, curves))
    for name in ("val_S", "val_U", "val_H", "val_T1"):
        assert list(curves[name]) == [2, 4]
        assert all(0 <= value <= 1 for value in curves[name].values())


def test_a_loss_that_is_not_finite_ends_the_training_and_leaves_no_unfinished_file(numbers, tmp_path):
    with pytest.raises(FloatingPointError, match=r"GAN: the term \w+ is (nan|-?inf) in epoch"):
        train(Job(changed(gan={"generator_lr": 1e30}), numbers, tmp_path, Curves()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pretrained.safetensors"]


# Resuming


@pytest.mark.parametrize(
    "gan",
    [
        {},
        {
            "critic_steps": 2,
            "unseen_cycle_weight": 0.1,
            "classification_weight": 0.1,
            "generator_lr_decay": 0.5,
            "critic_lr_decay": 0.1,
        },
    ],
    ids=["cycle_wgan", "all terms, decaying rates"],
)
def test_two_epochs_and_two_more_are_four_bit_for_bit(numbers, tmp_path, gan):
    unbroken, first, resumed = Curves(), Curves(), Curves()
    train(Job(changed(gan=gan), numbers, tmp_path / "unbroken", unbroken))
    train(Job(changed(gan={**gan, "epochs": 2}), numbers, tmp_path / "first", first))
    train(Job(changed(gan=gan), numbers, tmp_path / "first", resumed, is_resumed=True))
    whole, again = (tmp_path / name / "gan.safetensors" for name in ("unbroken", "first"))
    assert whole.read_bytes() == again.read_bytes()
    assert resumed == unbroken
    assert all(first[name].items() <= unbroken[name].items() for name in first)


@pytest.fixture
def every_step(monkeypatch):
    """Save at every step, however much of the time that takes."""
    monkeypatch.setattr(resume, "SHARE", float("inf"))


class Interrupting(Curves):
    """A log that interrupts the training at one of its calls, of which every saving makes one."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, metrics, epoch):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().__call__(metrics, epoch)


def test_a_training_interrupted_anywhere_goes_on_bit_for_bit(numbers, tmp_path, every_step):
    rule = {"every": 1, "keep": 1, "best_by": "monitor_accuracy", "resume_every": 1e-9}
    batches = {"epoch_steps": -1, "batch_size": 1000, "holdout": 0.1}  # the last batch is smaller
    config = changed(gan={**batches, "save": rule}, monitor={"save": {"every": 1, "keep": 1}})
    unbroken = Curves()
    train(Job(config, numbers, tmp_path / "unbroken", unbroken))
    whole = {path.name: path.read_bytes() for path in (tmp_path / "unbroken").rglob("*.safetensors")}
    for call in range(1, 20, 2):
        folder, resumed = tmp_path / str(call), Curves()
        with pytest.raises(KeyboardInterrupt):
            train(Job(config, numbers, folder, Interrupting(call)))
        with suppress(KeyboardInterrupt):
            train(Job(config, numbers, folder, Interrupting(call), is_resumed=True))
        train(Job(config, numbers, folder, resumed, is_resumed=True))
        assert {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")} == whole, call
        assert resumed == unbroken, call
        assert not (folder / "resume").exists()


def test_of_a_damaged_resume_point_the_one_before_is_used_with_a_warning(
    numbers, tmp_path, capsys, every_step
):
    config = changed(gan={"epoch_steps": 3, "save": {"resume_every": 1e-9}})
    train(Job(config, numbers, tmp_path / "unbroken", Curves()))
    with pytest.raises(KeyboardInterrupt):
        train(Job(config, numbers, tmp_path / "broken", Interrupting(14)))
    older, newer = sorted((tmp_path / "broken/resume").iterdir())
    content = bytearray(newer.read_bytes())
    content[-100] ^= 1
    newer.write_bytes(content)
    train(Job(config, numbers, tmp_path / "broken", Curves(), is_resumed=True))
    said = capsys.readouterr().err
    assert f"warning: {newer}: checksum: found that of other contents: the file is damaged" in said
    assert str(older) not in said
    first, second = (tmp_path / name / "gan.safetensors" for name in ("unbroken", "broken"))
    assert first.read_bytes() == second.read_bytes()


def test_a_training_that_has_ended_is_not_repeated(numbers, tmp_path):
    gan_file, curves = train(Job(TINY, numbers, tmp_path, Curves())), Curves()
    before = gan_file.read_bytes()
    train(Job(TINY, numbers, tmp_path, curves, is_resumed=True))
    assert gan_file.read_bytes() == before
    assert list(curves["gan/critic"]) == [1, 2, 3, 4], "told again to whoever lacks it"


def test_without_being_resumed_nothing_in_the_folder_is_used(numbers, tmp_path):
    train(Job(changed(gan={"epochs": 1}), numbers, tmp_path, Curves()))
    first, second = (
        train(Job(dataclasses.replace(TINY, seed=1), numbers, folder, Curves()))
        for folder in (tmp_path, tmp_path / "new")
    )
    assert first.read_bytes() == second.read_bytes()


# Pretrained networks from elsewhere


def test_pretrained_networks_can_come_from_an_earlier_training(numbers, tmp_path):
    gan_file = train(Job(TINY, numbers, tmp_path / "first", Curves()))
    curves = Curves()
    config = changed(dataclasses.replace(TINY, seed=1), monitor={"train": False}, regressor={"train": False})
    again = load_file(train(Job(config, numbers, tmp_path / "second", curves), pretrained=gan_file))
    assert {name.partition("/")[0] for name in curves} == {"gan"}
    for name, tensor in load_file(gan_file).items():
        if name.startswith(("monitor.", "regressor.")):
            assert torch.equal(tensor, again[name])


def test_the_legacy_variant_has_relu_and_biases_of_0_9999_in_monitor_and_final_classifier(numbers, tmp_path):
    legacy = override(TINY, flatten(read_layer(find_layer("legacy", "variant"))))
    config = changed(
        legacy, monitor={"lr": 1e-9}, gan={"epochs": 1, "classification_weight": 1.0}, classifier={"lr": 1e-9}
    )
    job = Job(config, numbers, tmp_path, Curves())
    rows, _ = generate(job, train(job))
    train_classifier(job, rows)
    for file, name in (("gan", "monitor"), ("classifier", "classifier")):
        network = load_classifier(load_checkpoint(tmp_path / f"{file}.safetensors"), name)
        assert network.relu
        torch.testing.assert_close(network.bias, torch.full_like(network.bias, 0.9999))


def test_a_pretrained_monitor_of_another_form_is_refused(numbers, tmp_path):
    train(Job(changed(gan={"train": False}), numbers, tmp_path, Curves()))
    config = changed(monitor={"train": False, "relu_logits": True})
    with pytest.raises(InputError, match=r"monitor\.relu_logits: found False; allowed: True, as configured"):
        train(
            Job(config, numbers, tmp_path / "next", Curves()), pretrained=tmp_path / "pretrained.safetensors"
        )


@pytest.mark.parametrize("network", ["monitor", "regressor"])
def test_a_network_that_is_not_fitted_must_come_from_somewhere(numbers, tmp_path, network):
    with pytest.raises(
        InputError, match=rf"{network}\.train: found false; allowed: true, or a checkpoint with the {network}"
    ):
        train(Job(changed(**{network: {"train": False}}), numbers, tmp_path, Curves()))


def test_the_last_activation_is_one_that_can_make_the_features_and_another_is_refused(numbers, tmp_path):
    signed = dataclasses.replace(numbers, features=numbers.features - 0.5)
    for dataset, chosen in ((numbers, "relu"), (signed, "linear")):
        assert fix_output(Job(TINY, dataset, tmp_path, Curves())).config.gan.output == chosen
    config = override(TINY, {"gan.output": "relu"})
    with pytest.raises(InputError, match=r"features: found values down to -0\.5; allowed: no value below 0"):
        train(Job(config, signed, tmp_path, Curves()))
    assert list(tmp_path.iterdir()) == []


# Savepoints


def test_no_rule_saves_no_epoch(numbers, tmp_path):
    train(Job(TINY, numbers, tmp_path, Curves()))
    assert not (tmp_path / "checkpoints").exists()


def test_listed_epochs_are_saved_and_hold_the_gan_as_it_was(numbers, tmp_path):
    train(Job(with_saves(epochs=[2, 4]), numbers, tmp_path / "long", Curves()))
    assert kept(tmp_path / "long") == ["gan-epoch-0002.safetensors", "gan-epoch-0004.safetensors"]
    train(Job(changed(gan={"epochs": 2}), numbers, tmp_path / "short", Curves()))
    assert_same_tensors(
        tmp_path / "long/checkpoints/gan-epoch-0002.safetensors", tmp_path / "short/gan.safetensors"
    )
    assert_same_tensors(
        tmp_path / "long/checkpoints/gan-epoch-0004.safetensors", tmp_path / "long/gan.safetensors"
    )


@pytest.mark.parametrize(("stage", "last"), [("monitor", 2), ("regressor", 2), ("gan", 4)])
def test_an_epoch_that_is_not_reached_cannot_be_saved(numbers, tmp_path, stage, last):
    refused = rf"{stage}\.save\.epochs: found 9; allowed: at most {stage}\.epochs, {last}$"
    with pytest.raises(InputError, match=refused):
        train(Job(with_saves(stage, epochs=[last, 9]), numbers, tmp_path, Curves()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rule", "epochs"),
    [
        ({"every": 1}, [1, 2, 3, 4]),
        ({"every": 2}, [1, 3]),
        ({"every": 2, "start": 2}, [2, 4]),
        ({"every": 1, "start": 3}, [3, 4]),
        ({"every": 1, "keep": 2}, [3, 4]),
        ({"every": 1, "keep": 1, "epochs": [2]}, [2, 4]),
        ({"every": 1, "keep": 9}, [1, 2, 3, 4]),
    ],
)
def test_periodic_savepoints_begin_at_start_and_the_newest_stay(numbers, tmp_path, rule, epochs):
    train(Job(with_saves(**rule), numbers, tmp_path, Curves()))
    assert kept(tmp_path) == [f"gan-epoch-{epoch:04d}.safetensors" for epoch in epochs]


def test_the_best_savepoints_by_a_metric_stay(numbers, tmp_path):
    curves = Curves()
    train(Job(with_saves(every=1, keep=2, best_by="monitor_accuracy"), numbers, tmp_path, curves))
    accuracy = curves["gan/monitor_accuracy"]
    best = sorted(accuracy, key=lambda epoch: (accuracy[epoch], epoch))[-2:]
    assert len(set(accuracy.values())) > 1
    assert kept(tmp_path) == [f"gan-epoch-{epoch:04d}.safetensors" for epoch in sorted(best)]


def test_of_a_loss_the_lowest_is_the_best(numbers, tmp_path):
    config = changed(
        monitor={"epochs": 4, "lr": 3.0, "save": {"every": 1, "keep": 1, "best_by": "val_loss"}},
        gan={"train": False},
    )
    curves = Curves()
    train(Job(config, numbers, tmp_path, curves))
    losses = curves["monitor/val_loss"]
    assert kept(tmp_path) == [f"monitor-epoch-{min(losses, key=losses.get):04d}.safetensors"]


def test_savepoints_are_kept_by_leaks_but_not_by_the_bias(numbers, tmp_path):
    rule = {"every": 1, "keep": 1, "best_by": "val_gamma"}
    config = changed(gan={"score_every": 1, "epochs": 1, "save": rule}, classifier={"epochs": 1})
    config = dataclasses.replace(config, protocol="validation")
    with pytest.raises(InputError, match=r"found 'val_gamma'; allowed: .*val_leak_seen_to_unseen"):
        train(Job(config, numbers, tmp_path, Curves()))
    train(Job(override(config, {"gan.save.best_by": "val_leak_seen_to_unseen"}), numbers, tmp_path, Curves()))
    assert kept(tmp_path) == ["gan-epoch-0001.safetensors"]


@pytest.mark.parametrize("stage", ["monitor", "regressor", "gan"])
def test_a_metric_that_is_not_measured_is_refused_before_anything_is_trained(numbers, tmp_path, stage):
    with pytest.raises(InputError, match=rf"{stage}\.save\.best_by: found 'H'"):
        train(Job(with_saves(stage, every=1, keep=1, best_by="H"), numbers, tmp_path, Curves()))
    assert list(tmp_path.iterdir()) == []
