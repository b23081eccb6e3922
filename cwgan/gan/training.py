"""Training the cycle-consistent Wasserstein GAN (Felix et al. 2018, arXiv 1808.00136)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cwgan.config import GanConfig
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.gan import losses
from cwgan.gan.checkpoint import Checkpoint, load_module, load_optimizer, module_tensors, optimizer_tensors
from cwgan.gan.fast.bfloat16 import register
from cwgan.gan.fast.gradients import allocate, critic_backward, generator_backward, generator_forward
from cwgan.gan.fast.graphs import Replayed
from cwgan.gan.networks import Critic, Generator, Regressor, SoftmaxClassifier

CPU = torch.device("cpu")


@dataclass(frozen=True)
class SeenRows:
    """What the GAN learns from: real features of seen classes, and attributes.

    Args:
        features: the data set's feature matrix.
        labels: class of every row of it.
        rows: which rows are trained on.
        attributes: of every class.
        unseen_classes: classes whose attributes the unseen cycle term may use.
    """

    features: Float[Tensor, "all features"]
    labels: Int64[Tensor, " all"]
    rows: Int64[Tensor, " rows"]
    attributes: Float[Tensor, "classes attributes"]
    unseen_classes: Int64[Tensor, " unseen"]

    @classmethod
    def of(cls, dataset: GzslDataset) -> "SeenRows":
        """Return the training rows of a data set."""
        return cls(
            dataset.features, dataset.labels, dataset.trainval, dataset.attributes, dataset.unseen_classes
        )

    def to(self, device: torch.device) -> "SeenRows":
        """Return the same on a device."""
        return SeenRows(*(getattr(self, item.name).to(device) for item in fields(self)))


@dataclass
class Gan:
    """Both players, the frozen judges of the generator's terms, and everything that a resumed training needs.

    Args:
        generator, critic: the players.
        regressor: frozen; the cycle terms' way back.
        classifier: frozen; the monitor, and the classification term's classifier.
        config: the training's parameters.
        rng: every random choice of the training; its state travels in checkpoints.
        epoch: how many epochs have been trained.
    """

    generator: Generator
    critic: Critic
    regressor: Regressor
    classifier: SoftmaxClassifier
    config: GanConfig
    rng: torch.Generator
    epoch: int = 0
    generator_optimizer: torch.optim.Adam = field(init=False)
    critic_optimizer: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        for player in (self.generator, self.critic):
            allocate(player)
        betas = (self.config.beta1, self.config.beta2)
        # A CUDA graph reads the learning rate from where it lies, so there it is a tensor.
        on_gpu = self.rng.device.type == "cuda"
        self.generator_optimizer, self.critic_optimizer = (
            torch.optim.Adam(
                player.parameters(),
                torch.ones((), device=self.rng.device) if on_gpu else 1.0,
                betas,
                fused=True,
                capturable=on_gpu,
            )
            for player in (self.generator, self.critic)
        )
        register(self.generator.output_weight, self.generator_optimizer)
        register(self.critic.feature_weight, self.critic_optimizer)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint must hold to continue bit for bit."""
        return {
            **module_tensors(
                generator=self.generator,
                critic=self.critic,
                regressor=self.regressor,
                monitor=self.classifier,
            ),
            **optimizer_tensors("generator_optimizer", self.generator_optimizer),
            **optimizer_tensors("critic_optimizer", self.critic_optimizer),
            "rng.state": self.rng.get_state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint; networks, optimizers, random state and epoch become its own.

        Raises:
            InputError: it is not of a GAN, or of networks of other sizes.
        """
        for name in ("generator", "critic"):
            load_module(getattr(self, name), checkpoint, name)
            load_optimizer(getattr(self, f"{name}_optimizer"), checkpoint.part(f"{name}_optimizer"))
        try:
            self.rng.set_state(checkpoint.part("rng")["state"])
        except RuntimeError:
            raise InputError(
                checkpoint.path, "rng", "the random state of another device", f"one of {self.rng.device}"
            ) from None
        self.epoch = checkpoint.facts["epoch"]


def build_gan(
    feature_size: int,
    attribute_size: int,
    config: GanConfig,
    rng: torch.Generator,
    regressor: Regressor,
    classifier: SoftmaxClassifier,
    device: torch.device = CPU,
) -> Gan:
    """Return an untrained GAN on a device; sizes come from the data set, the rest from the configuration.

    The first weights are drawn on the CPU, so that they are the same on every device.
    """
    noise_size = config.noise_size or attribute_size
    generator = Generator(
        attribute_size, noise_size, config.hidden_size, feature_size, config.leaky_slope, rng, config.output
    )
    critic = Critic(feature_size, attribute_size, config.hidden_size, config.leaky_slope, rng)
    if device != CPU:
        rng = torch.Generator(device).manual_seed(rng.initial_seed())
    return Gan(
        generator.to(device), critic.to(device), regressor.to(device), classifier.to(device), config, rng
    )


def train_gan(gan: Gan, data: SeenRows) -> Iterator[dict[str, float]]:
    """Train until `config.epochs`; every `next` trains one epoch.

    An epoch is rows // batch_size generator steps, each after `critic_steps` critic steps on fresh batches. Rows that
    fill no batch wait for a later epoch's order.

    Yields:
        The epoch's mean of every term, by name, unweighted: critic, wasserstein, gradient_penalty, generator,
        adversarial, and of cycle, unseen_cycle and classification those of weight above 0.

    Raises:
        FloatingPointError: a term is no longer finite.
    """
    config = gan.config
    batch_size = min(config.batch_size, len(data.rows))
    steps = len(data.rows) // batch_size

    def both(rows: Int64[Tensor, "steps batch"]) -> dict[str, Tensor]:
        for batch in rows:
            terms = critic_step(gan, data, batch)
        return {**terms, **generator_step(gan, data, batch)}

    step = Replayed(both, gan.rng) if gan.rng.device.type == "cuda" else both
    while gan.epoch < config.epochs:
        _set_lr(gan.critic_optimizer, config.critic_lr, config.critic_lr_decay, gan.epoch)
        _set_lr(gan.generator_optimizer, config.generator_lr, config.generator_lr_decay, gan.epoch)
        orders = [
            torch.randperm(len(data.rows), generator=gan.rng, device=gan.rng.device)
            for _ in range(config.critic_steps)
        ]
        batches = data.rows[torch.cat([order[: steps * batch_size] for order in orders])].view(
            steps, config.critic_steps, batch_size
        )
        totals: dict[str, Tensor] = {}
        for rows in batches:
            for name, value in step(rows).items():
                totals[name] = totals.get(name, 0.0) + value.detach()
        gan.epoch += 1
        means = {name: total.item() / steps for name, total in totals.items()}
        for name, mean in means.items():
            if not -torch.inf < mean < torch.inf:
                raise FloatingPointError(
                    f"GAN: the term {name} is {mean} in epoch {gan.epoch}; a smaller learning rate may help"
                )
        yield means


def critic_step(gan: Gan, data: SeenRows, rows: Int64[Tensor, " batch"]) -> dict[str, Tensor]:
    """Take one step of the critic on real rows and as many fakes of the same classes; return the terms of its loss."""
    real, attributes = data.features[rows], data.attributes[data.labels[rows]]
    _, fake = generator_forward(gan.generator, attributes, _noise(gan, len(rows)))
    mix = losses.mixing_weights(len(real), real.shape[1], gan.config.penalty_mixing, gan.rng)
    terms = critic_backward(gan.critic, real, fake, attributes, mix, gan.config.penalty_weight)
    gan.critic_optimizer.step()
    return terms


def generator_step(gan: Gan, data: SeenRows, rows: Int64[Tensor, " batch"]) -> dict[str, Tensor]:
    """Take one step of the generator on the classes of some rows; return the terms of its loss."""
    config, labels, batch = gan.config, data.labels[rows], len(rows)
    attributes, noise = data.attributes[labels], _noise(gan, batch)
    if config.unseen_cycle_weight:
        drawn = torch.randint(len(data.unseen_classes), (batch,), generator=gan.rng, device=gan.rng.device)
        attributes = torch.cat([attributes, data.attributes[data.unseen_classes[drawn]]])
        noise = torch.cat([noise, _noise(gan, batch)])
    hidden, fake = generator_forward(gan.generator, attributes, noise)

    # Autograd sees the terms only as functions of the fake features.
    seen, given = fake.requires_grad_()[:batch], attributes[:batch]
    terms = {"adversarial": losses.adversarial(gan.critic(seen, given))}
    loss = terms["adversarial"]
    cycle = losses.legacy_cycle if config.legacy_cycle else losses.cycle
    if config.cycle_weight:
        terms["cycle"] = cycle(gan.regressor(seen), given)
        loss = loss + config.cycle_weight * terms["cycle"]
    if config.unseen_cycle_weight:
        terms["unseen_cycle"] = cycle(gan.regressor(fake[batch:]), attributes[batch:])
        loss = loss + config.unseen_cycle_weight * terms["unseen_cycle"]
    if config.classification_weight:
        terms["classification"] = losses.classification(gan.classifier(seen), gan.classifier.targets(labels))
        loss = loss + config.classification_weight * terms["classification"]
    (gradient,) = torch.autograd.grad(loss, fake)

    generator_backward(gan.generator, attributes, noise, hidden, fake, gradient)
    gan.generator_optimizer.step()
    return {"generator": loss, **terms}


def _noise(gan: Gan, rows: int) -> Float[Tensor, "rows noise"]:
    return torch.randn(rows, gan.generator.noise_size, generator=gan.rng, device=gan.rng.device)


def _set_lr(optimizer: torch.optim.Optimizer, lr: float, decay: float, epoch: int) -> None:
    for group in optimizer.param_groups:
        value = lr / (1 + decay * epoch)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value
