"""The four networks: conditional generator, conditional critic, linear regressor, softmax classifier.

The first layer of generator and critic has two inputs. Its weight is stored as one block per input: the part
of the attributes is computed once for many rows, and the gradient of the features needs no slice.

Source: Felix et al. 2018 (arXiv 1808.00136), section 5, and the original code.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwgan.gan.fast.bfloat16 import add_multiply_transposed
from cwgan.gan.shapes import AllTargets, Attributes, Features, Hidden, Labels, Logits, Noise, Rows, Scores

Module = TypeVar("Module", bound=nn.Module)


class Generator(nn.Module):
    """G(a, z): features of a class, from its attributes and noise; one hidden LeakyReLU layer.

    `slope` is that of LeakyReLU below zero. `rng` draws the weights (Xavier uniform; biases are zero).
    `output` is the last activation: "relu", "sigmoid" or "linear" (none).
    """

    def __init__(
        self,
        attribute_size: int,
        noise_size: int,
        hidden_size: int,
        feature_size: int,
        slope: float,
        rng: torch.Generator,
        output: str = "relu",
    ) -> None:
        super().__init__()
        self.leaky_slope, self.output = slope, output
        inputs = attribute_size + noise_size
        self.attribute_weight = _xavier(hidden_size, attribute_size, inputs, rng)
        self.noise_weight = _xavier(hidden_size, noise_size, inputs, rng)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden_size))
        self.output_weight = _xavier(feature_size, hidden_size, hidden_size, rng)
        self.output_bias = nn.Parameter(torch.zeros(feature_size))

    @property
    def noise_size(self) -> int:
        return self.noise_weight.shape[1]

    def forward(self, attributes: Attributes, noise: Noise) -> Features:
        return self.from_attribute_part_(self.attribute_part(attributes), noise)

    def attribute_part(self, attributes: Attributes) -> Hidden:
        """Return what attributes and bias add to the hidden layer; the same for every noise."""
        return functional.linear(attributes, self.attribute_weight, self.hidden_bias)

    def from_attribute_part_(self, hidden: Hidden, noise: Noise) -> Features:
        """Return the features; `hidden` comes as `attribute_part` and becomes the layer after LeakyReLU."""
        functional.leaky_relu_(hidden.addmm_(noise, self.noise_weight.t()), self.leaky_slope)
        values = add_multiply_transposed(self.output_bias, hidden, self.output_weight)
        if self.output == "linear":
            return values
        return values.relu_() if self.output == "relu" else values.sigmoid_()

    def activation_backward(self, gradient: Features, features: Features) -> Features:
        """Return a gradient with respect to the last activation's input, given that of the features."""
        if self.output == "relu":
            return torch.ops.aten.threshold_backward(gradient, features, 0)
        return gradient * features * (1 - features) if self.output == "sigmoid" else gradient


class Critic(nn.Module):
    """D(x, a): how real features look for the attributes; as `Generator`, but for its one linear output."""

    def __init__(
        self, feature_size: int, attribute_size: int, hidden_size: int, slope: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.leaky_slope = slope
        inputs = feature_size + attribute_size
        self.feature_weight = _xavier(hidden_size, feature_size, inputs, rng)
        self.attribute_weight = _xavier(hidden_size, attribute_size, inputs, rng)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden_size))
        bound = math.sqrt(6 / (hidden_size + 1))
        self.output_weight = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound, generator=rng))
        self.output_bias = nn.Parameter(torch.zeros(()))

    def forward(self, features: Features, attributes: Attributes) -> Scores:
        hidden = add_multiply_transposed(self.attribute_part(attributes), features, self.feature_weight)
        return functional.leaky_relu(hidden, self.leaky_slope) @ self.output_weight + self.output_bias

    def attribute_part(self, attributes: Attributes) -> Hidden:
        """Return what attributes and bias add to the hidden layer; the same for all features of a class."""
        return functional.linear(attributes, self.attribute_weight, self.hidden_bias)


class Regressor(nn.Module):
    """R(x): the class attributes that features speak of; linear."""

    def __init__(self, feature_size: int, attribute_size: int, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = _xavier(attribute_size, feature_size, feature_size, rng)
        self.bias = nn.Parameter(torch.zeros(attribute_size))

    def forward(self, features: Features) -> Attributes:
        return functional.linear(features, self.weight, self.bias)


class SoftmaxClassifier(nn.Module):
    """Linear logits over some of the classes of a data set.

    `classes` are those it can answer, ascending labels of the data set, and the order of the logits. `rng`
    draws the weights (normal of deviation 0.01, cut at two deviations); all biases begin as `bias`. `relu`
    ends the logits in ReLU, as the original code's; with biases of 0 many classes would then never learn.
    """

    classes: Tensor

    def __init__(
        self, feature_size: int, classes: Rows, rng: torch.Generator, relu: bool = False, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.relu = relu
        weight = torch.empty(len(classes), feature_size)
        nn.init.trunc_normal_(weight, std=0.01, a=-0.02, b=0.02, generator=rng)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.full((len(classes),), bias))
        self.register_buffer("classes", classes.clone())

    def forward(self, features: Features) -> Logits:
        logits = functional.linear(features, self.weight, self.bias)
        return functional.relu(logits) if self.relu else logits

    def targets(self, labels: Labels) -> Labels:
        """Return each label's place among the logits; ValueError for a class that it cannot answer.

        On a GPU that is not checked, as looking at the labels would halt every step until the GPU is done.
        """
        places = torch.searchsorted(self.classes, labels).clamp(max=len(self.classes) - 1)
        if not labels.is_cuda and len(strange := labels[self.classes[places] != labels]):
            known = f"{len(self.classes)} classes, {int(self.classes[0]) + 1} to {int(self.classes[-1]) + 1}"
            raise ValueError(f"class {int(strange[0]) + 1} is none that the classifier can answer: {known}")
        return places

    def targets_of(self, labels: AllTargets, rows: Rows) -> AllTargets:
        """Return the targets of some rows among all, and -1, which is no target, for the others."""
        return torch.full_like(labels, -1).index_copy_(0, rows, self.targets(labels[rows]))


Linear = Regressor | SoftmaxClassifier


def freeze(module: Module) -> Module:
    """Make a module constant: no gradient reaches its parameters."""
    return module.requires_grad_(False)


def _xavier(outputs: int, inputs: int, all_inputs: int, rng: torch.Generator) -> nn.Parameter:
    """Draw one block of a Xavier-uniform weight that has `all_inputs` inputs as a whole."""
    bound = math.sqrt(6 / (all_inputs + outputs))
    return nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=rng))
