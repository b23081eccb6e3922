"""The four networks: conditional generator, conditional critic, linear regressor, softmax classifier.

The first layer of generator and critic acts on two inputs side by side. Its weight is stored as two blocks, so that
the attribute part can be computed once for many rows and the critic's gradient with respect to the features needs
no slicing. Architecture and initialization: Felix et al. 2018 (arXiv 1808.00136), section 5 and the original code.
"""

import math
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from cwgan.gan.fast.bfloat16 import add_multiply_transposed

Module = TypeVar("Module", bound=nn.Module)


class Generator(nn.Module):
    """G(a, z): features of a class, from its attributes and noise; one hidden LeakyReLU layer.

    Args:
        attribute_size, noise_size, hidden_size, feature_size: numbers of entries.
        leaky_slope: slope of LeakyReLU below zero.
        rng: draws the weights (Xavier uniform; biases are zero).
        output: what it ends in, "relu", "sigmoid" or "linear".
    """

    def __init__(
        self,
        attribute_size: int,
        noise_size: int,
        hidden_size: int,
        feature_size: int,
        leaky_slope: float,
        rng: torch.Generator,
        output: str = "relu",
    ) -> None:
        super().__init__()
        self.leaky_slope = leaky_slope
        self.output = output
        inputs = attribute_size + noise_size
        self.attribute_weight = _xavier(hidden_size, attribute_size, rng, fan_in=inputs)
        self.noise_weight = _xavier(hidden_size, noise_size, rng, fan_in=inputs)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden_size))
        self.output_weight = _xavier(feature_size, hidden_size, rng)
        self.output_bias = nn.Parameter(torch.zeros(feature_size))

    @property
    def noise_size(self) -> int:
        return self.noise_weight.shape[1]

    def forward(
        self, attributes: Float[Tensor, "batch attributes"], noise: Float[Tensor, "batch noise"]
    ) -> Float[Tensor, "batch features"]:
        return self.from_attribute_part(self.attribute_part(attributes), noise)

    def attribute_part(self, attributes: Float[Tensor, "batch attributes"]) -> Float[Tensor, "batch hidden"]:
        """Return what attributes and bias add to the hidden layer; the same for every noise."""
        return functional.linear(attributes, self.attribute_weight, self.hidden_bias)

    def from_attribute_part(
        self, attribute_part: Float[Tensor, "batch hidden"], noise: Float[Tensor, "batch noise"]
    ) -> Float[Tensor, "batch features"]:
        """Return the features, given what `attribute_part` returned for their classes, in whose place the hidden layer is built."""
        hidden = functional.leaky_relu_(attribute_part.addmm_(noise, self.noise_weight.t()), self.leaky_slope)
        return self.activate(add_multiply_transposed(self.output_bias, hidden, self.output_weight))

    def activate(self, values: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Apply what the network ends in, in place."""
        if self.output == "linear":
            return values
        if self.output == "relu":
            return values.relu_()
        return values.sigmoid_()

    def through_output(
        self, gradient: Float[Tensor, "batch features"], features: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch features"]:
        """Return the gradient before the last activation, given that of the features: times 1 or 0, or y (1 - y), or 1."""
        if self.output == "relu":
            return torch.ops.aten.threshold_backward(gradient, features, 0)
        return gradient * features * (1 - features) if self.output == "sigmoid" else gradient


class Critic(nn.Module):
    """D(x, a): how real features look for the attributes; one hidden LeakyReLU layer, one linear output.

    Args: as for `Generator`.
    """

    def __init__(
        self,
        feature_size: int,
        attribute_size: int,
        hidden_size: int,
        leaky_slope: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.leaky_slope = leaky_slope
        inputs = feature_size + attribute_size
        self.feature_weight = _xavier(hidden_size, feature_size, rng, fan_in=inputs)
        self.attribute_weight = _xavier(hidden_size, attribute_size, rng, fan_in=inputs)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden_size))
        bound = math.sqrt(6 / (hidden_size + 1))
        self.output_weight = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound, generator=rng))
        self.output_bias = nn.Parameter(torch.zeros(()))

    def forward(
        self, features: Float[Tensor, "batch features"], attributes: Float[Tensor, "batch attributes"]
    ) -> Float[Tensor, " batch"]:
        hidden = self.hidden_input(features, self.attribute_part(attributes))
        return functional.leaky_relu(hidden, self.leaky_slope) @ self.output_weight + self.output_bias

    def attribute_part(self, attributes: Float[Tensor, "batch attributes"]) -> Float[Tensor, "batch hidden"]:
        """Return what attributes and bias add to the hidden layer; the same for real, fake and mixed features."""
        return functional.linear(attributes, self.attribute_weight, self.hidden_bias)

    def hidden_input(
        self, features: Float[Tensor, "batch features"], attribute_part: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, "batch hidden"]:
        """Return the hidden layer before LeakyReLU."""
        return add_multiply_transposed(attribute_part, features, self.feature_weight)


class Regressor(nn.Module):
    """R(x): the class attributes that features speak of; linear."""

    def __init__(self, feature_size: int, attribute_size: int, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = _xavier(attribute_size, feature_size, rng)
        self.bias = nn.Parameter(torch.zeros(attribute_size))

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch attributes"]:
        return functional.linear(features, self.weight, self.bias)


class SoftmaxClassifier(nn.Module):
    """Linear logits over some of the classes of a data set.

    Args:
        feature_size: number of features.
        classes: the classes it can answer, as labels of the data set; logits come in this order.
        rng: draws the weights (normal of deviation 0.01, cut at two deviations; biases are zero).
        relu: whether the logits end in ReLU, as the original code's.
    """

    classes: Tensor

    def __init__(
        self, feature_size: int, classes: Int64[Tensor, " answers"], rng: torch.Generator, relu: bool = False
    ) -> None:
        super().__init__()
        self.relu = relu
        self.weight = nn.Parameter(
            nn.init.trunc_normal_(
                torch.empty(len(classes), feature_size), std=0.01, a=-0.02, b=0.02, generator=rng
            )
        )
        self.bias = nn.Parameter(torch.zeros(len(classes)))
        self.register_buffer("classes", classes.clone())

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch answers"]:
        logits = functional.linear(features, self.weight, self.bias)
        return functional.relu(logits) if self.relu else logits

    def targets(self, labels: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
        """Return the positions among the logits of labels of the data set; without a meaning for those it cannot answer."""
        return torch.searchsorted(self.classes, labels).clamp(max=len(self.classes) - 1)


def through_leaky_relu(
    gradient: Float[Tensor, "*batch hidden"], hidden: Float[Tensor, "batch hidden"], leaky_slope: float
) -> Float[Tensor, "batch hidden"]:
    """Return a gradient with respect to LeakyReLU's input, given that of its output, and its input or output."""
    return torch.ops.aten.leaky_relu_backward(gradient, hidden, leaky_slope, False)


def freeze(module: Module) -> Module:
    """Make a module constant: no gradient reaches its parameters."""
    return module.requires_grad_(False)


def _xavier(outputs: int, inputs: int, rng: torch.Generator, fan_in: int | None = None) -> nn.Parameter:
    """Draw one block of a Xavier-uniform weight whose whole has `fan_in` inputs."""
    bound = math.sqrt(6 / ((fan_in or inputs) + outputs))
    return nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=rng))
