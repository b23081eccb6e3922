"""Fitting a linear network on labelled rows: the regressor, the monitor and the final classifier."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.optim.adam import adam

from cwgan.data.matrix import Matrix, View, in_chunks, shuffle
from cwgan.errors import check_finite
from cwgan.gan.fast.gradients import allocate, linear_backward
from cwgan.gan.losses import Objective
from cwgan.gan.networks import Linear, SoftmaxClassifier
from cwgan.gan.shapes import Rows
from cwgan.gan_config import FitConfig

NONE = torch.empty(0, dtype=torch.int64)


class Adam:
    """Fused Adam for a few parameters, each with a weight decay of its own.

    `torch.optim.Adam` computes the same, but its first step imports PyTorch's compiler, which takes a second.
    """

    def __init__(self, parameters: Mapping[Tensor, float], beta1: float) -> None:
        self.beta1, self.weight_decays = beta1, parameters
        zeros = torch.zeros_like
        self.moments = {each: (zeros(each), zeros(each), torch.zeros(())) for each in parameters}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step by the gradients of the parameters."""
        for parameter, (mean, square, count) in self.moments.items():
            assert parameter.grad is not None
            adam(
                [parameter], [parameter.grad], [mean], [square], [], [count],
                lr=lr, beta1=self.beta1, beta2=0.999, eps=1e-8, weight_decay=self.weight_decays[parameter],
                amsgrad=False, maximize=False, fused=True,
            )  # fmt: skip


def fit(
    model: Linear,
    objective: Objective,
    features: Matrix,
    targets: Matrix,
    rows: Rows,
    config: FitConfig,
    rng: torch.Generator,
    held: Int64[Tensor, " held"] = NONE,
) -> Iterator[dict[str, float]]:
    """Minimize an objective over some rows by minibatch Adam; every `next` trains one epoch.

    It gives "loss", the objective's mean over the rows as it was while the epoch's steps were taken;
    FloatingPointError if that is not finite. A learning rate that decays is given as "lr". If some rows are
    `held` out, their `held_out_metrics` are given and, of a classifier, the "accuracy" beside the loss.

    Note: the weight decay is the original's, 0.5 * weight_decay * |W|^2 added to the objective, not AdamW's.
    """
    allocate(model)
    matrix = View(features)
    optimizer = Adam({model.weight: config.weight_decay, model.bias: 0.0}, config.beta1)
    is_measured = len(held) > 0
    is_counted = is_measured and isinstance(model, SoftmaxClassifier)
    for epoch in range(config.epochs):
        lr = config.lr / (1 + config.lr_decay * epoch)
        total, hits = torch.zeros(()), 0
        batches = shuffle(features, rows, rng).split(config.batch_size)
        for number, batch in enumerate(batches, start=1):
            value, outputs = linear_backward(model, objective, matrix[batch], targets[batch])
            total += value * len(batch)
            if is_counted:
                hits += int((outputs.argmax(1) == targets[batch]).sum())
            optimizer.step(lr)
            place = f"epoch {epoch + 1}, step {number} of {len(batches)}"
            check_finite(f"{type(model).__name__}: the loss", total.item(), place)
        terms = {"loss": total.item() / len(rows)}
        if config.lr_decay:
            terms["lr"] = lr
        if is_counted:
            terms["accuracy"] = hits / len(rows)
        if is_measured:
            terms |= held_out_metrics(model, objective, features, targets, held)
        yield terms


@torch.no_grad()
def held_out_metrics(
    model: Linear, objective: Objective, features: Matrix, targets: Matrix, rows: Rows
) -> dict[str, float]:
    """Return the objective on rows not trained on, and the accuracy if the targets are classes."""
    loss, hits = 0.0, 0
    for chunk, inputs in in_chunks(features, rows):
        outputs = model(inputs)
        loss += objective(outputs, targets[chunk]).item() * len(chunk)
        if isinstance(model, SoftmaxClassifier):
            hits += int((outputs.argmax(1) == targets[chunk]).sum())
    metrics = {"val_loss": loss / len(rows)}
    if isinstance(model, SoftmaxClassifier):
        metrics["val_accuracy"] = hits / len(rows)
    return metrics
