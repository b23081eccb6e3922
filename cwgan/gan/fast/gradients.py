"""The gradients of critic and generator, written out: no graph, no double backward, no new buffers.

The usual way, autograd on `losses.critic_loss`, differentiates the penalty's gradient a second time, keeps a
graph for it, and allocates gradients as large as the weights in every step. With one hidden layer all of it
can be written down. Tests compare the results with autograd's in float64.

    symbol         variable                                meaning
    B, p           batch, penalty_weight
    x, y, a, z     real, fake, attributes, noise           y = G(a, z)
    t              mix                                     share of x in the mixed row
    W_x, W_a, b    feature_weight, attribute_weight, hidden_bias of the critic
    w, c           output_weight, output_bias of the critic
    h_r, h_f, h_m  real_hidden, fake_hidden, mixed_hidden  x W_x' + a W_a' + b, before LeakyReLU f
    s(h)           in _leaky_relu_backward                 f'(h): 1 above zero, leaky_slope below
    g              slope                                   gradient of D with respect to the mixed row
    u              penalty_gradient                        gradient of p times the penalty with respect to g
    e_r, e_f       real_error, fake_error                  gradients of the loss with respect to h_r and h_f
    e_m            mixed_error                             gradient of D with respect to h_m

Critic, D = f(h) w' + c, minimizing  mean D(y) - mean D(x) + p mean (|g| - 1)^2:

    1. hidden     h_m = h_f + t (h_r - h_f), as h is affine in the features (if t is one number per row)
    2. penalty    e_m = s(h_m) * w,  g = e_m W_x,  u = 2 p / B (1 - 1 / |g|) g
    3. gradients  e_r = -s(h_r) * w / B,  e_f = s(h_f) * w / B
                  dW_x = e_r' x + e_f' y + e_m' u         one product of three batches laid under each other
                  dW_a = (e_r + e_f)' a,  db = sum (e_r + e_f),  dc = 0
                  dw = mean f(h_f) - mean f(h_r) + sum s(h_m) * (u W_x')

s is piecewise constant, so the penalty has no gradient with respect to W_a, b and c.

Generator, y = act(v), v = f(k) W_o' + b_o, k = a W_a' + z W_z' + b. Autograd gives dy, whatever the loss is.
Variables: grad dy, error dv, hidden f(k), hidden_error dk.

    dv = dy * act'(v),     dW_o = dv' f(k),  db_o = sum dv
    dk = (dv W_o) * s(k),  dW_a = dk' a,  dW_z = dk' z,  db = sum dk

Linear networks, o = x W' + b. Autograd gives do, the gradient of the objective:  dW = do' x,  db = sum do.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cwgan.gan.fast.bfloat16 import add_multiply_transposed, multiply, multiply_transposed
from cwgan.gan.losses import Objective, gradient_penalty, wasserstein_estimate
from cwgan.gan.networks import Critic, Generator, Linear, SoftmaxClassifier
from cwgan.gan.shapes import Attributes, Features, Hidden, Mix, Noise, Scalar, Targets

_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.default
"""Of the gradient with respect to LeakyReLU's output, its input or output, its slope, and False."""


def allocate(network: Critic | Generator | Linear) -> None:
    """Take the parameters from autograd, and give them buffers for the gradients that are written here."""
    for parameter in network.requires_grad_(False).parameters():
        parameter.grad = torch.zeros_like(parameter)


@torch.no_grad()
def critic_backward(
    critic: Critic, real: Features, fake: Features, attributes: Attributes, mix: Mix, penalty_weight: float
) -> dict[str, Tensor]:
    """Write the gradient of `losses.critic_loss` into the critic's buffers; return the same as that."""
    batch, two_batches = len(real), 2 * len(real)

    # 1. Hidden layers
    inputs = torch.cat([real, fake, real])  # the last third makes room for u
    hidden = torch.empty(3 * batch, len(critic.hidden_bias), dtype=real.dtype, device=real.device)
    real_hidden, fake_hidden, mixed_hidden = hidden.split(batch)
    attribute_part = critic.attribute_part(attributes)
    multiply_transposed(inputs[:two_batches], critic.feature_weight, out=hidden[:two_batches])
    hidden[:two_batches].view(2, batch, -1).add_(attribute_part)
    if mix.shape[1] == 1:
        torch.lerp(fake_hidden, real_hidden, mix, out=mixed_hidden)
    else:
        mixed = fake.lerp(real, mix)
        mixed_hidden.copy_(add_multiply_transposed(attribute_part, mixed, critic.feature_weight))

    # 2. Gradient penalty
    errors = _leaky_relu_backward(critic.output_weight, hidden, critic.leaky_slope, False)
    real_error, fake_error, mixed_error = errors.split(batch)
    slope = multiply(mixed_error, critic.feature_weight)
    penalty = gradient_penalty(slope)
    norm = slope.norm(dim=1, keepdim=True)
    # A slope of exactly zero has no direction; autograd's norm has the subgradient 0 there, and so has this.
    scale = torch.where(norm > 0, 2 * penalty_weight / batch * (1 - 1 / norm), 0.0)
    penalty_gradient = torch.mul(slope, scale, out=inputs[two_batches:])

    # 3. Scores and gradients
    activations = functional.leaky_relu_(hidden[:two_batches], critic.leaky_slope)
    scores = activations @ critic.output_weight + critic.output_bias
    wasserstein = wasserstein_estimate(scores[:batch], scores[batch:])
    real_error /= -batch
    fake_error /= batch
    torch.mm(errors.t(), inputs, out=critic.feature_weight.grad)
    both = real_error + fake_error
    torch.mm(both.t(), attributes, out=critic.attribute_weight.grad)
    torch.sum(both, 0, out=critic.hidden_bias.grad)
    through_slope = multiply_transposed(penalty_gradient, critic.feature_weight)
    through_slope = _leaky_relu_backward(through_slope, mixed_hidden, critic.leaky_slope, False).sum(0)
    real_mean, fake_mean = activations[:batch].mean(0), activations[batch:].mean(0)
    torch.sub(fake_mean, real_mean, out=critic.output_weight.grad).add_(through_slope)
    loss = penalty_weight * penalty - wasserstein
    return {"critic": loss, "wasserstein": wasserstein, "gradient_penalty": penalty}


@torch.no_grad()
def generator_backward(
    generator: Generator, attributes: Attributes, noise: Noise, hidden: Hidden, fake: Features, grad: Tensor
) -> None:
    """Write the gradient of a loss into the generator's buffers, given that with respect to the features.

    The generator made the features `fake`; `hidden` is its hidden layer after LeakyReLU.
    """
    error = generator.activation_backward(grad, fake)
    torch.mm(error.t(), hidden, out=generator.output_weight.grad)
    torch.sum(error, 0, out=generator.output_bias.grad)
    hidden_error = multiply(error, generator.output_weight)
    hidden_error = _leaky_relu_backward(hidden_error, hidden, generator.leaky_slope, False)
    torch.mm(hidden_error.t(), attributes, out=generator.attribute_weight.grad)
    torch.mm(hidden_error.t(), noise, out=generator.noise_weight.grad)
    torch.sum(hidden_error, 0, out=generator.hidden_bias.grad)


def linear_backward(
    model: Linear, objective: Objective, inputs: Features, targets: Targets
) -> tuple[Scalar, Tensor]:
    """Write the gradient of an objective into the model's buffers; return its value and the outputs."""
    outputs = model(inputs).requires_grad_()
    value = objective(outputs, targets)
    (error,) = torch.autograd.grad(value, outputs)
    if isinstance(model, SoftmaxClassifier) and model.relu:  # the outputs are behind the ReLU already
        error = error * (outputs.detach() > 0)
    torch.mm(error.t(), inputs, out=model.weight.grad)
    torch.sum(error, 0, out=model.bias.grad)
    return value.detach(), outputs.detach()
