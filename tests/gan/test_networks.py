import math

import pytest
import torch
from torch.nn import functional

from cwgan.gan.networks import Critic, Generator, Regressor, SoftmaxClassifier, freeze


@pytest.mark.parametrize("output", ["relu", "sigmoid", "linear"])
def test_the_generator_is_a_two_layer_network_over_attributes_and_noise(
    output: str, rng: torch.Generator
) -> None:
    generator = Generator(3, 5, 16, 7, 0.2, rng, output)
    attributes, noise = torch.randn(4, 3, generator=rng), torch.randn(4, 5, generator=rng)
    weight = torch.cat([generator.attribute_weight, generator.noise_weight], dim=1)
    before = torch.cat([attributes, noise], dim=1) @ weight.T + generator.hidden_bias
    values = functional.leaky_relu(before, 0.2) @ generator.output_weight.T + generator.output_bias
    activations = {"relu": functional.relu, "sigmoid": torch.sigmoid, "linear": torch.clone}
    torch.testing.assert_close(generator(attributes, noise), activations[output](values))


def test_the_critic_is_a_two_layer_network_over_features_and_attributes(rng: torch.Generator) -> None:
    critic = Critic(7, 3, 16, 0.2, rng)
    features, attributes = torch.randn(4, 7), torch.randn(4, 3)
    weight = torch.cat([critic.feature_weight, critic.attribute_weight], dim=1)
    hidden = functional.leaky_relu(
        torch.cat([features, attributes], dim=1) @ weight.T + critic.hidden_bias, 0.2
    )
    torch.testing.assert_close(
        critic(features, attributes), hidden @ critic.output_weight + critic.output_bias
    )


def test_the_blocks_of_a_first_layer_are_drawn_as_one_xavier_matrix(rng: torch.Generator) -> None:
    generator = Generator(300, 100, 200, 50, 0.2, rng)
    bound = math.sqrt(6 / (300 + 100 + 200))
    for block in (generator.attribute_weight, generator.noise_weight):
        assert bound * 0.99 < block.abs().max() <= bound
    assert generator.hidden_bias.abs().max() == 0


def test_the_same_seed_draws_the_same_weights() -> None:
    first, second = (Critic(7, 3, 16, 0.2, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_classifier_maps_labels_of_the_data_set_to_its_own_answers(rng: torch.Generator) -> None:
    classifier = SoftmaxClassifier(7, torch.tensor([2, 5, 9]), rng)
    assert classifier.targets(torch.tensor([9, 2, 5, 5])).tolist() == [2, 0, 1, 1]
    assert classifier(torch.randn(4, 7)).shape == (4, 3)
    assert classifier.targets_of(torch.tensor([9, 3, 2]), torch.tensor([2, 0])).tolist() == [2, -1, 0]


@pytest.mark.parametrize("label", [0, 3, 10])
def test_a_class_that_a_classifier_cannot_answer_is_named_by_its_number(
    label: int, rng: torch.Generator
) -> None:
    classifier = SoftmaxClassifier(7, torch.tensor([2, 5, 9]), rng)
    with pytest.raises(ValueError, match=f"^class {label + 1} is none that .*: 3 classes, 3 to 10$"):
        classifier.targets(torch.tensor([9, label, 5]))


def test_a_classifier_starts_with_small_weights_cut_at_two_deviations(rng: torch.Generator) -> None:
    weight = SoftmaxClassifier(500, torch.arange(40), rng).weight
    assert weight.abs().max() <= 0.02
    assert weight.std().item() == pytest.approx(0.0088, abs=0.0005)
    for bias in (0.0, 0.9999):
        started = SoftmaxClassifier(500, torch.arange(40), rng, True, bias).bias
        assert torch.equal(started, torch.full((40,), bias))


def test_a_frozen_network_takes_no_gradient(rng: torch.Generator) -> None:
    regressor = freeze(Regressor(7, 3, rng))
    assert not any(parameter.requires_grad for parameter in regressor.parameters())
