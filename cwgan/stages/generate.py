"""The generating stage: synthetic rows from trained generators, in a file or in memory."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.files import written_whole
from cwgan.gan.checkpoint import check_same_classes, describe, load_checkpoint
from cwgan.gan.mean_correction import move, predict_means, shifts_to
from cwgan.gan.networks import Generator
from cwgan.gan.snapshots import load_snapshots, synthesize_from
from cwgan.gan.synthesis import (
    generator_fingerprint,
    inspect_synthetic,
    synthesize,
    synthetic_labels,
    write_synthetic,
)
from cwgan.stages.job import SYNTHETIC_FILE, Job, stage_rng


def generate(job: Job, gan_file: Path) -> tuple[Path, Generator]:
    """Generate features with a trained GAN into synthetic.h5, and as X.npy, Y.npy, A.npy if `generate.npy`.

    Returns:
        The file, and the newest of the generators it came from.

    Raises:
        InputError: the GAN was trained on a data set of other sizes or classes.
    """
    config, dataset = job.config, job.dataset
    checkpoint = load_checkpoint(gan_file)
    check_same_classes(gan_file, checkpoint.facts["data"], dataset)
    generators = load_snapshots(checkpoint)
    fingerprint = generator_fingerprint(generators[-1])
    info = {
        "dataset": dataset.name,
        "domain": config.generate.domain,
        "num_features": str(config.generate.counts),
        "architecture": f"generator {fingerprint}, epoch {checkpoint.facts['epoch']}",
        "snapshots": str(len(generators)),
        "seed": str(config.seed),
        "merged": "true" if config.generate.merge else "false",
        "config": json.dumps(to_dict(config)),
        "data": json.dumps(describe(dataset)),
    }
    labels, chunks = make_all_rows(config, dataset, generators)
    real_rows = dataset.trainval if config.generate.merge else dataset.trainval[:0]
    write_synthetic(job.folder / SYNTHETIC_FILE, dataset, labels, chunks, info, real_rows)
    if config.generate.npy:
        _export_npy(job, labels, len(real_rows))
    return job.folder / SYNTHETIC_FILE, generators[-1]


def make_all_rows(
    config: Config, dataset: GzslDataset, generators: Sequence[Generator]
) -> tuple[Int64[Tensor, " rows"], Iterator[Float[Tensor, "chunk features"]]]:
    """Return the labels of all synthetic rows, and the rows by chunks, moved to predicted means if asked for."""
    options = config.generate
    wanted = synthetic_labels(options.domain, options.counts, dataset)

    def make() -> tuple[Int64[Tensor, " rows"], Iterator[Float[Tensor, "chunk features"]]]:
        return synthesize_from(generators, dataset.attributes, wanted, stage_rng(config.seed, "generate"))

    labels, chunks = make()
    if not options.mean_correction:
        return labels, chunks
    features, classes = dataset.features[dataset.trainval], dataset.labels[dataset.trainval]
    means = predict_means(features, classes, dataset.attributes, options.mean_ridge)
    shifts = options.mean_correction * shifts_to(means, labels, make()[1])
    return labels, move(labels, chunks, shifts)


def make_rows(
    config: Config, dataset: GzslDataset, generator: Generator, labels: Int64[Tensor, " rows"], purpose: str
) -> Float[Tensor, "rows features"]:
    """Generate a row per label in memory; a purpose has its own random draws, which disturb no other's."""
    return torch.cat(list(synthesize(generator, dataset.attributes, labels, stage_rng(config.seed, purpose))))


def imagine(job: Job, generator: Generator, samples: int) -> Float[Tensor, "unseen samples features"]:
    """Generate a few rows of every unseen class, for a picture."""
    labels = job.dataset.unseen_classes.repeat_interleave(samples)
    rows = make_rows(job.config, job.dataset, generator, labels, "imagine")
    return rows.reshape(-1, samples, job.dataset.feature_size)


def _export_npy(job: Job, labels: Int64[Tensor, " rows"], skip: int) -> None:
    """Write the synthetic rows of synthetic.h5 as X.npy, Y.npy (1-based) and A.npy, never holding them all."""
    source = inspect_synthetic(job.folder / SYNTHETIC_FILE)
    attributes = job.dataset.attributes[labels].numpy()
    for name, values in (("Y.npy", labels.numpy() + 1), ("A.npy", attributes)):
        with written_whole(job.folder / name) as path, open(path, "wb") as file:
            np.save(file, values)
    shape = (source.rows - skip, source.feature_size)
    with written_whole(job.folder / "X.npy") as path:
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        source.read_features(out, skip)
        out.flush()
