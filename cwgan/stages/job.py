"""What the stages share: the job, its data set, its random numbers, its curves and the names of its files."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cwgan.command_line import to_dict
from cwgan.config import SCORES, Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.scaling import scale
from cwgan.data.sources import load_dataset
from cwgan.data.views import make_validation_view, redivide
from cwgan.gan.checkpoint import (
    Checkpoint,
    History,
    check_same_classes,
    check_same_scaling,
    check_same_split,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from cwgan.gan.savepoints import Savepoints
from cwgan.gan.synthesis import inspect_synthetic
from cwgan.machine import set_up
from cwgan.progress import Terms, show_epochs

PRETRAINED_FILE, GAN_FILE = "pretrained.safetensors", "gan.safetensors"
SYNTHETIC_FILE, CLASSIFIER_FILE = "synthetic.h5", "classifier.safetensors"
RESULTS_FILE = "results.json"
ANSWERS_FILE = "answers.safetensors"  # becomes the model in MLflow
NOT_INHERITED = ("run_name", "description", "experiment", "register", "threads", "device")
"""They belong to one run and its machine."""
Tensors = Mapping[str, Tensor]
Log = Callable[[Terms, int], None]  # takes metrics by name and the epoch they belong to


@dataclass(frozen=True)
class Job:
    """What a stage works with: all parameters, the data set, a folder for its files, a log for its scores.

    With `is_resumed` the folder may hold what an interrupted process left there.
    """

    config: Config
    dataset: GzslDataset
    folder: Path
    log: Log
    is_resumed: bool = False

    def load(self, path: Path, other_split: bool = False, fewer_classes: bool = False) -> Checkpoint:
        """Read a checkpoint; InputError if it was made from other sizes or classes, or another split.

        With `other_split` it need only be of the same scaling. With `fewer_classes` the data set may have
        further classes after those of the checkpoint.
        """
        checkpoint = load_checkpoint(path)
        check_same_classes(path, checkpoint.facts["data"], self.dataset, fewer_classes)
        check = check_same_scaling if other_split else check_same_split
        check(path, checkpoint.facts["data"], self.dataset)
        return checkpoint

    def save(
        self, path: Path, tensors: Tensors, kind: str, epoch: int, history: History | None = None
    ) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, tensors, kind, epoch, to_dict(self.config), self.dataset, history)

    def follow(
        self,
        stage: str,
        curve: Iterable[Terms],
        history: list[Terms],
        tensors: Callable[[], Tensors] | None = None,
    ) -> None:
        """Run a training to its end: show its progress, log its terms as <stage>/<term>, save it where due.

        `stage` is also its section of the configuration, `curve` yields the terms of one epoch after another,
        `tensors` returns what a savepoint holds (none without it). `history` has the terms of the epochs that
        were trained before, which are logged again for whoever lacks them, and receives the others.
        """
        options, done = getattr(self.config, stage), len(history)
        saves = Savepoints(self.folder / "checkpoints", stage, options.save) if tensors else None
        shown = show_epochs(curve, stage, options.epochs, done, list_hidden(self.config))
        for epoch, terms in chain(enumerate(history[:], 1), shown):
            if epoch > done:
                history.append(terms)
            prefix = {name: "" if name.removeprefix("val_") in SCORES else f"{stage}/" for name in terms}
            self.log({prefix[name] + name: value for name, value in terms.items()}, epoch)
            if tensors and saves and saves.is_due(epoch):
                if epoch > done:
                    self.save(saves.path(epoch), tensors(), stage, epoch)
                saves.keep(epoch, terms)


def list_hidden(config: Config) -> set[str]:
    """Return the scores, by logged name, that `metrics` leaves out: never H, and none where it is empty."""
    hidden = {*SCORES} - {*config.metrics, "H"} if config.metrics else set()
    return hidden | {f"val_{name}" for name in hidden}


def pick_logged(metrics: Mapping[str, float], config: Config) -> dict[str, float]:
    """Return metrics by logged name, less the scores that are not wanted."""
    hidden = list_hidden(config)
    return {name: value for name, value in metrics.items() if name not in hidden}


def load_data(config: Config) -> GzslDataset:
    """Set up threads and precision, then read the data set as a run of this configuration works on it."""
    return view_data(config, read_data(config))


def read_data(config: Config) -> GzslDataset:
    """Set up threads and precision, then read the data set as its files hold it, or divided as wanted.

    Under the validation protocol the test rows are never looked at, but by `data.division`.
    """
    set_up(config.threads, config.precision)
    data = config.data
    conceals = config.protocol == "validation" and not data.division
    files = data.path, data.name, data.attributes
    dataset = load_dataset(*files, data.att_type, data.seed, conceals, data.new_classes, data.memory)
    return redivide(dataset, data.division, data.holdout) if data.division else dataset


def view_data(config: Config, dataset: GzslDataset) -> GzslDataset:
    """Return a data set as a run works on it: scaled, and without test rows under the validation protocol."""
    data = config.data
    if config.protocol == "validation":
        dataset = make_validation_view(dataset, data.holdout, data.seed, data.fold)
    return scale(dataset, data.scaling, data.attribute_norm)


def stage_rng(seed: int, stage: str) -> torch.Generator:
    """Return the one source of randomness of a stage: the same for the same seed, whatever ran before."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {stage}".encode()).digest()[:8], "big")
    return torch.Generator().manual_seed(number % 2**63)


def read_config(path: Path) -> dict[str, Any]:
    """Return the nested configuration kept in a checkpoint or synthetic file, less `NOT_INHERITED`; or {}."""
    is_synthetic = path.suffix == ".h5"
    kept = inspect_synthetic(path).read_facts("config") if is_synthetic else read_facts(path)["config"]
    gan = kept.get("gan", {})
    if "legacy_cycle" in gan:  # until 0.1.0
        gan["cycle_error"] = "legacy" if gan.pop("legacy_cycle") else "squared"
    return {key: value for key, value in kept.items() if key not in NOT_INHERITED}
