"""Both players of the Wasserstein GAN, and all else that its training needs to begin or to go on."""

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn import functional

from cwgan.errors import InputError
from cwgan.gan.checkpoint import Checkpoint, load_module, module_tensors
from cwgan.gan.fast.bfloat16 import register
from cwgan.gan.fast.gradients import allocate
from cwgan.gan.networks import Critic, Generator, Regressor, SoftmaxClassifier
from cwgan.gan.snapshots import load_snapshots, snapshot_epochs
from cwgan.gan_config import GanConfig

CPU = torch.device("cpu")


@dataclass
class Gan:
    """Both players, the pretrained networks, and everything else that a resumed training needs.

    The pretrained networks are frozen; without a cycle term there is no regressor. `rng` makes every random
    choice of the training, `epoch` is how many epochs have been trained, and `earlier` holds copies of the
    generator after earlier epochs, on the CPU, by epoch, oldest first. Within an epoch `batches` are the rows
    of the steps that are left of it, and `totals` the sums of its terms so far.
    """

    generator: Generator
    critic: Critic
    regressor: Regressor | None
    monitor: SoftmaxClassifier
    config: GanConfig
    rng: torch.Generator
    epoch: int = 0
    earlier: dict[int, Generator] = field(default_factory=dict)
    batches: list[Int64[Tensor, "critic_steps batch"]] | None = None
    totals: dict[str, Tensor] = field(default_factory=dict)
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
        """Return everything that a checkpoint must hold to continue bit for bit after a whole epoch."""
        names = ("generator", "critic", *(["regressor"] if self.regressor else []), "monitor")
        networks = {name: getattr(self, name) for name in names}
        earlier = {f"snapshot{place}": network for place, network in enumerate(self.earlier.values())}
        return {
            **module_tensors(**networks, **earlier),
            **optimizer_tensors("generator_optimizer", self.generator_optimizer),
            **optimizer_tensors("critic_optimizer", self.critic_optimizer),
            "rng.state": self.rng.get_state(),
        }

    def all_tensors(self) -> dict[str, Tensor]:
        """Return the same at any step: also what is left of the epoch that has been begun."""
        if self.batches is None:
            return self.tensors()
        widths = [batch.shape[1] for batch in self.batches]
        # The last batch may be smaller than the others. No row has the number -1.
        pairs = zip(self.batches, widths, strict=True)
        padded = [functional.pad(batch, (0, widths[0] - width), value=-1) for batch, width in pairs]
        left = torch.stack(padded) if padded else torch.empty(0, dtype=torch.int64)
        names = enumerate(self.totals)  # numbered, as a file holds its tensors in the order of their names
        totals = {f"totals.{place:02}.{name}": self.totals[name] for place, name in names}
        return {**self.tensors(), "batches.left": left, **totals}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; InputError if it is not of a GAN, or of networks of other sizes."""
        for name in ("generator", "critic"):
            load_module(getattr(self, name), checkpoint, name)
            load_optimizer(getattr(self, f"{name}_optimizer"), checkpoint, f"{name}_optimizer")
        try:
            self.rng.set_state(checkpoint.part("rng")["state"])
        except (RuntimeError, TypeError, KeyError):
            found, allowed = "the random state of another device", f"one of {self.rng.device}"
            raise InputError(checkpoint.path, "rng", found, allowed) from None
        self.epoch = checkpoint.facts["epoch"]
        if is_begun := "batches.left" in checkpoint.tensors:
            left = checkpoint.tensors["batches.left"].to(self.rng.device)
            self.batches = [batch[:, batch[0] >= 0] for batch in left]
            for key in sorted(key for key in checkpoint.tensors if key.startswith("totals.")):
                self.totals[key.rpartition(".")[2]] = checkpoint.tensors[key].to(self.rng.device)
        *earlier, _ = load_snapshots(checkpoint)
        epochs = snapshot_epochs(self.config, self.epoch + is_begun)[:-1]
        self.earlier = dict(zip(epochs[-len(earlier) :], earlier[-len(epochs) :], strict=False))

    def keep_snapshot(self) -> None:
        """Before an epoch: copy the generator if later rows need it, drop the copies that none needs."""
        needed = snapshot_epochs(self.config, self.epoch + 1)[:-1]
        if self.epoch in needed:
            self.earlier[self.epoch] = copy.deepcopy(self.generator).cpu()
        self.earlier = {epoch: kept for epoch, kept in self.earlier.items() if epoch in needed}


def build_gan(
    feature_size: int,
    attribute_size: int,
    config: GanConfig,
    rng: torch.Generator,
    regressor: Regressor | None,
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
    frozen = regressor.to(device) if regressor else None, monitor.to(device)
    return Gan(generator.to(device), critic.to(device), *frozen, config, rng)


def optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors named <name>.<parameter's place>.<entry>."""
    states = optimizer.state_dict()["state"].items()
    return {f"{name}.{place}.{key}": value for place, state in states for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Adam, checkpoint: Checkpoint, name: str) -> None:
    """Give an optimizer the state that `optimizer_tensors` returned, which a checkpoint holds by that name.

    InputError if anything is missing, or is not of the shape and type of the parameter that it belongs to:
    fused Adam does not check them, and would write past a buffer's end.
    """
    tensors, groups = checkpoint.part(name), optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Tensor]] = {}
    for place, parameter in enumerate(each for group in optimizer.param_groups for each in group["params"]):
        wanted = {"step": torch.Size(()), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
        for entry, shape in wanted.items():
            key, allowed = f"{place}.{entry}", f"float32 of shape {tuple(shape)}"
            found = tensors.pop(key, None)
            if found is None or found.shape != shape or found.dtype != torch.float32:
                got = "nothing" if found is None else f"{found.dtype} of shape {tuple(found.shape)}"
                raise InputError(checkpoint.path, f"{name}.{key}", got, allowed)
            state.setdefault(place, {})[entry] = found
    if tensors:
        raise InputError(checkpoint.path, f"{name}.{min(tensors)}", "a tensor", "no such one")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
