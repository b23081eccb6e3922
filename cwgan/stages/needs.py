"""What a stage needs at least, compared with what the machine has, before the stage starts."""

import sys

from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.gan.training import count_epoch_steps
from cwgan.gan_config import GanConfig
from cwgan.machine import find_device, free_memory

FEW_STEPS = 100  # of the generator; the presets take 300 and more
NUMBER, INDEX = 4, 8  # bytes


def check_gan(config: Config, dataset: GzslDataset) -> None:
    """Refuse a GAN that has no room in memory, and warn of a training that has too few steps to learn.

    Of every weight there are a gradient and two moments, of the generator also the snapshots. A step holds
    features and hidden layers of real and synthetic rows, an epoch the numbers of all rows it draws.
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
    if steps * gan.epochs < FEW_STEPS:
        hint = f"fewer than {FEW_STEPS} rarely learn anything; see gan.epochs, epoch_steps and batch_size"
        print(f"warning: the GAN takes {steps * gan.epochs} generator steps; {hint}", file=sys.stderr)


def check_rows(config: Config, dataset: GzslDataset) -> None:
    """Refuse more synthetic rows than have room in memory, beside real ones, for the final classifier."""
    seen, unseen = len(dataset.seen_classes), len(dataset.unseen_classes)
    sides = {"unseen": [unseen], "seen": [seen], "all": [unseen, seen]}[config.generate.domain]
    made = sum(classes * count for classes, count in zip(sides, config.generate.counts, strict=True))
    size = (made + len(dataset.trainval)) * (NUMBER * dataset.feature_size + 3 * INDEX)
    _check(f"generate.counts {config.generate.counts}", f"{made} synthetic rows", size, free_memory())


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
