"""The training steps against an independent reference: float64, concatenated inputs, double backward."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cwgan.config import GanConfig
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.training import Gan, SeenRows, build_gan, critic_step, generator_step, train_gan

SIZES = [(7, 5, 11, 6), (64, 20, 33, 17)]
CONFIG = GanConfig(hidden_size=24, batch_size=8, epochs=2)


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
    judges = (
        freeze(Regressor(features, attributes, rng)),
        freeze(SoftmaxClassifier(features, torch.arange(6), rng)),
    )
    return build_gan(features, attributes, config, torch.Generator().manual_seed(2), *judges), data


def reference_critic(gan: Gan, features: Tensor, attributes: Tensor) -> Tensor:
    weight = torch.cat([gan.critic.feature_weight, gan.critic.attribute_weight], dim=1)
    hidden = functional.linear(torch.cat([features, attributes], dim=1), weight, gan.critic.hidden_bias)
    return (
        functional.leaky_relu(hidden, gan.config.leaky_slope) @ gan.critic.output_weight
        + gan.critic.output_bias
    )


def reference_generator(gan: Gan, attributes: Tensor, noise: Tensor) -> Tensor:
    weight = torch.cat([gan.generator.attribute_weight, gan.generator.noise_weight], dim=1)
    hidden = functional.linear(torch.cat([attributes, noise], dim=1), weight, gan.generator.hidden_bias)
    hidden = functional.leaky_relu(hidden, gan.config.leaky_slope)
    activations = {"relu": functional.relu, "sigmoid": torch.sigmoid, "linear": torch.clone}
    return activations[gan.config.output](
        functional.linear(hidden, gan.generator.output_weight, gan.generator.output_bias)
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("mixing", ["per_sample", "per_element"])
@pytest.mark.parametrize(("features", "attributes", "hidden", "batch"), SIZES)
def test_the_critic_step_follows_the_double_backward_gradient(
    mixing: str, features: int, attributes: int, hidden: int, batch: int
) -> None:
    gan, data = make(replace(CONFIG, penalty_mixing=mixing, hidden_size=hidden), features, attributes)
    gan.critic.requires_grad_()
    before = [parameter.clone() for parameter in gan.critic.parameters()]
    draws = torch.Generator().set_state(gan.rng.get_state())
    rows = torch.arange(batch)
    real, given = data.features[rows], data.attributes[data.labels[rows]]
    fake = reference_generator(gan, given, torch.randn(batch, attributes, generator=draws)).detach()
    mix = torch.rand(batch, 1 if mixing == "per_sample" else features, generator=draws)

    mixed = (mix * real + (1 - mix) * fake).requires_grad_()
    slope = torch.autograd.grad(reference_critic(gan, mixed, given).sum(), mixed, create_graph=True)[0]
    penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
    difference = reference_critic(gan, real, given).mean() - reference_critic(gan, fake, given).mean()
    loss = -difference + gan.config.penalty_weight * penalty
    expected = torch.autograd.grad(loss, list(gan.critic.parameters()))

    terms = critic_step(gan, data, rows)
    torch.testing.assert_close(terms["critic"], loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms["gradient_penalty"], penalty, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms["wasserstein"], difference, rtol=1e-12, atol=1e-14)
    for (name, parameter), wanted, old in zip(gan.critic.named_parameters(), expected, before, strict=True):
        # The bias of the critic's value cancels: its gradient is 0 but for rounding.
        error = (parameter.grad - wanted).norm() / (wanted.norm() if name != "output_bias" else 1)
        assert error < 1e-12, f"{name}: relative error {error:.1e}"
        assert name == "output_bias" or not torch.equal(parameter, old), f"{name} did not move"


TERMS = {
    "cycle": "cycle_weight",
    "unseen_cycle": "unseen_cycle_weight",
    "classification": "classification_weight",
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "weights", [{}, *({name: 0.7} for name in TERMS), dict.fromkeys(TERMS, 0.3)], ids=str
)
@pytest.mark.parametrize(("features", "attributes", "hidden", "batch"), SIZES)
def test_the_generator_step_follows_the_gradient_of_every_term(
    weights: dict[str, float], features: int, attributes: int, hidden: int, batch: int
) -> None:
    chosen = {field: weights.get(term, 0.0) for term, field in TERMS.items()}
    gan, data = make(replace(CONFIG, hidden_size=hidden, **chosen), features, attributes)
    gan.generator.requires_grad_()
    draws = torch.Generator().set_state(gan.rng.get_state())
    rows = torch.arange(batch)
    given = data.attributes[data.labels[rows]]
    fake = reference_generator(gan, given, torch.randn(batch, attributes, generator=draws))
    drawn = (
        torch.randint(3, (batch,), generator=draws)
        if "unseen_cycle" in weights
        else torch.zeros(batch, dtype=torch.int64)
    )
    unseen = data.attributes[6 + drawn]
    unseen_fake = reference_generator(gan, unseen, torch.randn(batch, attributes, generator=draws))

    expected = {
        "adversarial": -reference_critic(gan, fake, given).mean(),
        "cycle": ((given - fake @ gan.regressor.weight.T - gan.regressor.bias) ** 2).mean(),
        "unseen_cycle": ((unseen - unseen_fake @ gan.regressor.weight.T - gan.regressor.bias) ** 2).mean(),
        "classification": functional.cross_entropy(
            fake @ gan.classifier.weight.T + gan.classifier.bias, data.labels[rows]
        ),
    }
    loss = expected["adversarial"] + sum(weight * expected[term] for term, weight in weights.items())
    wanted = torch.autograd.grad(loss, list(gan.generator.parameters()))

    terms = generator_step(gan, data, rows)
    assert set(terms) == {"generator", "adversarial", *weights}, "a term of weight 0 is not computed"
    for term in ("adversarial", *weights):
        torch.testing.assert_close(terms[term], expected[term], rtol=1e-12, atol=0)
    torch.testing.assert_close(terms["generator"], loss, rtol=1e-12, atol=0)
    for (name, parameter), reference in zip(gan.generator.named_parameters(), wanted, strict=True):
        error = (parameter.grad - reference).norm() / reference.norm()
        assert error < 1e-12, f"{name}: relative error {error:.1e}"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("output", "legacy"), [("sigmoid", False), ("linear", False), ("relu", True)])
def test_the_generator_step_follows_the_gradient_of_every_output_and_of_the_legacy_cycle(
    output: str, legacy: bool
) -> None:
    gan, data = make(replace(CONFIG, output=output, legacy_cycle=legacy, cycle_weight=0.7))
    gan.generator.requires_grad_()
    draws = torch.Generator().set_state(gan.rng.get_state())
    rows = torch.arange(8)
    given = data.attributes[data.labels[rows]]
    fake = reference_generator(gan, given, torch.randn(8, 5, generator=draws))
    reconstructed = fake @ gan.regressor.weight.T + gan.regressor.bias
    cycle = ((given - (reconstructed[0] if legacy else reconstructed)) ** 2).mean()
    loss = 0.7 * cycle - reference_critic(gan, fake, given).mean()
    wanted = torch.autograd.grad(loss, list(gan.generator.parameters()))
    torch.testing.assert_close(generator_step(gan, data, rows)["cycle"], cycle, rtol=1e-12, atol=0)
    for parameter, reference in zip(gan.generator.parameters(), wanted, strict=True):
        assert (parameter.grad - reference).norm() < 1e-12 * reference.norm()


def test_the_judges_and_the_other_player_stay_as_they_are() -> None:
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


def test_fewer_rows_than_a_batch_still_train() -> None:
    gan, data = make(replace(CONFIG, batch_size=64, epochs=1))
    list(train_gan(gan, data))
    assert _steps(gan.generator_optimizer) == 1


def test_learning_rates_decay_with_the_epoch() -> None:
    gan, data = make(
        replace(
            CONFIG, epochs=3, generator_lr=0.1, generator_lr_decay=0.5, critic_lr=0.2, critic_lr_decay=0.25
        )
    )
    list(train_gan(gan, data))
    assert gan.generator_optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / (1 + 0.5 * 2))
    assert gan.critic_optimizer.param_groups[0]["lr"] == pytest.approx(0.2 / (1 + 0.25 * 2))


def test_a_loss_that_is_no_longer_finite_stops_the_training_and_names_term_and_epoch() -> None:
    gan, data = make(replace(CONFIG, generator_lr=1e30, critic_lr=1e30, epochs=50))
    with pytest.raises(FloatingPointError, match=r"the term \w+ is -?(nan|inf) in epoch \d+"):
        list(train_gan(gan, data))


def _steps(optimizer: torch.optim.Optimizer) -> int:
    return int(next(iter(optimizer.state.values()))["step"])
