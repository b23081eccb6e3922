"""What critic and generator minimize: both losses, and their terms, each a mean over the batch.

`critic_loss` and `generator_loss` are the definition: plain PyTorch, to be differentiated by autograd with any networks.
The training takes the critic's gradient from `cwgan.gan.fast.gradients`, which is proven equal to `critic_loss` in tests.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from cwgan.gan.networks import SoftmaxClassifier

Objective = Callable[[Tensor, Tensor], Tensor]
"""A loss of a network's outputs and their targets: a mean over the batch."""


def critic_loss(
    critic: Callable[[Tensor, Tensor], Tensor],
    real: Float[Tensor, "batch features"],
    fake: Float[Tensor, "batch features"],
    attributes: Float[Tensor, "batch attributes"],
    mix: Float[Tensor, "batch mixed"],
    penalty_weight: float,
) -> dict[str, Float[Tensor, ""]]:
    """Return the critic's loss, critic = penalty_weight * gradient_penalty - wasserstein, with its terms, by name.

    Args:
        critic: D(x, a), one number per row.
        real, fake: features of the same classes, row by row; no gradient reaches the generator through the fake.
        attributes: of those classes.
        mix: share of the real row in the row at which the penalty is taken, as `mixing_weights` draws it.
        penalty_weight: of the gradient penalty.

    Source: Gulrajani et al. 2017, algorithm 1 (arXiv 1704.00028), for a conditional critic.
    """
    mixed = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixed, attributes).sum(), mixed, create_graph=True)
    penalty = gradient_penalty(slope)
    wasserstein = wasserstein_estimate(critic(real, attributes), critic(fake.detach(), attributes))
    loss = penalty_weight * penalty - wasserstein
    return {"critic": loss, "wasserstein": wasserstein, "gradient_penalty": penalty}


def generator_loss(
    critic: Callable[[Tensor, Tensor], Tensor],
    regressor: Callable[[Tensor], Tensor],
    monitor: SoftmaxClassifier,
    fake: Float[Tensor, "rows features"],
    attributes: Float[Tensor, "rows attributes"],
    labels: Int64[Tensor, " batch"],
    weights: Mapping[str, float],
    cycle_term: Objective,
) -> dict[str, Float[Tensor, ""]]:
    """Return the generator's loss, generator = adversarial + sum of weight * term, with its terms, by name.

    Args:
        critic: D(x, a), one number per row.
        regressor: R(x), the attributes that features speak of.
        monitor: the classifier of the classification term.
        fake: G(a, z): rows of seen classes, and below them those of unseen classes where there is an unseen cycle term.
        attributes: what each row was generated from.
        labels: class of every seen row.
        weights: of cycle, unseen_cycle and classification; a term of weight 0 is not computed.
        cycle_term: `cycle` or `legacy_cycle`.

    Source: Felix et al. 2018, section 4 (arXiv 1808.00136).
    """
    seen, unseen = fake.split([len(labels), len(fake) - len(labels)])
    seen_attributes, unseen_attributes = attributes.split([len(labels), len(fake) - len(labels)])
    terms = {"adversarial": adversarial(critic(seen, seen_attributes))}
    if weights["cycle"]:
        terms["cycle"] = cycle_term(regressor(seen), seen_attributes)
    if weights["unseen_cycle"]:
        terms["unseen_cycle"] = cycle_term(regressor(unseen), unseen_attributes)
    if weights["classification"]:
        terms["classification"] = classification(monitor(seen), monitor.targets(labels))
    weighted = (weight * terms[name] for name, weight in weights.items() if weight)
    return {"generator": sum(weighted, start=terms["adversarial"]), **terms}


def wasserstein_estimate(
    real_scores: Float[Tensor, " batch"], fake_scores: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
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


def mixing_weights(
    batch: int, features: int, mixing: str, rng: torch.Generator
) -> Float[Tensor, "batch mixed"]:
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


def cycle(
    reconstructed: Float[Tensor, "batch attributes"], attributes: Float[Tensor, "batch attributes"]
) -> Float[Tensor, ""]:
    """How well synthetic features lead back to their attributes: mean (a - R(G(a, z)))^2.

    Args:
        reconstructed: R(G(a, z)), row by row.
        attributes: the attributes that each row was generated from.

    Source: Felix et al. 2018, equation 5 (arXiv 1808.00136).

    Note: the mean runs over the entries as well as the rows, as in the original code; the paper writes the squared
    norm. The original code compares every row with the first sample's reconstruction only; here each has its own.
    """
    return functional.mse_loss(reconstructed, attributes)


def legacy_cycle(
    reconstructed: Float[Tensor, "batch attributes"], attributes: Float[Tensor, "batch attributes"]
) -> Float[Tensor, ""]:
    """The cycle term as the original code computes it: mean (a_i - R(G(a_1, z_1)))^2 over rows i, against the first row's alone.

    Args: as for `cycle`.
    """
    return functional.mse_loss(reconstructed[:1].expand_as(attributes), attributes)


def classification(
    logits: Float[Tensor, "batch classes"], targets: Int64[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Cross-entropy of a classifier: -mean log softmax(logits)[target].

    Source: Xian et al. 2018, Feature Generating Networks, equation 4 (arXiv 1712.00981).
    """
    return functional.cross_entropy(logits, targets)


def adjusted_classification(
    logits: Float[Tensor, "batch classes"],
    targets: Int64[Tensor, " batch"],
    log_priors: Float[Tensor, " classes"],
) -> Float[Tensor, ""]:
    """Cross-entropy with class priors: -mean log softmax(logits + log prior)[target].

    What the priors explain the logits need not: with priors as they are in training, the logits alone answer as if
    all classes were equally likely; a prior of seen classes above that moves answers towards unseen ones.

    Args:
        logits, targets: of the classifier.
        log_priors: log p(y) of every class, from `zero_shot_log_priors`.

    Source: Chen et al. 2022, Zero-Shot Logit Adjustment, section 4 (arXiv 2204.11822); for long-tailed data Menon et
    al. 2021 (arXiv 2007.07314).
    """
    return functional.cross_entropy(logits + log_priors, targets)


def zero_shot_log_priors(
    counts: Int64[Tensor, " classes"], is_unseen: Bool[Tensor, " classes"], seen_prior: float
) -> Float[Tensor, " classes"]:
    """Log priors of zero-shot logit adjustment: log p(y) = log p(y | side) + log p(side).

    p(y | side) is the class's share of the rows of its side, seen or unseen, and p(seen) / p(unseen) = `seen_prior`.

    Args:
        counts: training rows of every class, at least one each.
        is_unseen: which classes are unseen.
        seen_prior: the ratio; above 1 it favours unseen classes in the answers.

    Source: as `adjusted_classification`; the ratio is the paper's hyper-parameter (30 to 1000 there).
    """
    rows = counts.double()
    of_seen, of_unseen = rows[~is_unseen].sum(), rows[is_unseen].sum()
    shares = torch.where(is_unseen, rows / of_unseen, rows / of_seen * seen_prior) / (1 + seen_prior)
    return shares.log().float()
