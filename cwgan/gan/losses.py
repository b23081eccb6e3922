"""What critic and generator minimize: both losses and their terms, each a mean over the batch.

`critic_loss` and `generator_loss` are the definition, for autograd and any networks. The training takes the
critic's gradient from `cwgan.gan.fast.gradients`, which tests compare with autograd on `critic_loss`.

Sources: Arjovsky et al. 2017, Wasserstein GAN (arXiv 1701.07875); Gulrajani et al. 2017, Improved Training of
Wasserstein GANs (arXiv 1704.00028); Felix et al. 2018 (arXiv 1808.00136); Xian et al. 2018, Feature
Generating Networks (arXiv 1712.00981); Chen et al. 2022, Zero-Shot Logit Adjustment (arXiv 2204.11822).
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from cwgan.gan.networks import SoftmaxClassifier
from cwgan.gan.shapes import Attributes, Features, Labels, Logits, Mix, Scalar, Scores

Function = Callable[..., Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]  # of outputs and their targets, a mean over the batch


def critic_loss(
    critic: Function, real: Features, fake: Features, attributes: Attributes, mix: Mix, penalty_weight: float
) -> dict[str, Scalar]:
    """Return critic = penalty_weight * gradient_penalty - wasserstein, the loss, and its terms by name.

    The critic is D(x, a), one number per row. Real and fake features, constant here, are of the same classes
    row by row. `mix`, from `mixing_weights`, is the share of the real features where the penalty is taken.

    Source: Gulrajani et al. 2017, algorithm 1; the critic sees the attributes too.
    """
    mixed = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixed, attributes).sum(), mixed, create_graph=True)
    penalty = gradient_penalty(slope)
    wasserstein = wasserstein_estimate(critic(real, attributes), critic(fake, attributes))
    loss = penalty_weight * penalty - wasserstein
    return {"critic": loss, "wasserstein": wasserstein, "gradient_penalty": penalty}


def generator_loss(
    critic: Function,
    regressor: Function | None,
    monitor: SoftmaxClassifier,
    fake: Features,
    attributes: Attributes,
    labels: Int64[Tensor, " seen"],
    weights: Mapping[str, float],
    cycle_term: Objective,
) -> dict[str, Scalar]:
    """Return generator = adversarial + sum of weight * term, the loss, and its terms by name.

    Args:
        critic, regressor, monitor: D(x, a), R(x), which the cycle terms alone need, and the classifier of the
            classification term.
        fake, attributes: G(a, z) and a of seen classes, whose `labels` are given; below them those of unseen
            classes if their cycle term is wanted.
        weights: of cycle, unseen_cycle and classification; a term of weight 0 is not computed.
        cycle_term: `cycle`, `relative_cycle` of the set's attributes, or `legacy_cycle`.
    """
    batch = len(labels)
    seen, seen_attributes = fake[:batch], attributes[:batch]
    terms = {"adversarial": adversarial(critic(seen, seen_attributes))}
    if weights["cycle"]:
        assert regressor
        terms["cycle"] = cycle_term(regressor(seen), seen_attributes)
    if weights["unseen_cycle"]:
        assert regressor
        terms["unseen_cycle"] = cycle_term(regressor(fake[batch:]), attributes[batch:])
    if weights["classification"]:
        terms["classification"] = classification(monitor(seen), monitor.targets(labels))
    weighted = (weight * terms[name] for name, weight in weights.items() if weight)
    return {"generator": sum(weighted, start=terms["adversarial"]), **terms}


def wasserstein_estimate(real_scores: Scores, fake_scores: Scores) -> Scalar:
    """The gap between real and fake scores: W = mean D(x, a) - mean D(G(a, z), a) (Arjovsky, equation 2)."""
    return real_scores.mean() - fake_scores.mean()


def gradient_penalty(input_gradients: Features) -> Scalar:
    """Mean (|grad_x D(x, a)|_2 - 1)^2, with x mixed of real and fake (Gulrajani, equation 3)."""
    return (input_gradients.norm(dim=1) - 1).square().mean()


def mixing_weights(batch: int, features: int, mixing: str, rng: torch.Generator) -> Mix:
    """Draw the share of the real features in each mix, uniform in [0, 1).

    "per_sample" draws one per row (Gulrajani, algorithm 1), "per_element" one per entry (the original code).
    """
    return torch.rand(batch, 1 if mixing == "per_sample" else features, generator=rng, device=rng.device)


def adversarial(fake_scores: Scores) -> Scalar:
    """The generator's side of the game: -mean D(G(a, z), a) (Felix, equation 1)."""
    return -fake_scores.mean()


def cycle(reconstructed: Attributes, attributes: Attributes) -> Scalar:
    """How well synthetic features lead back to their attributes: mean (a - R(G(a, z)))^2 (Felix, equation 5).

    Note: the mean runs over entries and rows, as in the original code; the paper writes the squared norm.
    """
    return functional.mse_loss(reconstructed, attributes)


def relative_cycle(reconstructed: Attributes, attributes: Attributes, variance: Scalar) -> Scalar:
    """The cycle term in units of the mean variance of the classes' attributes.

    It is 1 for a regressor that always answers the mean attributes. So a weight means the same on every data
    set.
    """
    return cycle(reconstructed, attributes) / variance


def legacy_cycle(reconstructed: Attributes, attributes: Attributes) -> Scalar:
    """The cycle term of the original code, against the first row's reconstruction for all rows."""
    return functional.mse_loss(reconstructed[:1].expand_as(attributes), attributes)


def classification(logits: Logits, targets: Labels) -> Scalar:
    """Cross-entropy of a classifier: -mean log softmax(logits)[target] (Xian, equation 4)."""
    return functional.cross_entropy(logits, targets)


def adjusted_classification(logits: Logits, targets: Labels, log_priors: Float[Tensor, " classes"]) -> Scalar:
    """Cross-entropy with class priors: -mean log softmax(logits + log prior)[target] (Chen, section 4).

    With the priors of the training rows, the logits alone answer as if all classes were equally likely. A
    higher prior of the seen classes moves answers towards unseen ones.
    """
    return functional.cross_entropy(logits + log_priors, targets)


def zero_shot_log_priors(
    counts: Int64[Tensor, " classes"], is_unseen: Bool[Tensor, " classes"], seen_prior: float
) -> Float[Tensor, " classes"]:
    """Return the log priors of zero-shot logit adjustment: log p(y) = log p(y | side) + log p(side).

    p(y | side) is the class's share of its side's training rows, seen or unseen; `counts` must be above 0. A
    class that has the mean count of its side has `seen_prior` times the prior if it is seen; above 1 favours
    unseen classes in the answers.

    Note: Chen's hyper-parameter is the odds of the sides. Given per class, it means the same with any numbers
    of seen and unseen classes, so it carries over from validation classes to the final ones.
    """
    rows = counts.double()
    seen, unseen = rows[~is_unseen], rows[is_unseen]
    shares = torch.where(is_unseen, rows / unseen.mean(), rows / seen.mean() * seen_prior)
    return (shares / (len(unseen) + seen_prior * len(seen))).log().float()
