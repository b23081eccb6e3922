"""Training the cycle-consistent Wasserstein GAN (Felix et al. 2018, arXiv 1808.00136)."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Int64
from torch import Tensor

from cwgan.config import GanConfig
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError, check_finite
from cwgan.gan import losses
from cwgan.gan.checkpoint import Checkpoint, load_module, load_optimizer, module_tensors, optimizer_tensors
from cwgan.gan.fast.bfloat16 import register
from cwgan.gan.fast.gradients import allocate, critic_backward, generator_backward
from cwgan.gan.fast.graphs import StepGraph
from cwgan.gan.networks import Critic, Generator, Regressor, SoftmaxClassifier
from cwgan.gan.shapes import AllFeatures, ClassAttributes, Noise, Rows
from cwgan.gan.snapshots import load_snapshots, snapshot_epochs

CPU = torch.device("cpu")


@dataclass(frozen=True)
class SeenRows:
    """What the GAN learns from: the seen `rows` of features and labels, and attributes of all classes."""

    features: AllFeatures
    labels: Int64[Tensor, " all"]
    rows: Rows
    attributes: ClassAttributes
    unseen_classes: Int64[Tensor, " unseen"]

    @classmethod
    def of(cls, data: GzslDataset) -> "SeenRows":
        """Return the training rows of a data set."""
        return cls(data.features, data.labels, data.trainval, data.attributes, data.unseen_classes)

    def to(self, device: torch.device) -> "SeenRows":
        """Return the same on a device."""
        return SeenRows(*(getattr(self, item.name).to(device) for item in fields(self)))


@dataclass
class Gan:
    """Both players, the pretrained networks, and everything else that a resumed training needs.

    The pretrained networks are frozen. `rng` makes every random choice of the training, `epoch` is how many
    epochs have been trained, and `earlier` holds copies of the generator after earlier epochs, on the CPU, by
    epoch, oldest first.
    """

    generator: Generator
    critic: Critic
    regressor: Regressor
    monitor: SoftmaxClassifier
    config: GanConfig
    rng: torch.Generator
    epoch: int = 0
    earlier: dict[int, Generator] = field(default_factory=dict)
    generator_optimizer: torch.optim.Adam = field(init=False)
    critic_optimizer: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.generator_optimizer = self._prepare(self.generator, self.generator.output_weight)
        self.critic_optimizer = self._prepare(self.critic, self.critic.feature_weight)

    def _prepare(self, player: Generator | Critic, largest: Tensor) -> torch.optim.Adam:
        """Give a player gradient buffers and its largest weight a bfloat16 copy; return the optimizer."""
        allocate(player)
        on_gpu = self.rng.device.type == "cuda"
        # A CUDA graph reads the learning rate where it lies in memory, so there it is a tensor.
        lr = torch.ones((), device=self.rng.device) if on_gpu else 1.0
        betas = (self.config.beta1, self.config.beta2)
        optimizer = torch.optim.Adam(player.parameters(), lr, betas, fused=True, capturable=on_gpu)
        register(largest, optimizer)
        return optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint must hold to continue bit for bit."""
        networks = {name: getattr(self, name) for name in ("generator", "critic", "regressor", "monitor")}
        earlier = {f"snapshot{place}": network for place, network in enumerate(self.earlier.values())}
        return {
            **module_tensors(**networks, **earlier),
            **optimizer_tensors("generator_optimizer", self.generator_optimizer),
            **optimizer_tensors("critic_optimizer", self.critic_optimizer),
            "rng.state": self.rng.get_state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; InputError if it is not of a GAN, or of networks of other sizes."""
        for name in ("generator", "critic"):
            load_module(getattr(self, name), checkpoint, name)
            load_optimizer(getattr(self, f"{name}_optimizer"), checkpoint.part(f"{name}_optimizer"))
        try:
            self.rng.set_state(checkpoint.part("rng")["state"])
        except RuntimeError:
            found, allowed = "the random state of another device", f"one of {self.rng.device}"
            raise InputError(checkpoint.path, "rng", found, allowed) from None
        self.epoch = checkpoint.facts["epoch"]
        *earlier, _ = load_snapshots(checkpoint)
        epochs = snapshot_epochs(self.config, self.epoch)[:-1]
        self.earlier = dict(zip(epochs[-len(earlier) :], earlier[-len(epochs) :], strict=False))

    def keep_snapshot(self) -> None:
        """Before an epoch: copy the generator if later rows need it, drop the copies that none needs."""
        needed = snapshot_epochs(self.config, self.epoch + 1)[:-1]
        if self.epoch in needed:
            self.earlier[self.epoch] = copy.deepcopy(self.generator).cpu()
        self.earlier = {epoch: kept for epoch, kept in self.earlier.items() if epoch in needed}


@dataclass(frozen=True)
class Epoch:
    """An epoch of training, from 1.

    Args:
        terms: the epoch's mean of every term, unweighted, by name: critic, wasserstein, gradient_penalty,
            generator, adversarial, and of cycle, unseen_cycle and classification those of weight above 0.
        generators: those that make the synthetic rows, by epoch, oldest first; the last is still in training.
        is_scored: whether the configuration wants it scored.
    """

    number: int
    terms: dict[str, float]
    generators: dict[int, Generator]
    is_scored: bool


def build_gan(
    feature_size: int,
    attribute_size: int,
    config: GanConfig,
    rng: torch.Generator,
    regressor: Regressor,
    monitor: SoftmaxClassifier,
    device: torch.device = CPU,
) -> Gan:
    """Return an untrained GAN; its weights are drawn on the CPU, so that all devices begin alike."""
    hidden, slope, noise_size = config.hidden_size, config.leaky_slope, config.noise_size or attribute_size
    output = "relu" if config.output == "auto" else config.output  # the stages have decided it by the data
    generator = Generator(attribute_size, noise_size, hidden, feature_size, slope, rng, output)
    critic = Critic(feature_size, attribute_size, hidden, slope, rng)
    if device != CPU:
        rng = torch.Generator(device).manual_seed(rng.initial_seed())
    return Gan(generator.to(device), critic.to(device), regressor.to(device), monitor.to(device), config, rng)


def scored_epochs(config: GanConfig) -> list[int]:
    """Return the epochs to score: the multiples of `score_every`, and the last; none if that is 0."""
    every, last = config.score_every, config.epochs
    return sorted({*range(every, last + 1, every), last}) if every else []


def count_epoch_steps(config: GanConfig, rows: int) -> int:
    """Return the generator steps of an epoch on so many training rows."""
    return config.epoch_steps or rows // min(config.batch_size, rows)


def train_gan(gan: Gan, data: SeenRows) -> Iterator[Epoch]:
    """Train until `config.epochs`; every `next` trains one epoch. FloatingPointError if a term is not finite.

    An epoch is `epoch_steps` generator steps, or rows // batch_size where that is 0, each after
    `critic_steps` critic steps on fresh batches. Rows that fill no batch wait for a later order.
    """
    config, scored = gan.config, scored_epochs(gan.config)
    batch_size = min(config.batch_size, len(data.rows))
    steps = count_epoch_steps(config, len(data.rows))

    def take_steps(batches: Int64[Tensor, "critic_steps batch"]) -> dict[str, Tensor]:
        means = critic_step(gan, data, batches[0])
        for count, batch in enumerate(batches[1:], start=2):
            for name, value in critic_step(gan, data, batch).items():
                means[name].lerp_(value, 1 / count)
        return {**means, **generator_step(gan, data, batches[-1])}

    step = StepGraph(take_steps, gan.rng) if gan.rng.device.type == "cuda" else take_steps
    while gan.epoch < config.epochs:
        gan.keep_snapshot()
        _set_lr(gan.critic_optimizer, config.critic_lr / (1 + config.critic_lr_decay * gan.epoch))
        _set_lr(gan.generator_optimizer, config.generator_lr / (1 + config.generator_lr_decay * gan.epoch))
        totals: dict[str, Tensor] = {}
        for number, batches in enumerate(_draw_batches(gan, data.rows, steps, batch_size), start=1):
            for name, value in step(batches).items():
                totals[name] = totals.get(name, 0.0) + value.detach()
                if gan.rng.device == CPU:  # to look at every step would halt a GPU until the step is done
                    check_finite(
                        f"GAN: the term {name}",
                        value.item(),
                        f"epoch {gan.epoch + 1}, step {number} of {steps}",
                    )
        gan.epoch += 1
        means = {name: total.item() / steps for name, total in totals.items()}
        for name, mean in means.items():
            check_finite(f"GAN: the term {name}", mean, f"epoch {gan.epoch}")
        yield Epoch(gan.epoch, means, {**gan.earlier, gan.epoch: gan.generator}, gan.epoch in scored)


def critic_step(gan: Gan, data: SeenRows, rows: Rows) -> dict[str, Tensor]:
    """Take one step of the critic on real rows and as many fakes of the same classes; return its terms."""
    real, attributes = data.features[rows], data.attributes[data.labels[rows]]
    fake = gan.generator(attributes, _draw_noise(gan, len(rows)))
    mix = losses.mixing_weights(len(real), real.shape[1], gan.config.penalty_mixing, gan.rng)
    terms = critic_backward(gan.critic, real, fake, attributes, mix, gan.config.penalty_weight)
    gan.critic_optimizer.step()
    return terms


def generator_step(gan: Gan, data: SeenRows, rows: Rows) -> dict[str, Tensor]:
    """Take one step of the generator on the classes of some rows; return its terms."""
    config, labels, batch = gan.config, data.labels[rows], len(rows)
    attributes, noise = data.attributes[labels], _draw_noise(gan, batch)
    if config.unseen_cycle_weight:
        drawn = torch.randint(len(data.unseen_classes), (batch,), generator=gan.rng, device=gan.rng.device)
        attributes = torch.cat([attributes, data.attributes[data.unseen_classes[drawn]]])
        noise = torch.cat([noise, _draw_noise(gan, batch)])
    hidden = gan.generator.attribute_part(attributes)
    fake = gan.generator.from_attribute_part_(hidden, noise)

    names, networks = ("cycle", "unseen_cycle", "classification"), (gan.critic, gan.regressor, gan.monitor)
    weights = {name: getattr(config, f"{name}_weight") for name in names}
    cycle = losses.legacy_cycle if config.legacy_cycle else losses.cycle
    # Autograd sees the terms only as functions of the fake features.
    terms = losses.generator_loss(*networks, fake.requires_grad_(), attributes, labels, weights, cycle)
    (gradient,) = torch.autograd.grad(terms["generator"], fake)
    generator_backward(gan.generator, attributes, noise, hidden, fake, gradient)
    gan.generator_optimizer.step()
    return terms


def _draw_batches(gan: Gan, rows: Tensor, steps: int, size: int) -> Int64[Tensor, "steps critic_steps batch"]:
    """Return the batches of an epoch: as many random orders of the rows as it takes, cut into batches."""
    draws, device = gan.config.critic_steps, gan.rng.device
    wanted, whole = steps * draws * size, len(rows) // size * size
    passes = math.ceil(wanted / whole)
    orders = [torch.randperm(len(rows), generator=gan.rng, device=device)[:whole] for _ in range(passes)]
    return rows[torch.cat(orders)[:wanted]].view(steps, draws, size)


def _draw_noise(gan: Gan, rows: int) -> Noise:
    return torch.randn(rows, gan.generator.noise_size, generator=gan.rng, device=gan.rng.device)


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].fill_(lr) if isinstance(group["lr"], Tensor) else lr
