"""Every parameter of every stage, declared once: default, type, range, unit and meaning.

YAML layers and command-line flags (`cwgan.command_line`) override these defaults.
"""

import difflib
import re
from dataclasses import dataclass, field
from typing import Literal

from cwgan.errors import InputError
from cwgan.gan_config import FitConfig, GanConfig, MonitorConfig, RegressorConfig, SoftmaxConfig
from cwgan.options import Section, option
from cwgan.photo_config import DescribeConfig, ExtractConfig

BUILT_IN = "numbers"  # the data set that needs no files
LARGEST = 2**63 - 1  # that PyTorch takes as a seed
HEADLINE = ("S", "U", "H", "T1")
RAW = ("raw_S", "raw_U", "raw_H")  # with a bias of 0
HITS = ("hit_at_1", "hit_at_2", "hit_at_5", "hit_at_10", "hit_at_20")
HIT_SCORES = (*HITS, "T2", "T5", "T10", "T20")  # where there are very many unseen classes
SCORES = (*HEADLINE, "AUSUC", *RAW, "gamma", "leak_seen_to_unseen", "leak_unseen_to_seen", *HIT_SCORES)
"""All are fractions but gamma. Those of validation classes are logged with the prefix val_."""


@dataclass(frozen=True)
class DataConfig(Section, section="data."):
    """The data set and how it is read."""

    path: str = option(BUILT_IN, "'numbers' (built in), a folder of xlsa17 or HDF5 files, or a merged file")
    name: str = option("", "name shown in MLflow; empty: the folder's name")
    attributes: str = option("", ".npy file (classes x attributes) that replaces the data set's attributes")
    new_classes: str = option("", "CSV file of further classes without rows: name, attributes, ...")
    att_type: Literal["continuous", "binary"] = option("continuous", "binary: 1 from the mean up, 0 below")
    memory: Literal["auto", "ram", "disk"] = option(
        "auto", "where features of an HDF5 pair stay; auto: on disk from 2 GB on if they lie in one piece"
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
class GenerateConfig(Section, section="generate."):
    """The synthetic features."""

    domain: Literal["unseen", "seen", "all", "openset"] = option("unseen", "of which classes; openset: all")
    counts: list[int] = option([300], "for each class; of all: [unseen, seen]", unit="rows", at_least=1)
    source: Literal["gan", "means", "auto"] = option(
        "auto", "means: predicted means with the spread of seen rows, no GAN; auto: select takes the better"
    )
    mean_correction: float = option(
        1.0, "share of the way to its ridge-regression mean that each class is moved", at_least=0, at_most=1
    )
    mean_ridge: float = option(0.0, "that regression's penalty; 0: best on left-out classes", at_least=0)
    merge: bool = option(False, "also write the real training rows into the file, before the synthetic ones")
    largest_file: float = option(
        16.0, "main: rows beyond that are made when read (not with merge, npy)", unit="GB", at_least=0
    )
    npy: bool = option(False, "also write X.npy, Y.npy and A.npy (synthetic rows only)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.domain == "openset":  # the original's word, with one count for both sides
            vars(self).update(domain="all", counts=self.counts * (2 if len(self.counts) == 1 else 1))
        if len(self.counts) != (wanted := 2 if self.domain == "all" else 1):
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
    holdout: float = option(0.0, "share of the training rows kept to measure it", at_least=0, below=1)
    operation: Literal["merge", "replace"] = option("merge", "real and synthetic rows, or synthetic only")
    domain: Literal["openset", "openval", "zsl"] = option("openset", "classes to answer: all, seen, unseen")
    loss: Literal["softmax", "logit_adjusted"] = option(
        "logit_adjusted", "cross-entropy; logit_adjusted: of logits plus log class priors (Chen et al. 2022)"
    )
    seen_prior: float = option(1.0, "logit_adjusted: prior odds of a seen against an unseen class", above=0)
    gamma: float = option(0.0, "bias taken from seen logits before the answer", at_least=-1e6, at_most=1e6)
    store_scores: bool = option(False, "predictions.h5 also holds the probability of every answer")


@dataclass(frozen=True)
class SweepConfig(Section, section="sweep."):
    """The search for the best setting on validation classes."""

    trials: int = option(20, "settings that the whole study tries, pruned ones included", at_least=1)
    space: str = option("sweep", "what is searched: a file in configs/spaces/, or a YAML file")
    seeds: list[int] = option(
        [], "try every setting with each and take the mean; empty: `seed`", at_least=0, once=True
    )
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
    seeds: list[int] = option(
        [],
        "run once per seed and average; empty: `seed`",
        at_least=0,
        once=True,
        only=("main", "ablation", "sweep"),
    )
    variants: list[str] = option(
        [],
        "layers side by side, the first to compare with; 'defaults': none; empty: loss variants",
        once=True,
        only=("ablation",),
    )
    divisions: list[int] = option(
        [],
        "the values of data.division, as [0,1,2]",
        at_least=0,
        at_most=LARGEST,
        once=True,
        only=("ablation",),
    )
    select: bool = option(True, "main, ablation: choose epoch and gamma on validation classes first")
    folds: int = option(3, "select: draws of validation classes to average over", at_least=1, at_most=1000)
    threads: int = option(
        0, "CPU threads; 0: one per core; take 1 for several runs at once", at_least=0, at_most=1024
    )
    precision: Literal["float32", "bfloat16"] = option("float32", "operands of matrix products, nothing else")
    device: str = option(
        "auto", "where the GAN is trained: cpu, cuda, cuda:1 and so on; auto: on a GPU if any"
    )
    feature_map: Literal["pca", "tsne"] = option(
        "pca", "how feature_map.png lays rows out; tsne (scikit-learn) takes seconds more"
    )
    register: str = option("", "main, train_cls, add_classes: register the model by this name; empty: no")
    experiment: str = option("", "MLflow experiment, without `mlflow run`; empty: MLflow's default")
    run_name: str = option("", "name of the run in MLflow; empty: the stage and the data set")
    description: str = option("", "note on the run's page in MLflow, and its tag `description`")
    metrics: list[str] = option([], "scores that are logged and printed, H always; empty: all")
    data: DataConfig = field(default_factory=DataConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    regressor: RegressorConfig = field(default_factory=RegressorConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    describe: DescribeConfig = field(default_factory=DescribeConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            allowed = "auto, cpu, cuda, or one of several GPUs, as cuda:1"
            raise InputError("configuration", "device", repr(self.device), allowed)
        for name in [name for name in self.metrics if name not in SCORES]:
            (close,) = difflib.get_close_matches(name, SCORES, 1, cutoff=0)
            raise InputError("configuration", "metrics", repr(name), f"{', '.join(SCORES)}; nearest: {close}")
