"""Synthetic features from several snapshots of one generator: as it is, and as it was at earlier epochs.

A GAN does not come to rest: from epoch to epoch its idea of a class it never saw moves about. Drawing each class's
rows from several epochs averages that out, and costs no training.

Source: snapshots of one training as an ensemble: Huang et al. 2017, Snapshot Ensembles (arXiv 1704.00109); there of
classifiers whose answers are averaged, here of generators whose rows one classifier is trained on.
"""

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.gan.checkpoint import Checkpoint, load_generator, module_tensors
from cwgan.gan.networks import Generator
from cwgan.gan.synthesis import synthesize


class Snapshots:
    """The earlier generators, oldest first, as copies on the CPU.

    Args:
        count: how many with the present one, at least 1; with 1 there are no copies.
    """

    def __init__(self, count: int) -> None:
        self.earlier: deque[Generator] = deque(maxlen=count - 1)

    def add(self, generator: Generator) -> None:
        """Keep a copy of the generator as it is, before its next epoch; the oldest leaves."""
        if self.earlier.maxlen:
            self.earlier.append(copy.deepcopy(generator).cpu())

    def tensors(self) -> dict[str, Tensor]:
        """Return the earlier generators for a checkpoint, beside which the newest is kept as `generator`."""
        return module_tensors(
            **{f"snapshot{place}": generator for place, generator in enumerate(self.earlier)}
        )


def load_snapshots(checkpoint: Checkpoint) -> list[Generator]:
    """Return all generators of a GAN's checkpoint, the newest last; errors as `load_generator`."""
    earlier = {key.partition(".")[0] for key in checkpoint.tensors if key.startswith("snapshot")}
    return [load_generator(checkpoint, f"snapshot{place}") for place in range(len(earlier))] + [
        load_generator(checkpoint)
    ]


def synthesize_from(
    generators: Sequence[Generator],
    attributes: Float32[Tensor, "classes attributes"],
    labels: Int64[Tensor, " rows"],
    rng: torch.Generator,
) -> tuple[Int64[Tensor, " rows"], Iterator[Float32[Tensor, "chunk features"]]]:
    """Share the rows of every class out among generators.

    Args:
        generators: of equal sizes.
        attributes, labels, rng: as for `synthesize`.

    Returns:
        The labels in the order of the rows made, and the rows, chunk by chunk; with one generator as `synthesize`.
    """
    shares = [labels[place :: len(generators)] for place in range(len(generators))]
    pairs = zip(generators, shares, strict=True)
    return torch.cat(shares), chain.from_iterable(
        synthesize(generator, attributes, share, rng) for generator, share in pairs if len(share)
    )
