"""The terms of the two losses, each a pure function of tensors; every one is a mean over the batch.

Critic:     minimize  -W + penalty_weight * GP,   W = mean D(x, a) - mean D(G(a, z), a)
Generator:  minimize  adversarial + cycle_weight * cycle + unseen_cycle_weight * cycle(unseen a) + classification_weight * CE
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


def wasserstein_estimate(real_scores: Float[Tensor, " batch"], fake_scores: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """How far the critic tells real from fake: W = mean D(real) - mean D(fake).

    Source: Arjovsky et al. 2017, Wasserstein GAN, equation 2 (arXiv 1701.07875).
    """
    return real_scores.mean() - fake_scores.mean()


def gradient_penalty(input_gradients: Float[Tensor, "batch features"]) -> Float[Tensor, ""]:
    """How far the critic's slope is from one: GP = mean (|grad_x D(x, a)|_2 - 1)^2.

    Args:
        input_gradients: gradients of the critic's values with respect to features mixed from real and fake ones.

    Source: Gulrajani et al. 2017, Improved Training of Wasserstein GANs, equation 3 (arXiv 1704.00028).
    """
    return (input_gradients.norm(dim=1) - 1).square().mean()


def mixing_weights(batch: int, features: int, mixing: str, rng: torch.Generator) -> Float[Tensor, "batch mixed"]:
    """Draw the share of the real features in each mix, uniform in [0, 1).

    Args:
        batch, features: size of what is mixed.
        mixing: "per_sample", one weight per row (Gulrajani et al. 2017, algorithm 1), or "per_element", one per entry
            (the original code).
        rng: draws them.

    Returns:
        One column, or as many as features.
    """
    return torch.rand(batch, 1 if mixing == "per_sample" else features, generator=rng, device=rng.device)


def adversarial(fake_scores: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """The generator's side of the game: -mean D(G(a, z), a).

    Source: Felix et al. 2018, equation 1 (arXiv 1808.00136).
    """
    return -fake_scores.mean()


def cycle(reconstructed: Float[Tensor, "batch attributes"], attributes: Float[Tensor, "batch attributes"]) -> Float[Tensor, ""]:
    """How well synthetic features lead back to their attributes: mean (a - R(G(a, z)))^2.

    Args:
        reconstructed: R(G(a, z)), row by row.
        attributes: the attributes that each row was generated from.

    Source: Felix et al. 2018, equation 5 (arXiv 1808.00136).

    Note: the mean runs over the entries as well as the rows, as in the original code; the paper writes the squared
    norm. The original code compares every row with the first sample's reconstruction only; here each has its own.
    """
    return functional.mse_loss(reconstructed, attributes)


def classification(logits: Float[Tensor, "batch classes"], targets: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Cross-entropy of a classifier: -mean log softmax(logits)[target].

    Source: Xian et al. 2018, Feature Generating Networks, equation 4 (arXiv 1712.00981).
    """
    return functional.cross_entropy(logits, targets)
