"""Every parameter of every stage, declared once: default, type, range, unit and meaning.

YAML layers and command-line flags (`cwgan.command_line`) override these defaults.
"""

from dataclasses import dataclass, field
from typing import Literal

from cwgan.errors import InputError
from cwgan.options import Section, option
from cwgan.photo_config import DescribeConfig, ExtractConfig

BUILT_IN = "numbers"  # the data set that needs no files
LARGEST = 2**63 - 1  # that PyTorch takes as a seed


@dataclass(frozen=True)
class DataConfig(Section, section="data."):
    """The data set and how it is read."""

    path: str = option(BUILT_IN, "'numbers' (built in), or a folder in the xlsa17 or the HDF5 layout")
    name: str = option("", "name shown in MLflow; empty: the folder's name")
    attributes: str = option("", ".npy file (classes x attributes) that replaces the data set's attributes")
    new_classes: str = option("", "CSV file of further classes without rows: name, attributes, ...")
    att_type: Literal["continuous", "binary"] = option("continuous", "binary: 1 from the mean up, 0 below")
    memory: Literal["auto", "ram", "disk"] = option(
        "auto", "where features stay that an HDF5 file holds; auto: on disk from 2 GB on"
    )
    scaling: Literal["auto", "overall", "per_feature", "none", "min_max", "unit_norm"] = option(
        "auto", "to a deviation of 1 over training rows, of all features or of each (auto: select takes the "
        "better, else overall); min_max: each feature to 0..1; unit_norm: each row to norm 1"
    )  # fmt: skip
    attribute_norm: float = option(4.0, "centre attributes, scale to this RMS norm; 0: no", at_least=0)
    holdout: float = option(0.2, "validation, division: share of seen rows that score S", above=0, below=1)
    fold: int = option(
        0, "validation classes: 0: the files' own; else this draw of seen ones", at_least=0, at_most=LARGEST
    )
    division: int = option(0, "unseen: 0: the files' own; else this draw", at_least=0, at_most=LARGEST)
    seed: int = option(0, "seed of the built-in data and validation split", at_least=0, at_most=LARGEST)
    other_split: bool = option(False, "evaluate: accept a classifier that learnt from another split")


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


@dataclass(frozen=True)
class PretrainConfig(FitConfig):
    """A network that is fitted on real seen features and frozen before the GAN is trained."""

    train: bool = option(True, "fit it here; false: take it from the checkpoint named by --pretrained")
    holdout: float = option(0.1, "share of the training rows kept to measure it", at_least=0, below=1)
    save: SaveConfig = field(default_factory=SaveConfig)


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
    epoch_steps: int = option(25, "generator steps; 0: rows / batch_size", unit="steps", at_least=0)
    batch_size: int = option(64, "rows per step", unit="rows", at_least=1)
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


@dataclass(frozen=True)
class GenerateConfig(Section, section="generate."):
    """The synthetic features."""

    domain: Literal["unseen", "seen", "all"] = option("unseen", "classes that features are generated for")
    counts: list[int] = option([300], "for each class; domain 'all': [unseen, seen]", unit="rows", at_least=1)
    source: Literal["gan", "means", "auto"] = option(
        "auto", "means: predicted means with the spread of seen rows, no GAN; auto: select takes the better"
    )
    mean_correction: float = option(
        1.0, "share of the way to its ridge-regression mean that each class is moved", at_least=0, at_most=1
    )
    mean_ridge: float = option(
        0.0, "penalty of that regression on cosines of attributes; 0: best on left-out classes", at_least=0
    )
    merge: bool = option(False, "also write the real training rows into the file, before the synthetic ones")
    npy: bool = option(False, "also write X.npy, Y.npy and A.npy (synthetic rows only)")

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = 2 if self.domain == "all" else 1
        if len(self.counts) != wanted:
            allowed = f"{wanted} number(s) for domain '{self.domain}'"
            raise InputError("configuration", "generate.counts", self.counts, allowed)


@dataclass(frozen=True)
class ClassifierConfig(SoftmaxConfig, FitConfig, section="classifier."):
    """The final classifier."""

    method: Literal["softmax", "eszsl"] = option(
        "softmax", "eszsl: in closed form from real rows alone, its penalties chosen on seen classes"
    )
    epochs: int = option(
        0, "passes over the training rows; 0: select takes the best of several, else 20", at_least=0
    )
    batch_size: int = option(512, "rows per step", unit="rows", at_least=1)
    lr: float = option(1e-3, "Adam's learning rate in the first epoch", above=0)
    beta1: float = option(0.5, "Adam's decay of the first moment", at_least=0, below=1)
    weight_decay: float = option(1e-3, "weight of half the squared norm of the weight matrix", at_least=0)
    operation: Literal["merge", "replace"] = option("merge", "real and synthetic rows, or synthetic only")
    domain: Literal["openset", "openval", "zsl"] = option("openset", "classes to answer: all, seen, unseen")
    loss: Literal["softmax", "logit_adjusted"] = option(
        "logit_adjusted", "cross-entropy; logit_adjusted: of logits plus log class priors (Chen et al. 2022)"
    )
    seen_prior: float = option(1.0, "logit_adjusted: prior odds of a seen against an unseen class", above=0)
    gamma: float = option(0.0, "bias taken from seen logits before the answer", at_least=-1e6, at_most=1e6)


@dataclass(frozen=True)
class SweepConfig(Section, section="sweep."):
    """The search for the best setting on validation classes."""

    trials: int = option(20, "settings that the whole study tries, pruned ones included", at_least=1)
    space: str = option("sweep", "what is searched: a file in configs/spaces/, or a YAML file")
    seeds: list[int] = option([], "try every setting with each and take the mean; empty: `seed`", at_least=0)
    objective: Literal["H", "raw_H"] = option("H", "score on validation classes that is maximized")
    value: Literal["best", "last"] = option("best", "which scored epoch gives a setting's value")
    pruner: Literal["percentile", "median", "hyperband", "none"] = option(
        "percentile", "how poor settings are given up early; percentile: the worst tenth, others are bolder"
    )
    trials_per_gan: int = option(4, "settings per trained GAN; they differ in later stages only", at_least=1)
    workers: int = option(1, "processes here; several: a thread each, or `threads`", at_least=1, at_most=1000)
    study: str = option("", "name of the study; empty: data set and hash of all that affects the results")
    storage: str = option("", "Optuna's database, as postgresql+psycopg://user@host/name; empty: optuna.db")
    folder: str = option("", "for optuna.db and GANs; empty: sweeps/ beside MLflow's SQLite file, or here")
    heartbeat: int = option(15, "a worker silent for 6 of these loses its trial", unit="s", at_least=1)
    final: bool = option(False, "then compare best and preset under the final protocol, over `seeds`")


@dataclass(frozen=True)
class Config(Section):
    """All parameters of all stages."""

    seed: int = option(0, "seed of every random choice but those of data.seed", at_least=0)
    protocol: Literal["final", "validation"] = option(
        "final",
        "train on trainval, score test rows; validation: hold out validation classes, see no test row",
    )
    seeds: list[int] = option([], "main, ablation: run once per seed and average; empty: `seed`", at_least=0)
    variants: list[str] = option(
        [], "ablation: layers side by side, the first to compare with; 'defaults': none; empty: loss variants"
    )
    divisions: list[int] = option(
        [], "ablation: the values of data.division, as [0,1,2]", at_least=0, at_most=LARGEST
    )
    select: bool = option(True, "main, ablation: choose epoch and gamma on validation classes first")
    folds: int = option(3, "select: draws of validation classes to average over", at_least=1, at_most=1000)
    threads: int = option(
        0, "CPU threads; 0: one per core; take 1 for several runs at once", at_least=0, at_most=1024
    )
    precision: Literal["float32", "bfloat16"] = option("float32", "operands of matrix products, nothing else")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where the GAN is trained; auto: on a GPU if any")
    feature_map: Literal["pca", "tsne"] = option(
        "pca", "how feature_map.png lays rows out; tsne (scikit-learn) takes seconds more"
    )
    register: str = option("", "main, train_cls, add_classes: register the model by this name; empty: no")
    experiment: str = option("", "MLflow experiment, without `mlflow run`; empty: MLflow's default")
    run_name: str = option("", "name of the run in MLflow; empty: the stage and the data set")
    data: DataConfig = field(default_factory=DataConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    regressor: RegressorConfig = field(default_factory=RegressorConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    describe: DescribeConfig = field(default_factory=DescribeConfig)
