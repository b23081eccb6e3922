"""What the stages share: the job, its data set, its random numbers, its curves and the names of its files."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cwgan import progress
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset, validation_view
from cwgan.data.scaling import scale
from cwgan.data.sources import load_dataset
from cwgan.errors import InputError
from cwgan.gan.checkpoint import read_facts
from cwgan.gan.savepoints import Savepoints
from cwgan.gan.synthesis import inspect_synthetic
from cwgan.machine import set_up

Log = Callable[[Mapping[str, float], int], None]
"""Takes metrics by name and the epoch they belong to."""

PRETRAINED_FILE, GAN_FILE = "pretrained.safetensors", "gan.safetensors"
SYNTHETIC_FILE, CLASSIFIER_FILE = "synthetic.h5", "classifier.safetensors"
HEADLINE = ("S", "U", "H", "T1")
CALIBRATED = ("AUSUC", "calibrated_S", "calibrated_U", "calibrated_H")
SCORES = (*HEADLINE, *CALIBRATED, "gamma", "leak_seen_to_unseen", "leak_unseen_to_seen")
"""All are fractions but gamma. Those of validation classes are logged with the prefix val_."""

NOT_INHERITED = ("run_name", "experiment", "threads", "device")
"""Parameters that belong to one run and its machine alone."""


@dataclass(frozen=True)
class Job:
    """What a stage works with.

    Args:
        config: the parameters of all stages.
        dataset: as `load_data` returns it.
        folder: receives the stage's files.
        log: takes its curves and scores.
    """

    config: Config
    dataset: GzslDataset
    folder: Path
    log: Log


def load_data(config: Config) -> GzslDataset:
    """Set up threads and precision, then read the data set and scale it.

    Under the validation protocol the test rows are never looked at, and dropped.
    """
    set_up(config.threads, config.precision)
    data, is_validation = config.data, config.protocol == "validation"
    dataset = load_dataset(
        data.path, data.name, data.attributes, data.att_type, data.seed, conceal_test=is_validation
    )
    if is_validation:
        dataset = validation_view(dataset, data.holdout, data.seed)
    return scale(dataset, data.scaling, data.attribute_norm)


def stage_rng(seed: int, stage: str) -> torch.Generator:
    """Return the one source of randomness of a stage: the same for the same seed, whatever ran before."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {stage}".encode()).digest()[:8], "big")
    return torch.Generator().manual_seed(number % 2**63)


def follow(
    job: Job, stage: str, curve: Iterable[Mapping[str, float]],
    save: Callable[[Path, int], None] | None = None, done: int = 0,
) -> None:  # fmt: skip
    """Run a training to its end: show its progress, log its terms as <stage>/<term>, save it where due.

    Args:
        job: gives the stage's parameters, the log, and the folder of the savepoints.
        stage: its name, which is that of its section of the configuration.
        curve: yields the terms of one epoch after another.
        save: writes the stage, as it is after an epoch, to a file; without it nothing is saved.
        done: epochs trained before.
    """
    options = getattr(job.config, stage)
    saves = Savepoints(job.folder / "checkpoints", stage, options.save) if save else None
    for epoch, terms in progress.epochs(curve, stage, options.epochs, done):
        is_score = {name: name.removeprefix("val_") in SCORES for name in terms}
        job.log({name if is_score[name] else f"{stage}/{name}": terms[name] for name in terms}, epoch)
        if save and saves and saves.is_due(epoch):
            save(saves.path(epoch), epoch)
            saves.keep(epoch, terms)


def read_config(path: Path) -> dict[str, Any]:
    """Return the nested configuration kept in a checkpoint or synthetic file, less `NOT_INHERITED`; or {}."""
    if path.suffix != ".h5":
        kept = read_facts(path).get("config", {})
    else:
        text = inspect_synthetic(path).info.get("config", "{}")
        try:
            kept = json.loads(text)
        except ValueError:
            allowed = "the configuration as written by this program"
            raise InputError(path, "info/config", repr(text[:60]), allowed) from None
    return {key: value for key, value in kept.items() if key not in NOT_INHERITED}
