"""Synthetic features from several snapshots of one generator: as it is, and as it was after earlier epochs.

What a GAN takes an unseen class for changes from epoch to epoch. Drawing the rows of each class from several
epochs averages that out, and costs no training.

Source: Huang et al. 2017, Snapshot Ensembles (arXiv 1704.00109); there classifiers' answers are averaged.
"""

from collections.abc import Sequence
from itertools import chain

from cwgan.gan.checkpoint import Checkpoint, load_generator
from cwgan.gan.networks import Generator
from cwgan.gan.shapes import ClassAttributes, RowLabels
from cwgan.gan.synthesis import Part, plan_rows
from cwgan.gan_config import GanConfig


def snapshot_epochs(config: GanConfig, epoch: int) -> list[int]:
    """Return the epochs, ascending, whose generators make the rows at an epoch.

    These are the newest `snapshots` - 1 of the multiples of `snapshot_every` below the epoch, and itself.
    """
    earlier = range(config.snapshot_every, epoch, config.snapshot_every)
    return [*earlier[max(0, len(earlier) - config.snapshots + 1) :], epoch]


def load_snapshots(checkpoint: Checkpoint) -> list[Generator]:
    """Return all generators of a GAN's checkpoint, the newest last; errors as `load_generator`."""
    count = len({key.partition(".")[0] for key in checkpoint.tensors if key.startswith("snapshot")})
    names = [*(f"snapshot{place}" for place in range(count)), "generator"]
    return [load_generator(checkpoint, name) for name in names]


def plan_rows_of(
    generators: Sequence[Generator], attributes: ClassAttributes, labels: RowLabels
) -> list[Part]:
    """Let generators of equal sizes make equal parts of each class's rows, each as `plan_rows` says."""
    shares = [labels[place :: len(generators)] for place in range(len(generators))]
    pairs = zip(generators, shares, strict=True)
    plans = (plan_rows(generator, attributes, share) for generator, share in pairs if len(share))
    return [*chain.from_iterable(plans)]
