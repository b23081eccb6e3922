"""The parameters of what is trained: by which rule epochs are saved, the pretrained networks, and the GAN."""

from dataclasses import dataclass, field
from typing import Literal

from cwgan.options import Section, option


@dataclass(frozen=True)
class SaveConfig(Section, section="save."):
    """Which epochs are kept as checkpoints, beside the last one."""

    epochs: list[int] = option([], "epochs that are always kept", at_least=1)
    every: int = option(0, "also keep every so many epochs; 0: none", unit="epochs", at_least=0)
    start: int = option(1, "first epoch that save.every may keep", unit="epochs", at_least=1)
    keep: int = option(0, "how many of the save.every checkpoints stay on disk; 0: all", at_least=0)
    best_by: str = option("", "validation metric (H, T1, loss, ...) of those that stay; empty: the newest")


@dataclass(frozen=True)
class GanSaveConfig(SaveConfig, section="gan.save."):
    """Which epochs are kept as checkpoints, and how often a training is saved that may be interrupted."""

    resume_every: float = option(30.0, "save what `resume` needs so often; 0: never", unit="s", at_least=0)


@dataclass(frozen=True)
class FitConfig(Section):
    """Minibatch Adam on a supervised loss; shared by the monitor, the regressor and the classifier."""

    epochs: int = option(40, "passes over the training rows", unit="epochs", at_least=1, at_most=1_000_000)
    batch_size: int = option(64, "rows per step", unit="rows", at_least=1)
    lr: float = option(1e-4, "Adam's learning rate in the first epoch", above=0)
    lr_decay: float = option(0.0, "learning rate of epoch e, from 0: lr / (1 + lr_decay * e)", at_least=0)
    weight_decay: float = option(0.0, "weight of half the squared norm of the weight matrix", at_least=0)
    beta1: float = option(0.9, "Adam's decay of the first moment", at_least=0, below=1)
    holdout: float = option(0.1, "share of the training rows kept to measure it", at_least=0, below=1)
    save: SaveConfig = field(default_factory=SaveConfig)


@dataclass(frozen=True)
class PretrainConfig(FitConfig):
    """A network that is fitted on real seen features and frozen before the GAN is trained."""

    train: bool = option(True, "fit it here; false: take it from the checkpoint named by --pretrained")


@dataclass(frozen=True)
class SoftmaxConfig(Section):
    """The form of a softmax classifier; shared by the monitor and the final classifier."""

    relu_logits: bool = option(False, "ReLU on the logits, in training and in answers, as the original code")
    initial_bias: float = option(
        0.0, "bias of every class before training; the original code: 0.9999", at_least=-1e6, at_most=1e6
    )


@dataclass(frozen=True)
class MonitorConfig(SoftmaxConfig, PretrainConfig, section="monitor."):
    """The softmax classifier over seen classes: it watches the GAN and gives the classification term."""

    epochs: int = option(30, "passes over the training rows", unit="epochs", at_least=1, at_most=1_000_000)
    batch_size: int = option(512, "rows per step", unit="rows", at_least=1)
    lr: float = option(1e-3, "Adam's learning rate in the first epoch", above=0)


@dataclass(frozen=True)
class RegressorConfig(PretrainConfig, section="regressor."):
    """The linear regressor from features to attributes, used by the cycle term."""

    epochs: int = option(30, "passes over the training rows", unit="epochs", at_least=1, at_most=1_000_000)
    lr: float = option(1e-3, "Adam's learning rate in the first epoch", above=0)


@dataclass(frozen=True)
class GanConfig(Section, section="gan."):
    """The conditional Wasserstein GAN."""

    train: bool = option(True, "train the GAN; false: stop after the monitor and the regressor")
    epochs: int = option(12, "how often epoch_steps are taken", unit="epochs", at_least=1, at_most=1_000_000)
    epoch_steps: int = option(
        25, "generator steps; 0: rows / batch_size; -1: also of the last, smaller batch", at_least=-1
    )
    holdout: float = option(0.0, "share of the training rows kept to measure it", at_least=0, below=1)
    batch_size: int = option(64, "rows per step, of all processes together", unit="rows", at_least=1)
    hidden_size: int = option(1024, "units of each network's one hidden layer", unit="units", at_least=1)
    noise_size: int = option(0, "entries of the noise vector; 0: as many as attributes", at_least=0)
    leaky_slope: float = option(0.2, "slope of LeakyReLU below zero", at_least=0, below=1)
    output: Literal["auto", "relu", "sigmoid", "linear"] = option(
        "auto", "features from 0, from 0 to 1, of any sign; auto: relu where none is below 0, else linear"
    )
    critic_steps: int = option(5, "critic steps, each on a new batch, per generator step", at_least=1)
    generator_lr: float = option(1e-4, "Adam's learning rate of the generator", above=0)
    generator_lr_decay: float = option(0.0, "as regressor.lr_decay, for the generator", at_least=0)
    critic_lr: float = option(1e-4, "Adam's learning rate of the critic", above=0)
    critic_lr_decay: float = option(0.0, "as regressor.lr_decay, for the critic", at_least=0)
    beta1: float = option(0.5, "Adam's decay of the first moment", at_least=0, below=1)
    beta2: float = option(0.999, "Adam's decay of the second moment", at_least=0, below=1)
    penalty_weight: float = option(10.0, "weight of the gradient penalty in the critic's loss", at_least=0)
    penalty_mixing: Literal["per_sample", "per_element"] = option(
        "per_sample", "one mixing weight of real and fake per row (WGAN-GP) or per entry (original code)"
    )
    cycle_weight: float = option(0.0, "weight of the cycle term on seen classes (paper's beta)", at_least=0)
    cycle_error: Literal["relative", "squared", "legacy"] = option(
        "relative", "cycle term: error over the variance of attributes; the error; as the original code"
    )
    unseen_cycle_weight: float = option(0.0, "weight of the cycle term on unseen classes", at_least=0)
    classification_weight: float = option(0.0, "weight of the monitor's cross-entropy (gamma)", at_least=0)
    snapshots: int = option(5, "mix rows of so many generators, the last and earlier ones", at_least=1)
    snapshot_every: int = option(1, "earlier ones are of multiples of this", unit="epochs", at_least=1)
    score_every: int = option(0, "validation protocol: epochs between scorings; 0: end only", at_least=0)
    save: GanSaveConfig = field(default_factory=GanSaveConfig)
