"""Training the cycle-consistent Wasserstein GAN (Felix et al. 2018, arXiv 1808.00136)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from jaxtyping import Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import Matrix, shuffle
from cwgan.errors import check_finite, undisturbed
from cwgan.gan import losses
from cwgan.gan.fast.gradients import critic_backward, generator_backward
from cwgan.gan.fast.graphs import StepGraph
from cwgan.gan.networks import Generator
from cwgan.gan.players import CPU, Gan
from cwgan.gan.shapes import Attributes, ClassAttributes, Features, Noise, Rows, Scalar
from cwgan.gan_config import GanConfig
from cwgan.ranks import average, count_processes, take_share


@dataclass(frozen=True)
class SeenRows:
    """What the GAN learns from: the seen `rows` of features and labels, and attributes of all classes.

    `held` are seen rows that it does not learn from, and is measured on.
    """

    features: Matrix
    labels: Int64[Tensor, " all"]
    rows: Rows
    attributes: ClassAttributes
    unseen_classes: Int64[Tensor, " unseen"]
    held: Int64[Tensor, " held"] = field(default_factory=partial(torch.empty, 0, dtype=torch.int64))

    @cached_property
    def attribute_variance(self) -> Scalar:
        """The mean variance of the classes' attributes, which relative cycle terms are measured in."""
        return self.attributes.var(dim=0, correction=0).mean()

    @classmethod
    def of(cls, data: GzslDataset) -> "SeenRows":
        """Return the training rows of a data set."""
        return cls(data.features, data.labels, data.trainval, data.attributes, data.unseen_classes)

    def to(self, device: torch.device) -> "SeenRows":
        """Return the same on a device, whose memory then holds the seen rows."""
        if device == CPU:
            return self
        used = torch.cat([self.rows, self.held])
        rows, held = torch.arange(len(used)).split([len(self.rows), len(self.held)])
        given = self.features[used], self.labels[used], rows, self.attributes, self.unseen_classes, held
        return SeenRows(*(each.to(device) for each in given))


@dataclass(frozen=True)
class Epoch:
    """An epoch of training, from 1.

    Args:
        terms: the epoch's mean of every term, unweighted, by name: critic, wasserstein, gradient_penalty,
            generator, adversarial, and of cycle, unseen_cycle and classification those of weight above 0; and
            critic_lr and generator_lr, the learning rates, where they decay.
        generators: those that make the synthetic rows, by epoch, oldest first; the last is still in training.
        is_scored: whether the configuration wants it scored.
    """

    number: int
    terms: dict[str, float]
    generators: dict[int, Generator]
    is_scored: bool


def scored_epochs(config: GanConfig) -> list[int]:
    """Return the epochs to score: the multiples of `score_every`, and the last; none if that is 0."""
    every, last = config.score_every, config.epochs
    return sorted({*range(every, last + 1, every), last}) if every else []


def count_epoch_steps(config: GanConfig, rows: int) -> int:
    """Return the generator steps of an epoch on so many training rows."""
    size = min(config.batch_size, rows)
    return math.ceil(rows / size) if config.epoch_steps < 0 else config.epoch_steps or rows // size


def train_gan(gan: Gan, data: SeenRows) -> Iterator[Epoch]:
    """Train until `config.epochs`; every `next` is an epoch. FloatingPointError: a term is not finite."""
    return (epoch for epoch in take_steps(gan, data) if epoch)


def take_steps(gan: Gan, data: SeenRows) -> Iterator[Epoch | None]:
    """Train until `config.epochs`; every `next` takes one step. An epoch is given with its last step.

    An epoch is `epoch_steps` generator steps, or rows // batch_size where that is 0, each after
    `critic_steps` critic steps on fresh batches. Rows that fill no batch wait for a later order; where
    `epoch_steps` is -1, they are the epoch's last batch.

    Between two calls the GAN can be saved, and goes on bit for bit. `gan.epoch` counts an epoch once the next
    step is asked for: if the caller is interrupted before that, a resumed training gives that epoch again. A
    signal interrupts between steps. With several processes each takes its share of every batch (see
    `cwgan.ranks`), and on GPUs there is no graph. FloatingPointError at a step with a term that is not
    finite; on a GPU, at the epoch's end.
    """
    config, scored = gan.config, scored_epochs(gan.config)
    batch_size = min(config.batch_size, len(data.rows))
    steps = count_epoch_steps(config, len(data.rows))

    def take_step(batches: Int64[Tensor, "critic_steps batch"]) -> dict[str, Tensor]:
        means = critic_step(gan, data, batches[0])
        for count, batch in enumerate(batches[1:], start=2):
            for name, value in critic_step(gan, data, batch).items():
                means[name].lerp_(value, 1 / count)
        return {**means, **generator_step(gan, data, batches[-1])}

    has_graph = gan.rng.device.type == "cuda" and count_processes() == 1
    step = StepGraph(take_step, gan.rng) if has_graph else take_step
    while gan.epoch < config.epochs:
        number = gan.epoch + 1
        critic_lr = config.critic_lr / (1 + config.critic_lr_decay * gan.epoch)
        generator_lr = config.generator_lr / (1 + config.generator_lr_decay * gan.epoch)
        _set_lr(gan.critic_optimizer, critic_lr)
        _set_lr(gan.generator_optimizer, generator_lr)
        with undisturbed:
            if gan.batches is None:
                gan.keep_snapshot()
                gan.batches = _draw_batches(gan, data, steps, batch_size)
        while gan.batches:
            place = f"epoch {number}, step {steps - len(gan.batches) + 1} of {steps}"
            take = step if gan.batches[0].shape[1] == batch_size else take_step  # no graph for the last one
            with undisturbed:
                for name, value in take(gan.batches[0]).items():
                    gan.totals[name] = gan.totals.get(name, 0.0) + value.detach()
                    if gan.rng.device == CPU:  # to look at every step would halt a GPU until the step is done
                        check_finite(f"GAN: the term {name}", value.item(), place)
                del gan.batches[0]
            if gan.batches:
                yield None
        means = {name: total.item() / steps for name, total in gan.totals.items()}
        for name, mean in means.items():
            check_finite(f"GAN: the term {name}", mean, f"epoch {number}")
        if config.critic_lr_decay:
            means["critic_lr"] = critic_lr
        if config.generator_lr_decay:
            means["generator_lr"] = generator_lr
        yield Epoch(number, means, {**gan.earlier, number: gan.generator}, number in scored)
        with undisturbed:
            gan.epoch, gan.batches, gan.totals = number, None, {}


def critic_step(gan: Gan, data: SeenRows, rows: Rows) -> dict[str, Tensor]:
    """Take one step of the critic on real rows and as many fakes of the same classes; return its terms."""
    noise = take_share(_draw_noise(gan, len(rows), gan.rng))
    mixing = len(rows), data.features.shape[1], gan.config.penalty_mixing, gan.rng
    mix = take_share(losses.mixing_weights(*mixing))
    rows = take_share(rows)
    real, attributes = data.features[rows], data.attributes[data.labels[rows]]
    fake = gan.generator(attributes, noise)
    terms = critic_backward(gan.critic, real, fake, attributes, mix, gan.config.penalty_weight)
    terms = average(gan.critic, terms)
    gan.critic_optimizer.step()
    return terms


def generator_step(gan: Gan, data: SeenRows, rows: Rows) -> dict[str, Tensor]:
    """Take one step of the generator on the classes of some rows; return its terms."""
    labels = data.labels[rows]
    inputs = _draw_inputs(gan, data, labels, gan.rng)
    labels, attributes, noise = map(take_share, (labels, *inputs))
    hidden = gan.generator.attribute_part(attributes)
    fake = gan.generator.from_attribute_part_(hidden, noise)
    # Autograd sees the terms only as functions of the fake features.
    terms = _find_generator_terms(gan, data, fake.requires_grad_(), attributes, labels)
    (gradient,) = torch.autograd.grad(terms["generator"], fake)
    generator_backward(gan.generator, attributes, noise, hidden, fake, gradient)
    terms = average(gan.generator, terms)
    gan.generator_optimizer.step()
    return terms


def measure_held(gan: Gan, data: SeenRows, rng: torch.Generator) -> dict[str, float]:
    """Return every term's mean over the held-out rows, named val_<term>; no player learns from it.

    `rng`, on the device of the GAN, draws noise and mixing weights.
    """
    config, totals = gan.config, dict[str, float]()
    for rows in data.held.split(config.batch_size):
        real, labels, batch = data.features[rows], data.labels[rows], len(rows)
        attributes, noise = _draw_inputs(gan, data, labels, rng)
        mix = losses.mixing_weights(batch, real.shape[1], config.penalty_mixing, rng)
        fake = gan.generator(attributes, noise)
        given = real, fake[:batch], attributes[:batch], mix, config.penalty_weight
        terms = losses.critic_loss(gan.critic, *given)
        terms |= _find_generator_terms(gan, data, fake, attributes, labels)
        for name, value in terms.items():
            totals[f"val_{name}"] = totals.get(f"val_{name}", 0.0) + value.item() * batch / len(data.held)
    return totals


def _find_generator_terms(
    gan: Gan, data: SeenRows, fake: Features, attributes: Attributes, labels: Rows
) -> dict[str, Tensor]:
    """Return the terms of the generator's loss on fake features, with those of unseen classes at the end."""
    config = gan.config
    names, networks = ("cycle", "unseen_cycle", "classification"), (gan.critic, gan.regressor, gan.monitor)
    weights = {name: getattr(config, f"{name}_weight") for name in names}
    cycles = {"squared": losses.cycle, "legacy": losses.legacy_cycle}
    cycle = cycles.get(config.cycle_error) or partial(losses.relative_cycle, variance=data.attribute_variance)
    return losses.generator_loss(*networks, fake, attributes, labels, weights, cycle)


def _draw_batches(
    gan: Gan, data: SeenRows, steps: int, size: int
) -> list[Int64[Tensor, "critic_steps batch"]]:
    """Return the batches of an epoch: as many random orders of the rows as it takes, cut into batches."""
    draws, count = gan.config.critic_steps, len(data.rows)
    is_whole = gan.config.epoch_steps < 0  # a smaller batch at the end of an epoch
    wanted, whole = steps * draws * size, count // size * size
    passes = draws if is_whole else math.ceil(wanted / whole)
    orders = [shuffle(data.features, data.rows, gan.rng) for _ in range(passes)]
    if is_whole:
        return [*torch.stack(orders).split(size, dim=1)]
    return [*torch.cat([order[:whole] for order in orders])[:wanted].view(steps, draws, size)]


def _draw_inputs(gan: Gan, data: SeenRows, labels: Rows, rng: torch.Generator) -> tuple[Attributes, Noise]:
    """Return attributes and noise for classes, and below them for as many unseen ones if wanted."""
    attributes, noise, count = data.attributes[labels], _draw_noise(gan, len(labels), rng), len(labels)
    if not gan.config.unseen_cycle_weight:
        return attributes, noise
    drawn = torch.randint(len(data.unseen_classes), (count,), generator=rng, device=rng.device)
    attributes = torch.cat([attributes, data.attributes[data.unseen_classes[drawn]]])
    return attributes, torch.cat([noise, _draw_noise(gan, count, rng)])


def _draw_noise(gan: Gan, rows: int, rng: torch.Generator) -> Noise:
    return torch.randn(rows, gan.generator.noise_size, generator=rng, device=rng.device)


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].fill_(lr) if isinstance(group["lr"], Tensor) else lr
