"""Every parameter of every stage, declared once: default, type, range, unit and meaning.

YAML layers and command-line flags (`cwgan.command_line`) only override what stands here. Nothing in this
module imports PyTorch, so that `--help` answers at once.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cwgan.errors import InputError
from cwgan.options import Section, option


@dataclass(frozen=True)
class DataConfig(Section):
    """The data set and how it is read."""

    section: ClassVar[str] = "data."
    path: str = option(
        "numbers",
        "'numbers' (built in), an xlsa17 folder (res101.mat, att_splits.mat) or an HDF5 folder (data.h5, knn.h5)",
    )
    name: str = option("", "name shown in MLflow; empty: the folder's name")
    attributes: str = option(
        "", ".npy file of class attributes (classes x attributes) that replaces those of the data set"
    )
    att_type: Literal["continuous", "binary"] = option(
        "continuous", "class attributes as they are, or 1 where they reach their overall mean and 0 elsewhere"
    )
    scaling: Literal["none", "min_max", "unit_norm"] = option(
        "none",
        "features as they are, each brought to 0..1 over the training rows, or each row to norm 1; gan.output should match",
    )
    attribute_norm: float = option(
        0.0,
        "centre attributes on the seen classes' mean and give those this root-mean-square norm; 0: as they are",
        at_least=0,
    )
    holdout: float = option(
        0.2,
        "share of each seen class's training rows kept for scoring S under the validation protocol",
        above=0,
        below=1,
    )
    seed: int = option(
        0,
        "seed of the built-in data and of every validation split; apart from the run's seed",
        at_least=0,
        at_most=2**63 - 1,
    )


@dataclass(frozen=True)
class SaveConfig(Section):
    """Which epochs of a training stage are kept as checkpoints beside the last one."""

    section: ClassVar[str] = "save."
    epochs: list[int] = option([], "savepoints: epochs that are always kept", at_least=1)
    every: int = option(0, "also save every so many epochs; 0: never", unit="epochs", at_least=0)
    start: int = option(1, "first epoch that save.every may save", unit="epochs", at_least=1)
    keep: int = option(0, "how many of the save.every checkpoints stay on disk; 0: all", at_least=0)
    best_by: str = option(
        "", "validation metric by which the best checkpoints stay (as H, T1, loss); empty: the newest stay"
    )


@dataclass(frozen=True)
class FitConfig(Section):
    """Minibatch Adam on a supervised loss; shared by the regressor and the two classifiers."""

    epochs: int = option(40, "passes over the training rows", unit="epochs", at_least=1)
    batch_size: int = option(64, "rows per step", unit="rows", at_least=1)
    lr: float = option(1e-4, "Adam's learning rate in the first epoch", above=0)
    lr_decay: float = option(0.0, "learning rate of epoch e is lr / (1 + lr_decay * e), e from 0", at_least=0)
    weight_decay: float = option(
        0.0, "weight of the squared L2 norm of the weight matrix, halved, in the loss", at_least=0
    )
    beta1: float = option(0.9, "Adam's decay of the first moment", at_least=0, below=1)


@dataclass(frozen=True)
class PretrainConfig(FitConfig):
    """A network fitted on real seen features and frozen before the GAN is trained."""

    train: bool = option(True, "fit it here; false: take it from the checkpoint named by --pretrained")
    holdout: float = option(0.1, "share of the training rows kept to measure it", at_least=0, below=1)
    save: SaveConfig = field(default_factory=SaveConfig)


@dataclass(frozen=True)
class MonitorConfig(PretrainConfig):
    """The softmax classifier over seen classes: watches the GAN, and is the classification term's classifier."""

    section: ClassVar[str] = "monitor."
    epochs: int = option(30, "passes over the training rows", unit="epochs", at_least=1)
    batch_size: int = option(2048, "rows per step", unit="rows", at_least=1)
    lr: float = option(0.05, "Adam's learning rate in the first epoch", above=0)


@dataclass(frozen=True)
class RegressorConfig(PretrainConfig):
    """The linear regressor from features to attributes: the cycle term's way back."""

    section: ClassVar[str] = "regressor."


@dataclass(frozen=True)
class GanConfig(Section):
    """The conditional Wasserstein GAN."""

    section: ClassVar[str] = "gan."
    train: bool = option(True, "train the GAN; false: stop after the monitor classifier and the regressor")
    epochs: int = option(
        100,
        "one epoch is rows / batch_size generator steps, each after critic_steps critic steps",
        unit="epochs",
        at_least=1,
    )
    batch_size: int = option(64, "rows per step", unit="rows", at_least=1)
    hidden_size: int = option(
        4096, "units of the one hidden layer of generator and critic", unit="units", at_least=1
    )
    noise_size: int = option(0, "entries of the noise vector; 0: as many as attributes", at_least=0)
    leaky_slope: float = option(0.2, "slope of LeakyReLU below zero", at_least=0, below=1)
    output: Literal["relu", "sigmoid", "linear"] = option(
        "relu", "what the generator ends in: features from 0, from 0 to 1, or of any sign"
    )
    critic_steps: int = option(
        1, "critic steps, each on a fresh batch, before every generator step", unit="steps", at_least=1
    )
    generator_lr: float = option(1e-4, "Adam's learning rate of the generator", above=0)
    generator_lr_decay: float = option(0.0, "as regressor.lr_decay, for the generator", at_least=0)
    critic_lr: float = option(1e-3, "Adam's learning rate of the critic", above=0)
    critic_lr_decay: float = option(0.0, "as regressor.lr_decay, for the critic", at_least=0)
    beta1: float = option(0.9, "Adam's decay of the first moment", at_least=0, below=1)
    beta2: float = option(0.999, "Adam's decay of the second moment", at_least=0, below=1)
    penalty_weight: float = option(10.0, "weight of the gradient penalty in the critic's loss", at_least=0)
    penalty_mixing: Literal["per_sample", "per_element"] = option(
        "per_sample",
        "one mixing weight of real and fake per row (WGAN-GP), or one per entry (the original code)",
    )
    cycle_weight: float = option(
        0.01, "weight of the cycle term on seen attributes (beta of the paper)", at_least=0
    )
    legacy_cycle: bool = option(
        False,
        "compare every row's attributes with the reconstruction of the batch's first row, as the original code",
    )
    unseen_cycle_weight: float = option(0.0, "weight of the cycle term on unseen attributes", at_least=0)
    classification_weight: float = option(
        0.0, "weight of the monitor classifier's cross-entropy (gamma)", at_least=0
    )
    snapshots: int = option(
        1,
        "synthetic rows come in equal parts from the generator as it is and as it was at earlier epochs",
        at_least=1,
    )
    snapshot_every: int = option(
        1, "epochs between those: earlier snapshots are of its multiples", unit="epochs", at_least=1
    )
    score_every: int = option(
        0,
        "validation protocol: synthesize, fit and score every so many epochs; 0: only at the end",
        unit="epochs",
        at_least=0,
    )
    save: SaveConfig = field(default_factory=SaveConfig)


@dataclass(frozen=True)
class GenerateConfig(Section):
    """The synthetic features."""

    section: ClassVar[str] = "generate."
    domain: Literal["unseen", "seen", "all"] = option("unseen", "classes that features are generated for")
    counts: list[int] = option(
        [300],
        "features per class, one number per domain; for 'all' [unseen, seen], as [1200, 300]",
        unit="rows",
        at_least=1,
    )
    mean_correction: float = option(
        0.0,
        "move each class's rows, as one, this share of the way to its mean as ridge regression on attributes predicts it; 0: not at all",
        at_least=0,
        at_most=1,
    )
    mean_ridge: float = option(
        0.2, "weight of the penalty in that regression, beside cosines of attributes", above=0
    )
    merge: bool = option(False, "also write the real training rows into the file, before the synthetic ones")
    npy: bool = option(False, "also write X.npy, Y.npy and A.npy (synthetic rows only)")

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = 2 if self.domain == "all" else 1
        if len(self.counts) != wanted:
            raise InputError(
                "configuration",
                "generate.counts",
                self.counts,
                f"{wanted} number(s) for domain '{self.domain}'",
            )


@dataclass(frozen=True)
class ClassifierConfig(FitConfig):
    """The final softmax classifier."""

    section: ClassVar[str] = "classifier."
    batch_size: int = option(2048, "rows per step", unit="rows", at_least=1)
    lr_decay: float = option(
        1e-3, "learning rate of epoch e is lr / (1 + lr_decay * e), e from 0", at_least=0
    )
    weight_decay: float = option(
        1e-4, "weight of the squared L2 norm of the weight matrix, halved, in the loss", at_least=0
    )
    operation: Literal["merge", "replace"] = option(
        "merge", "train on real and synthetic rows, or on synthetic rows alone"
    )
    domain: Literal["openset", "openval", "zsl"] = option(
        "openset", "classes it can answer: all, seen only, unseen only (the original's names)"
    )
    loss: Literal["softmax", "logit_adjusted"] = option(
        "softmax",
        "cross-entropy, or with the logarithm of class priors added to the logits in training (Chen et al. 2022)",
    )
    seen_prior: float = option(
        1.0,
        "logit_adjusted: how many times likelier seen classes together are than unseen ones together, in training",
        above=0,
    )
    relu_logits: bool = option(False, "ReLU on the logits, in training and in answers, as the original code")
    gamma: float = option(
        0.0,
        "bias taken from the seen logits in the calibrated scores; chosen on validation classes",
        at_least=-1e6,
        at_most=1e6,
    )


@dataclass(frozen=True)
class SweepConfig(Section):
    """The search for the best setting on validation classes."""

    section: ClassVar[str] = "sweep."
    trials: int = option(20, "settings that are tried to the end or pruned, in the whole study", at_least=1)
    space: str = option("sweep", "what is searched: a file in configs/, or a YAML file")
    seeds: list[int] = option(
        [], "every setting is tried with each, and its value is the mean; empty: `seed` alone", at_least=0
    )
    objective: Literal["H", "calibrated_H"] = option("H", "score on validation classes that is to be highest")
    value: Literal["best", "last"] = option(
        "best", "a setting's value is that of its best scored epoch, or of its last"
    )
    pruner: Literal["median", "hyperband", "none"] = option(
        "median", "how settings that promise little are given up early"
    )
    trials_per_gan: int = option(
        4, "settings tried on one trained GAN, where they differ in what does not shape it", at_least=1
    )
    workers: int = option(
        1,
        "processes on this machine; more than one have one thread each, unless `threads` is given",
        at_least=1,
    )
    study: str = option(
        "", "name of the study; empty: the data set's and a hash of everything that decides the results"
    )
    storage: str = option(
        "",
        "URL of Optuna's database, as postgresql+psycopg://user@host/name; empty: optuna.db in sweep.folder",
    )
    folder: str = option(
        "",
        "holds optuna.db and the trained GANs; empty: sweeps, beside MLflow's SQLite file or in the working folder",
    )
    heartbeat: int = option(
        15,
        "a worker not heard of for 6 times as long is given up, and its trial repeated",
        unit="s",
        at_least=1,
    )
    final: bool = option(
        False,
        "afterwards train the best and the preset's own setting under the final protocol, once per seed of `seeds`",
    )


@dataclass(frozen=True)
class Config(Section):
    """All parameters of all stages."""

    seed: int = option(0, "seed of every random choice but those of data.seed", at_least=0)
    protocol: Literal["final", "validation"] = option(
        "final",
        "final: train on trainval, score the test rows; validation: hold out validation classes, never see a test row",
    )
    seeds: list[int] = option(
        [], "main, ablation: run once per seed and report mean and deviation; empty: `seed` alone", at_least=0
    )
    select: bool = option(
        False,
        "main, ablation: first choose the epoch and the bias gamma under the validation protocol, scoring every gan.score_every",
    )
    threads: int = option(
        0, "CPU threads; 0: as many as cores; 1 where several runs share the machine", at_least=0
    )
    precision: Literal["float32", "bfloat16"] = option(
        "float32", "operands of matrix products; weights, sums and Adam's state stay float32"
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "where the GAN is trained; auto: on a GPU where there is one"
    )
    experiment: str = option(
        "", "MLflow experiment of a run started without `mlflow run`; empty: MLflow's default"
    )
    run_name: str = option("", "name of the run in MLflow; empty: the stage and the data set")
    data: DataConfig = field(default_factory=DataConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    regressor: RegressorConfig = field(default_factory=RegressorConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select and self.protocol == "validation":
            raise InputError(
                "configuration",
                "select",
                "true with protocol=validation",
                "true with protocol=final, whose choices it makes",
            )
