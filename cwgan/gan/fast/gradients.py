"""The gradients of critic and generator, written out and put into buffers that stay: no graph, no double backward.

The usual way differentiates the penalty's gradient a second time, keeps a graph for it, and lets autograd allocate
a fresh gradient as large as the weights in every step. With one hidden layer all of it can be written down.

Notation, row by row over a batch of B: x real features, y = G(a, z) fake ones, a attributes; W_x, W_a, b, w, c the
critic's parameters; h_r = x W_x' + a W_a' + b the hidden layer of the real row before LeakyReLU f, h_f that of the
fake; s(h) = f'(h), which is 1 above zero and leaky_slope below; D = f(h) w' + c.

Critic, minimizing  mean D(y) - mean D(x) + p mean (|g| - 1)^2:

    h_m = h_f + t (h_r - h_f)           the mixed row, as h is affine in the features (t one number per row)
    g   = (s(h_m) * w) W_x              its slope: gradient of D with respect to the features
    u   = 2 p / B (1 - 1 / |g|) g       gradient of the penalty with respect to g
    e_r = -s(h_r) * w / B,  e_f = s(h_f) * w / B,  e_m = s(h_m) * w

    dW_x = e_r' x + e_f' y + e_m' u     one product of three batches laid under each other
    dW_a = (e_r + e_f)' a,  db = sum (e_r + e_f),  dc = 0
    dw   = mean f(h_f) - mean f(h_r) + sum s(h_m) * (u W_x')

s is piecewise constant, so the penalty has no gradient with respect to W_a, b and c.

Generator, y = relu(v), v = f(k) W_o' + b_o, k = a W_a' + z W_z' + b, given dy, the gradient of the loss with respect
to the fake features (which autograd supplies, whatever the terms are):

    dv = dy * [y > 0] (for a sigmoid dy * y (1 - y)),  dW_o = dv' f(k),  db_o = sum dv
    dk = (dv W_o) * s(k),  dW_a = dk' a,  dW_z = dk' z,  db = sum dk

Linear networks, o = x W' + b, given do, the gradient of an objective with respect to the outputs:

    dW = do' x,  db = sum do
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from cwgan.gan.fast.bfloat16 import multiply, multiply_transposed
from cwgan.gan.losses import Objective, gradient_penalty, wasserstein_estimate
from cwgan.gan.networks import Critic, Generator, Regressor, SoftmaxClassifier, through_leaky_relu


def allocate(network: Critic | Generator | Regressor | SoftmaxClassifier) -> None:
    """Give every parameter a gradient buffer and take it from autograd: the functions here write the gradients."""
    for parameter in network.requires_grad_(False).parameters():
        parameter.grad = torch.zeros_like(parameter)


@torch.no_grad()
def critic_backward(
    critic: Critic,
    real: Float[Tensor, "batch features"],
    fake: Float[Tensor, "batch features"],
    attributes: Float[Tensor, "batch attributes"],
    mix: Float[Tensor, "batch mixed"],
    penalty_weight: float,
) -> dict[str, Tensor]:
    """Write the gradient of the critic's loss into its parameters' buffers.

    Args:
        critic: prepared by `allocate`.
        real, fake: features of the same classes, row by row.
        attributes: of those classes.
        mix: share of the real row in the mixed one: one column, or one per feature.
        penalty_weight: of the gradient penalty.

    Returns:
        The terms "critic" (the loss), "wasserstein" and "gradient_penalty".
    """
    batch = len(real)
    inputs = torch.cat([real, fake, real])  # the last third makes room for u
    hidden = torch.empty(3 * batch, len(critic.hidden_bias), dtype=real.dtype, device=real.device)
    real_hidden, fake_hidden, mixed_hidden = hidden.split(batch)
    attribute_part = critic.attribute_part(attributes)
    multiply_transposed(inputs[: 2 * batch], critic.feature_weight, out=hidden[: 2 * batch])
    hidden[: 2 * batch].view(2, batch, -1).add_(attribute_part)
    if mix.shape[1] == 1:
        torch.lerp(fake_hidden, real_hidden, mix, out=mixed_hidden)
    else:
        mixed_hidden.copy_(critic.hidden_input(fake.lerp(real, mix), attribute_part))

    errors = through_leaky_relu(critic.output_weight, hidden, critic.leaky_slope)
    slope = multiply(errors[2 * batch :], critic.feature_weight)
    penalty = gradient_penalty(slope)
    norm = slope.norm(dim=1, keepdim=True)
    # A slope of exactly zero has no direction; autograd's norm has the subgradient 0 there, and so has this.
    scale = torch.where(norm > 0, 2 * penalty_weight / batch * (1 - 1 / norm), 0.0)
    pull = torch.mul(slope, scale, out=inputs[2 * batch :])

    activations = functional.leaky_relu_(hidden[: 2 * batch], critic.leaky_slope)
    scores = activations @ critic.output_weight + critic.output_bias
    wasserstein = wasserstein_estimate(scores[:batch], scores[batch:])
    errors[:batch] /= -batch
    errors[batch : 2 * batch] /= batch

    torch.mm(errors.t(), inputs, out=critic.feature_weight.grad)
    both = errors[:batch] + errors[batch : 2 * batch]
    torch.mm(both.t(), attributes, out=critic.attribute_weight.grad)
    torch.sum(both, 0, out=critic.hidden_bias.grad)
    through_penalty = through_leaky_relu(
        multiply_transposed(pull, critic.feature_weight), mixed_hidden, critic.leaky_slope
    ).sum(0)
    torch.sub(activations[batch:].mean(0), activations[:batch].mean(0), out=critic.output_weight.grad).add_(
        through_penalty
    )
    return {
        "critic": penalty_weight * penalty - wasserstein,
        "wasserstein": wasserstein,
        "gradient_penalty": penalty,
    }


@torch.no_grad()
def generator_forward(
    generator: Generator, attributes: Float[Tensor, "batch attributes"], noise: Float[Tensor, "batch noise"]
) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch features"]]:
    """Return the hidden layer after LeakyReLU and the features; both are what `generator_backward` needs."""
    hidden = generator.attribute_part(attributes)
    return hidden, generator.from_attribute_part(hidden, noise)


@torch.no_grad()
def generator_backward(
    generator: Generator,
    attributes: Float[Tensor, "batch attributes"],
    noise: Float[Tensor, "batch noise"],
    hidden: Float[Tensor, "batch hidden"],
    fake: Float[Tensor, "batch features"],
    gradient: Float[Tensor, "batch features"],
) -> None:
    """Write the gradient of a loss into the generator's buffers.

    Args:
        generator: prepared by `allocate`.
        attributes, noise: what was generated from.
        hidden, fake: as `generator_forward` returned them.
        gradient: of the loss with respect to `fake`.
    """
    error = generator.through_output(gradient, fake)
    torch.mm(error.t(), hidden, out=generator.output_weight.grad)
    torch.sum(error, 0, out=generator.output_bias.grad)
    inner = through_leaky_relu(multiply(error, generator.output_weight), hidden, generator.leaky_slope)
    torch.mm(inner.t(), attributes, out=generator.attribute_weight.grad)
    torch.mm(inner.t(), noise, out=generator.noise_weight.grad)
    torch.sum(inner, 0, out=generator.hidden_bias.grad)


def linear_backward(
    model: Regressor | SoftmaxClassifier,
    objective: Objective,
    inputs: Float[Tensor, "batch features"],
    targets: Shaped[Tensor, "batch ..."],
) -> Float[Tensor, ""]:
    """Write the gradient of an objective into a linear network's buffers and return the objective.

    Args:
        model: prepared by `allocate`.
        objective: autograd differentiates it with respect to the outputs alone.
        inputs, targets: one row each per sample.
    """
    outputs = model(inputs).requires_grad_()
    value = objective(outputs, targets)
    (error,) = torch.autograd.grad(value, outputs)
    if isinstance(model, SoftmaxClassifier) and model.relu:  # the outputs are behind the ReLU already
        error = error * (outputs.detach() > 0)
    torch.mm(error.t(), inputs, out=model.weight.grad)
    torch.sum(error, 0, out=model.bias.grad)
    return value.detach()
