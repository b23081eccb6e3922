"""The memory and the disk that a stage needs at least, compared with what there is before it starts."""

import shutil
import sys
from pathlib import Path

from cwgan.config import Config, GanConfig
from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import WINDOW, is_large
from cwgan.errors import InputError, WriteError
from cwgan.gan.snapshots import snapshot_epochs
from cwgan.gan.training import count_epoch_steps
from cwgan.machine import find_device, free_memory

FEW_STEPS = 100  # of the generator; the presets take 300 and more
NUMBER, INDEX = 4, 8  # bytes


def check_gan(config: Config, dataset: GzslDataset, folder: Path | None = None) -> None:
    """Refuse a GAN that has no room in memory or in a folder; warn of a training with too few steps to learn.

    Of every weight there are a gradient and two moments, of the generator also the snapshots. A step holds
    features and hidden layers of real and synthetic rows, an epoch the numbers of all rows it draws. A file
    holds weights and moments, the last one earlier snapshots too. InputError for memory, WriteError for the
    disk.
    """
    gan, rows = config.gan, len(dataset.trainval)
    features, attributes, hidden = dataset.feature_size, dataset.attribute_size, gan.hidden_size
    batch, steps = min(gan.batch_size, rows), count_epoch_steps(gan, rows)
    generator = hidden * (attributes + (gan.noise_size or attributes) + features + 1) + features
    critic = hidden * (features + attributes + 2)
    weights = NUMBER * (4 * (generator + critic) + min(gan.snapshots, gan.epochs) * generator)
    step, draws = 4 * NUMBER * batch * (features + hidden), INDEX * batch * steps * gan.critic_steps
    settings = f"gan.hidden_size {hidden}, gan.noise_size {gan.noise_size}, {steps} steps an epoch"
    _check(settings, "a GAN", weights + step + draws, free_memory(find_device(config.device)))
    if folder:
        files, earlier = _count_files(gan), len(snapshot_epochs(gan, gan.epochs)) - 1
        size = NUMBER * (3 * files * (generator + critic) + earlier * generator)
        check_disk(folder, settings, f"{files} files of a GAN", size)
    if steps * gan.epochs < FEW_STEPS:
        hint = f"fewer than {FEW_STEPS} rarely learn anything; see gan.epochs, epoch_steps and batch_size"
        print(f"warning: the GAN takes {steps * gan.epochs} generator steps; {hint}", file=sys.stderr)


def _count_files(gan: GanConfig) -> int:
    """Return how many files of a GAN lie on disk at least when its training ends: a resume point is left."""
    save = gan.save
    periodic = len({*range(save.start, gan.epochs + 1, save.every)} - {*save.epochs}) if save.every else 0
    return len({*save.epochs}) + min(periodic, save.keep or periodic) + bool(save.resume_every) + 1


def fits_in_file(config: Config, dataset: GzslDataset) -> bool:
    """Return whether synthetic rows are few enough to be written into a file, or are wanted there anyhow."""
    options, row = config.generate, NUMBER * (dataset.feature_size + dataset.attribute_size)
    return options.merge or options.npy or _count_rows(config, dataset) * row <= 1e9 * options.largest_file


def check_rows(config: Config, dataset: GzslDataset, folder: Path | None = None) -> None:
    """Refuse more synthetic rows than have room: on the disk of a folder, if one is given, and in memory.

    Few rows are in memory beside real ones, and twice while they are joined. Of many only a window is.
    InputError for memory, WriteError for the disk.
    """
    options, real, made = config.generate, len(dataset.trainval), _count_rows(config, dataset)
    settings, what = f"generate.counts {options.counts}", f"{made} synthetic rows"
    if folder:
        row = NUMBER * (dataset.feature_size + dataset.attribute_size) + INDEX
        check_disk(folder, settings, what, (made * (1 + options.npy) + real * options.merge) * row)
    rows = WINDOW if is_large(made + real, dataset.feature_size) else 2 * made + real
    _check(settings, what, 3 * INDEX * made + NUMBER * dataset.feature_size * rows, free_memory())


def _count_rows(config: Config, dataset: GzslDataset) -> int:
    seen, unseen = len(dataset.seen_classes), len(dataset.unseen_classes)
    sides = {"unseen": [unseen], "seen": [seen], "all": [unseen, seen]}[config.generate.domain]
    return sum(classes * count for classes, count in zip(sides, config.generate.counts, strict=True))


def check_disk(folder: Path, settings: str, what: str, needed: int) -> None:
    """Refuse what has no room on the disk of a folder."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.is_dir())).free
    if needed > free:
        found = f"{what} of at least {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free"
        raise WriteError(f"{folder}: no room on the disk for {found} ({settings})")


def check_shares(gan: GanConfig, rows: int, processes: int) -> None:
    """Refuse batches that several processes cannot divide, and a term that is no mean over a batch.

    `rows` is how many the GAN learns from.
    """
    size = min(gan.batch_size, rows)
    for batch in (size, rows % size if gan.epoch_steps < 0 else 0):
        if batch % processes:
            allowed = f"what the {processes} processes can divide: gan.batch_size is shared by all"
            raise InputError("configuration", "gan.batch_size", f"a batch of {batch} rows", allowed)
    if processes > 1 and gan.cycle_error == "legacy" and (gan.cycle_weight or gan.unseen_cycle_weight):
        allowed = "relative or squared with several processes, as legacy is no mean over rows"
        raise InputError("configuration", "gan.cycle_error", "legacy", allowed)


def _check(settings: str, what: str, needed: int, free: int) -> None:
    if needed > free:
        found = f"{what} of at least {needed / 1e9:.3g} GB of memory"
        raise InputError("configuration", settings, found, f"at most the {free / 1e9:.3g} GB that are free")
