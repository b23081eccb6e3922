"""Both steps against autograd on the definition of the losses, in float64; and the loop that takes them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from make_data import tiny_dataset
from torch import Tensor, nn

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.gan import losses
from cwgan.gan.checkpoint import load_checkpoint, save_checkpoint
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import Gan, build_gan
from cwgan.gan.training import (
    SeenRows,
    _draw_batches,
    critic_step,
    generator_step,
    measure_held,
    scored_epochs,
    train_gan,
)
from cwgan.gan_config import GanConfig

SIZES = [(7, 5, 11, 6), (64, 20, 33, 17)]
CONFIG = GanConfig(
    hidden_size=24, batch_size=8, epochs=2, epoch_steps=0, critic_steps=1, critic_lr=1e-3, snapshots=1
)


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(config: GanConfig, features: int = 7, attributes: int = 5, rows: int = 50) -> tuple[Gan, SeenRows]:
    """Return an untrained GAN over random non-negative features of six seen and three unseen classes."""
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % 6
    data = SeenRows(
        torch.rand(rows, features, generator=rng),
        labels,
        torch.arange(rows),
        torch.rand(9, attributes, generator=rng),
        torch.arange(6, 9),
    )
    regressor = freeze(Regressor(features, attributes, rng))
    monitor = freeze(SoftmaxClassifier(features, torch.arange(6), rng))
    rng = torch.Generator().manual_seed(2)
    return build_gan(features, attributes, config, rng, regressor, monitor), data


def relative_errors(player: nn.Module, wanted: tuple[Tensor, ...]) -> dict[str, float]:
    """How far the gradients in a player's buffers are from those wanted, by name of the parameter."""
    pairs = zip(player.named_parameters(), wanted, strict=True)
    return {name: ((own.grad - other).norm() / other.norm()).item() for (name, own), other in pairs}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("mixing", ["per_sample", "per_element"])
@pytest.mark.parametrize(("features", "attributes", "hidden", "batch"), SIZES)
def test_the_critic_step_follows_the_gradient_of_the_critic_loss_by_double_backward(
    mixing: str, features: int, attributes: int, hidden: int, batch: int
) -> None:
    gan, data = make(replace(CONFIG, penalty_mixing=mixing, hidden_size=hidden), features, attributes)
    gan.critic.requires_grad_()
    before = {name: parameter.clone() for name, parameter in gan.critic.named_parameters()}
    draws = torch.Generator().set_state(gan.rng.get_state())
    rows = torch.arange(batch)
    real, given = data.features[rows], data.attributes[data.labels[rows]]
    fake = gan.generator(given, torch.randn(batch, attributes, generator=draws))
    mix = torch.rand(batch, 1 if mixing == "per_sample" else features, generator=draws)
    expected = losses.critic_loss(gan.critic, real, fake, given, mix, gan.config.penalty_weight)
    wanted = torch.autograd.grad(expected["critic"], list(gan.critic.parameters()))

    terms = critic_step(gan, data, rows)
    assert terms.keys() == expected.keys()
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-14)
    errors = relative_errors(gan.critic, wanted)
    # The bias of the critic's value cancels: its gradient is 0 but for rounding.
    del errors["output_bias"]
    assert (gan.critic.output_bias.grad - wanted[-1]).abs() < 1e-12
    assert max(errors.values()) < 1e-12, errors
    for name, parameter in gan.critic.named_parameters():
        assert name == "output_bias" or not torch.equal(parameter, before[name]), f"{name} did not move"


def test_a_slope_of_zero_has_the_gradient_that_autograd_gives_it() -> None:
    gan, data = make(CONFIG)
    nn.init.zeros_(gan.critic.output_weight)
    gan.critic.requires_grad_()
    rows, draws = torch.arange(8), torch.Generator().set_state(gan.rng.get_state())
    real, given = data.features[rows], data.attributes[data.labels[rows]]
    fake = gan.generator(given, torch.randn(8, 5, generator=draws))
    mix = torch.rand(8, 1, generator=draws)
    expected = losses.critic_loss(gan.critic, real, fake, given, mix, gan.config.penalty_weight)["critic"]
    wanted = torch.autograd.grad(expected, list(gan.critic.parameters()))
    critic_step(gan, data, rows)
    for parameter, other in zip(gan.critic.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, other, rtol=1e-5, atol=1e-6)


TERMS = ("cycle", "unseen_cycle", "classification")


def expect_generator_step(
    gan: Gan, data: SeenRows, batch: int, draws: torch.Generator | None = None
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Return the terms and the gradients of the next generator step on the first rows, by autograd."""
    draws = draws or torch.Generator().set_state(gan.rng.get_state())
    weights = {name: getattr(gan.config, f"{name}_weight") for name in TERMS}
    labels, size = data.labels[:batch], gan.generator.noise_size
    attributes, noise = data.attributes[labels], torch.randn(batch, size, generator=draws)
    if weights["unseen_cycle"]:
        unseen = data.attributes[6 + torch.randint(3, (batch,), generator=draws)]
        attributes = torch.cat([attributes, unseen])
        noise = torch.cat([noise, torch.randn(batch, size, generator=draws)])
    gan.generator.requires_grad_()
    fake = gan.generator(attributes, noise)
    cycles = {"squared": losses.cycle, "legacy": losses.legacy_cycle}
    relative = partial(losses.relative_cycle, variance=data.attributes.var(0, correction=0).mean())
    cycle = cycles.get(gan.config.cycle_error, relative)
    networks = gan.critic, gan.regressor, gan.monitor
    terms = losses.generator_loss(*networks, fake, attributes, labels, weights, cycle)
    return terms, torch.autograd.grad(terms["generator"], list(gan.generator.parameters()))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "weights", [{}, *({name: 0.7} for name in TERMS), dict.fromkeys(TERMS, 0.3)], ids=str
)
@pytest.mark.parametrize(("features", "attributes", "hidden", "batch"), SIZES)
def test_the_generator_step_follows_the_gradient_of_every_term(
    weights: dict[str, float], features: int, attributes: int, hidden: int, batch: int
) -> None:
    chosen = {f"{name}_weight": weights.get(name, 0.0) for name in TERMS}
    gan, data = make(replace(CONFIG, hidden_size=hidden, **chosen), features, attributes)
    expected, wanted = expect_generator_step(gan, data, batch)
    terms = generator_step(gan, data, torch.arange(batch))
    assert set(terms) == {"generator", "adversarial", *weights}, "a term of weight 0 is not computed"
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=0)
    errors = relative_errors(gan.generator, wanted)
    assert max(errors.values()) < 1e-12, errors


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("output", "error"), [("sigmoid", "squared"), ("linear", "relative"), ("relu", "legacy")]
)
def test_the_generator_step_follows_the_gradient_of_every_output_and_cycle_error(
    output: str, error: str
) -> None:
    gan, data = make(replace(CONFIG, output=output, cycle_error=error, cycle_weight=0.7))
    expected, wanted = expect_generator_step(gan, data, 8)
    cycle = generator_step(gan, data, torch.arange(8))["cycle"]
    torch.testing.assert_close(cycle, expected["cycle"], rtol=1e-12, atol=0)
    errors = relative_errors(gan.generator, wanted)
    assert max(errors.values()) < 1e-12, errors


def test_the_pretrained_networks_and_the_other_player_stay_as_they_are() -> None:
    gan, data = make(replace(CONFIG, cycle_weight=1.0, unseen_cycle_weight=1.0, classification_weight=1.0))
    before = {name: value.clone() for name, value in gan.tensors().items()}
    generator_step(gan, data, torch.arange(8))
    for name, value in gan.tensors().items():
        if name.partition(".")[0] in ("regressor", "monitor", "critic"):
            assert torch.equal(value, before[name]), name
    list(train_gan(gan, data))
    for name, value in gan.tensors().items():
        if name.partition(".")[0] in ("regressor", "monitor"):
            assert torch.equal(value, before[name]), name


def test_the_same_seed_gives_the_same_weights() -> None:
    runs = []
    for _ in range(2):
        gan, data = make(CONFIG)
        list(train_gan(gan, data))
        runs.append(gan.tensors())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_an_epoch_is_a_generator_step_per_batch_each_after_several_critic_steps() -> None:
    gan, data = make(replace(CONFIG, critic_steps=3, epochs=1))
    list(train_gan(gan, data))
    assert _steps(gan.generator_optimizer) == 50 // 8
    assert _steps(gan.critic_optimizer) == 3 * (50 // 8)


def test_an_epoch_of_so_many_steps_takes_them_whatever_the_rows_and_whole_batches_of_them_in_turn() -> None:
    for steps in (4, 15):
        gan, data = make(replace(CONFIG, epoch_steps=steps, critic_steps=2, epochs=1))
        batches = torch.stack(_draw_batches(gan, data, steps, 8))
        assert batches.shape == (steps, 2, 8)
        passes = batches.flatten().split(48)
        assert all(len(order.unique()) == len(order) for order in passes)
        list(train_gan(gan, data))
        assert (_steps(gan.generator_optimizer), _steps(gan.critic_optimizer)) == (steps, 2 * steps)


def test_an_epoch_can_end_with_a_smaller_batch_that_holds_the_rows_that_are_left() -> None:
    gan, data = make(replace(CONFIG, epoch_steps=-1, critic_steps=3, epochs=1))
    batches = _draw_batches(gan, data, 7, 8)
    assert [batch.shape for batch in batches] == [(3, 8)] * 6 + [(3, 2)]
    assert all(len(order.unique()) == 50 for order in torch.cat(batches, dim=1))
    list(train_gan(gan, data))
    assert (_steps(gan.generator_optimizer), _steps(gan.critic_optimizer)) == (7, 3 * 7)


def test_held_rows_are_measured_by_the_losses_and_move_nothing() -> None:
    config = replace(CONFIG, cycle_weight=0.1, unseen_cycle_weight=0.1, batch_size=50)
    gan, data = make(config)
    measured = replace(data, rows=torch.arange(30), held=torch.arange(50))
    before = {name: value.clone() for name, value in gan.tensors().items()}
    terms = measure_held(gan, measured, torch.Generator().manual_seed(3))
    assert all(torch.equal(value, before[name]) for name, value in gan.tensors().items())
    draws = torch.Generator().manual_seed(3)
    expected, _ = expect_generator_step(gan, data, 50, draws)
    names = ("generator", "adversarial", "cycle", "unseen_cycle")
    assert all(terms[f"val_{name}"] == pytest.approx(expected[name].item(), rel=1e-4) for name in names)
    penalty = config.penalty_weight * terms["val_gradient_penalty"]
    assert terms["val_critic"] == pytest.approx(penalty - terms["val_wasserstein"], rel=1e-4)
    assert terms.keys() == {f"val_{name}" for name in (*names, "critic", "wasserstein", "gradient_penalty")}


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_the_terms_of_an_epoch_are_means_over_all_steps_of_each_player(critic_steps: int) -> None:
    config = replace(CONFIG, critic_steps=critic_steps, epochs=1, cycle_weight=0.1)
    (gan, data), (twin, _) = make(config), make(config)
    (epoch,) = train_gan(gan, data)
    for optimizer, lr in ((twin.critic_optimizer, 1e-3), (twin.generator_optimizer, 1e-4)):
        optimizer.param_groups[0]["lr"] = lr
    orders = [torch.randperm(50, generator=twin.rng)[:48] for _ in range(critic_steps)]
    values: dict[str, list[float]] = {}
    for batches in torch.cat(orders).view(6, critic_steps, 8):
        taken = [critic_step(twin, data, batch) for batch in batches]
        for terms in (*taken, generator_step(twin, data, batches[-1])):
            for name, value in terms.items():
                values.setdefault(name, []).append(value.item())
    assert {name: len(each) for name, each in values.items()} == {
        **dict.fromkeys(("critic", "wasserstein", "gradient_penalty"), 6 * critic_steps),
        **dict.fromkeys(("generator", "adversarial", "cycle"), 6),
    }
    means = {name: sum(each) / len(each) for name, each in values.items()}
    assert epoch.terms == pytest.approx(means, rel=1e-5)


def test_fewer_rows_than_a_batch_still_train() -> None:
    gan, data = make(replace(CONFIG, batch_size=64, epochs=1))
    list(train_gan(gan, data))
    assert _steps(gan.generator_optimizer) == 1


def test_learning_rates_decay_with_the_epoch() -> None:
    rates = {"generator_lr": 0.1, "generator_lr_decay": 0.5, "critic_lr": 0.2, "critic_lr_decay": 0.25}
    gan, data = make(replace(CONFIG, epochs=3, **rates))
    list(train_gan(gan, data))
    assert gan.generator_optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / (1 + 0.5 * 2))
    assert gan.critic_optimizer.param_groups[0]["lr"] == pytest.approx(0.2 / (1 + 0.25 * 2))


def test_a_loss_that_is_no_longer_finite_stops_the_training_and_names_term_and_epoch() -> None:
    gan, data = make(replace(CONFIG, generator_lr=1e30, critic_lr=1e30, epochs=50))
    with pytest.raises(
        FloatingPointError, match=r"the term \w+ is -?(nan|inf) in epoch \d+, step \d+ of \d+"
    ):
        list(train_gan(gan, data))


# What an epoch says of itself


@pytest.mark.parametrize(
    ("every", "epochs", "scored"),
    [(0, 5, []), (2, 5, [2, 4, 5]), (2, 4, [2, 4]), (9, 4, [4]), (1, 3, [1, 2, 3])],
)
def test_the_multiples_of_score_every_and_the_last_epoch_are_scored(
    every: int, epochs: int, scored: list[int]
) -> None:
    config = replace(CONFIG, score_every=every, epochs=epochs)
    assert scored_epochs(config) == scored
    assert [epoch.number for epoch in train_gan(*make(config)) if epoch.is_scored] == scored


def test_epochs_are_numbered_from_one() -> None:
    assert [epoch.number for epoch in train_gan(*make(replace(CONFIG, epochs=3)))] == [1, 2, 3]


def test_the_generators_of_an_epoch_are_as_they_were_and_the_last_is_the_one_in_training() -> None:
    gan, data = make(replace(CONFIG, epochs=6, snapshots=3, snapshot_every=2))
    found, weights = {}, {}
    for epoch in train_gan(gan, data):
        weights[epoch.number] = gan.generator.output_weight.clone()
        found[epoch.number] = list(epoch.generators)
        assert epoch.generators[epoch.number] is gan.generator
        assert all(torch.equal(one.output_weight, weights[at]) for at, one in epoch.generators.items())
    assert found == {1: [1], 2: [2], 3: [2, 3], 4: [2, 4], 5: [2, 4, 5], 6: [2, 4, 6]}
    snapshots = {name.partition(".")[0] for name in gan.tensors() if name.startswith("snapshot")}
    assert snapshots == {"snapshot0", "snapshot1"}


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_restored_training_goes_on_bit_for_bit_with_the_same_snapshots(tmp_path: Path, stop: int) -> None:
    config = replace(CONFIG, epochs=6, snapshots=3, critic_steps=2)
    unbroken, data = make(config)
    list(train_gan(unbroken, data))
    (first, _), (resumed, _) = make(config), make(config)
    next(epoch for epoch in train_gan(first, data) if epoch.number == stop)
    path, sizes = (
        tmp_path / "gan.safetensors",
        {"features": torch.rand(30, 7), "attributes": torch.rand(6, 5)},
    )
    settings = to_dict(Config(gan=config))
    save_checkpoint(path, first.tensors(), "gan", stop, settings, tiny_dataset(**sizes))
    resumed.restore(load_checkpoint(path))
    assert (resumed.epoch, list(resumed.earlier)) == (stop, list(range(1, 6))[:stop][-3:-1])
    list(train_gan(resumed, data))
    assert list(resumed.earlier) == list(unbroken.earlier) == [4, 5]
    ours, theirs = resumed.tensors(), unbroken.tensors()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_without_snapshots_no_copy_is_kept() -> None:
    gan, data = make(CONFIG)
    assert [list(epoch.generators) for epoch in train_gan(gan, data)] == [[1], [2]]
    assert gan.earlier == {}


def _steps(optimizer: torch.optim.Optimizer) -> int:
    return int(next(iter(optimizer.state.values()))["step"])
