import pytest
import torch

from cwgan import losses


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


def test_the_classification_term_is_the_mean_negative_log_probability() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    expected = -(torch.tensor(0.5).log() + torch.softmax(logits[1], 0)[1].log()) / 2
    assert losses.classification(logits, torch.tensor([1, 1])) == pytest.approx(expected.item())


@pytest.mark.parametrize(("mixing", "columns"), [("per_sample", 1), ("per_element", 7)])
def test_mixing_weights_are_uniform_shares_one_per_row_or_per_entry(mixing: str, columns: int, rng: torch.Generator) -> None:
    weights = losses.mixing_weights(4000, 7, mixing, rng)
    assert weights.shape == (4000, columns)
    assert weights.min() >= 0
    assert weights.max() < 1
    assert weights.mean().item() == pytest.approx(0.5, abs=0.02)
    assert weights.var().item() == pytest.approx(1 / 12, abs=0.01)
