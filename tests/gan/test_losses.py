import math

import pytest
import torch

from cwgan.gan import losses
from cwgan.gan.networks import SoftmaxClassifier

W, V = torch.tensor([3.0, 4.0]), torch.tensor([1.0, -1.0])
ATTRIBUTES = torch.tensor([[1.0, 0.0], [0.0, 2.0]])


def linear_critic(features: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """D(x, a) = x w + a v, whose slope is w everywhere: of length 5."""
    return features @ W + attributes @ V


def test_the_critic_loss_is_the_weighted_penalty_less_the_wasserstein_estimate() -> None:
    real, fake = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    terms = losses.critic_loss(linear_critic, real, fake, ATTRIBUTES, torch.tensor([[0.3], [0.9]]), 10.0)
    assert terms["gradient_penalty"].item() == pytest.approx((5 - 1) ** 2)
    assert terms["wasserstein"].item() == pytest.approx((3 + 3) / 2 - (0 + 4) / 2)
    assert terms["critic"].item() == pytest.approx(10 * 16 - 1)


def test_the_critic_loss_can_be_differentiated_through_its_penalty() -> None:
    # With D = x w the penalty is (|w| - 1)^2, its gradient 2 (|w| - 1) w / |w|; real and fake are the same.
    weight, rows = W.clone().requires_grad_(), torch.eye(2)
    loss = losses.critic_loss(lambda x, a: x @ weight, rows, rows, rows, torch.ones(2, 1), 0.5)["critic"]
    (gradient,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(gradient, 0.5 * 2 * 4 * W / 5)


@pytest.mark.parametrize("mix", [[[0.25], [0.5]], [[0.25, 1.0], [0.5, 0.0]]])
def test_the_penalty_is_taken_between_real_and_fake_at_the_shares_of_the_mix(mix: list[list[float]]) -> None:
    # With D = |x|^2 / 2 the slope at x is x itself.
    real, fake = torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[5.0, 0.0], [1.0, 1.0]])
    shares = torch.tensor(mix)
    terms = losses.critic_loss(lambda x, a: x.square().sum(1) / 2, real, fake, real, shares, 1.0)
    expected = losses.gradient_penalty(shares * real + (1 - shares) * fake)
    assert terms["gradient_penalty"].item() == pytest.approx(expected.item())


def test_the_generator_loss_is_the_adversarial_term_and_the_weighted_others(rng: torch.Generator) -> None:
    fake, attributes = torch.rand(3, 2, generator=rng), torch.rand(3, 2, generator=rng)
    monitor, labels = SoftmaxClassifier(2, torch.tensor([4, 7]), rng), torch.tensor([7, 4])
    weights = {"cycle": 0.5, "unseen_cycle": 2.0, "classification": 3.0}
    networks = linear_critic, torch.sin, monitor
    terms = losses.generator_loss(*networks, fake, attributes, labels, weights, losses.cycle)
    logits = fake[:2] @ monitor.weight.T + monitor.bias
    expected = {
        "adversarial": -(fake[:2] @ W + attributes[:2] @ V).mean(),
        "cycle": (fake[:2].sin() - attributes[:2]).square().mean(),
        "unseen_cycle": (fake[2:].sin() - attributes[2:]).square().mean(),
        "classification": -(logits.softmax(1)[[0, 1], [1, 0]]).log().mean(),
    }
    expected["generator"] = expected["adversarial"] + sum(weights[name] * expected[name] for name in weights)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)


def test_a_term_of_weight_zero_is_not_computed(rng: torch.Generator) -> None:
    def refuse(*inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("was asked")

    weights = dict.fromkeys(("cycle", "unseen_cycle", "classification"), 0.0)
    monitor, rows, labels = SoftmaxClassifier(2, torch.arange(2), rng), torch.eye(2), torch.arange(2)
    terms = losses.generator_loss(linear_critic, refuse, monitor, rows, rows, labels, weights, refuse)
    assert set(terms) == {"generator", "adversarial"}
    assert terms["generator"] == terms["adversarial"]


def test_the_wasserstein_estimate_is_the_difference_of_the_mean_scores() -> None:
    assert losses.wasserstein_estimate(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0])) == 2.5


def test_the_gradient_penalty_is_zero_for_a_critic_of_unit_slope() -> None:
    assert losses.gradient_penalty(torch.tensor([[0.6, 0.8], [-1.0, 0.0]])) == pytest.approx(0)


def test_the_gradient_penalty_is_the_mean_squared_distance_of_the_slope_from_one() -> None:
    assert losses.gradient_penalty(torch.tensor([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx((16 + 1) / 2)


def test_the_adversarial_term_falls_as_the_critic_is_fooled() -> None:
    assert losses.adversarial(torch.tensor([1.0, 3.0])) == -2


def test_the_cycle_term_compares_every_row_with_its_own_reconstruction() -> None:
    attributes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    swapped = attributes.flip(0)
    assert losses.cycle(attributes, attributes) == 0
    assert losses.cycle(swapped, attributes) == 1


def test_the_relative_cycle_term_is_1_for_who_answers_the_mean_attributes() -> None:
    attributes = torch.tensor([[3.0, 0.0], [-1.0, 8.0]])
    variance = attributes.var(dim=0, correction=0).mean()
    mean = attributes.mean(dim=0).expand(2, 2)
    assert losses.relative_cycle(mean, attributes, variance).item() == pytest.approx(1)
    assert losses.relative_cycle(attributes, attributes, variance) == 0


def test_the_classification_term_is_the_mean_negative_log_probability() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    expected = -(torch.tensor(0.5).log() + torch.softmax(logits[1], 0)[1].log()) / 2
    assert losses.classification(logits, torch.tensor([1, 1])) == pytest.approx(expected.item())


def test_the_legacy_cycle_term_compares_every_row_with_the_first_reconstruction() -> None:
    attributes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert losses.legacy_cycle(attributes, attributes) == 0.5, (
        "the first row agrees, the second is off by 1 in both entries"
    )
    assert losses.legacy_cycle(attributes.flip(0), attributes) == 0.5
    assert losses.legacy_cycle(torch.tensor([[1.0, 0.0], [9.0, 9.0]]), attributes) == 0.5, (
        "the second reconstruction has no say"
    )


def test_log_priors_share_each_side_by_rows_and_the_sides_by_the_ratio() -> None:
    counts, is_unseen = torch.tensor([30, 10, 50, 50]), torch.tensor([False, False, True, True])
    priors = losses.zero_shot_log_priors(counts, is_unseen, seen_prior=4.0).exp()
    assert priors.tolist() == pytest.approx([0.8 * 0.75, 0.8 * 0.25, 0.2 * 0.5, 0.2 * 0.5])
    more = torch.cat([counts, counts[is_unseen]]), torch.cat([is_unseen, is_unseen[is_unseen]])
    adjusted = losses.zero_shot_log_priors(*more, seen_prior=4.0)
    assert adjusted.diff()[:3].tolist() == pytest.approx(priors.log().diff().tolist(), abs=1e-6)


def test_the_adjusted_classification_term_adds_log_priors_to_the_logits() -> None:
    logits, priors = torch.tensor([[1.0, 0.0]]), torch.tensor([0.2, 0.8])
    odds = math.e * 0.2 / (math.e * 0.2 + 0.8)
    assert losses.adjusted_classification(logits, torch.tensor([0]), priors.log()).item() == pytest.approx(
        -math.log(odds)
    )
    even = losses.adjusted_classification(logits, torch.tensor([0]), torch.tensor([0.5, 0.5]).log())
    assert even.item() == pytest.approx(losses.classification(logits, torch.tensor([0])).item())


@pytest.mark.parametrize(("mixing", "columns"), [("per_sample", 1), ("per_element", 7)])
def test_mixing_weights_are_uniform_shares_one_per_row_or_per_entry(
    mixing: str, columns: int, rng: torch.Generator
) -> None:
    weights = losses.mixing_weights(4000, 7, mixing, rng)
    assert weights.shape == (4000, columns)
    assert weights.min() >= 0
    assert weights.max() < 1
    assert weights.mean().item() == pytest.approx(0.5, abs=0.02)
    assert weights.var().item() == pytest.approx(1 / 12, abs=0.01)
