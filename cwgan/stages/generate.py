"""The generating stage: synthetic rows from trained generators, in a file or in memory."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.files import written_whole
from cwgan.gan import synthesis
from cwgan.gan.checkpoint import describe
from cwgan.gan.mean_correction import find_shifts, move, predict_means, transfer_spread
from cwgan.gan.networks import Generator
from cwgan.gan.shapes import AllFeatures, Chunks, RowLabels
from cwgan.gan.snapshots import load_snapshots, synthesize_from
from cwgan.stages.job import SYNTHETIC_FILE, Job, stage_rng
from cwgan.stages.needs import check_rows


def generate(job: Job, gan_file: Path | None) -> tuple[Path, list[Generator]]:
    """Generate features into synthetic.h5, and into X.npy, Y.npy and A.npy if `generate.npy`.

    The file of the GAN is not needed where `generate.source` is "means". Returns the file and the generators.
    InputError if the GAN is for other sizes or classes; it may lack the last classes of the data set.
    """
    dataset, options, path = job.dataset, job.config.generate, job.folder / SYNTHETIC_FILE
    generators, architecture = list[Generator](), "no generator: predicted class means"
    if gan_file:
        checkpoint = job.load(gan_file, fewer_classes=True)
        generators = load_snapshots(checkpoint)
        weights = b"".join(each.detach().cpu().numpy().tobytes() for each in generators[-1].parameters())
        fingerprint = hashlib.sha256(weights).hexdigest()[:16]
        architecture = f"generator {fingerprint}, epoch {checkpoint.facts['epoch']}"
    info = {
        "dataset": dataset.name,
        "domain": options.domain,
        "num_features": str(options.counts),
        "architecture": architecture,
        "snapshots": str(len(generators)),
        "seed": str(job.config.seed),
        "merged": "true" if options.merge else "false",
        "config": json.dumps(to_dict(job.config)),
        "data": json.dumps(describe(dataset)),
    }
    check_rows(job.config, dataset, job.folder)
    labels, chunks = make_all_rows(job.config, dataset, generators)
    real_rows = dataset.trainval if options.merge else dataset.trainval[:0]
    synthesis.write_synthetic(path, dataset, labels, chunks, info, real_rows)
    if options.npy:
        _export_npy(job, labels, len(real_rows))
    return path, generators


def make_all_rows(
    config: Config, dataset: GzslDataset, generators: Sequence[Generator]
) -> tuple[RowLabels, Chunks]:
    """Return the labels of all synthetic rows, and the rows by chunks, moved to predicted means if wanted."""
    options = config.generate
    wanted = synthesis.synthetic_labels(options.domain, options.counts, dataset)

    def make() -> tuple[RowLabels, Chunks]:
        return synthesize_from(generators, dataset.attributes, wanted, stage_rng(config.seed, "generate"))

    if options.source != "means" and not options.mean_correction:
        return make()
    real = dataset.features[dataset.trainval], dataset.labels[dataset.trainval]
    means = predict_means(*real, dataset.attributes, options.mean_ridge)
    if options.source == "means":
        return wanted, transfer_spread(*real, means, wanted, stage_rng(config.seed, "generate"))
    labels, chunks = make()
    shifts = options.mean_correction * find_shifts(means, labels, make()[1])
    return labels, move(labels, chunks, shifts)


def make_rows(job: Job, generator: Generator, labels: RowLabels, purpose: str) -> AllFeatures:
    """Generate a row per label in memory; a purpose has its own random draws, which disturb no other's."""
    rng = stage_rng(job.config.seed, purpose)
    return torch.cat([*synthesis.synthesize(generator, job.dataset.attributes, labels, rng)])


def _export_npy(job: Job, labels: RowLabels, skip: int) -> None:
    """Write the synthetic rows of synthetic.h5 as X.npy, Y.npy (1-based), A.npy, never holding them all."""
    source = synthesis.inspect_synthetic(job.folder / SYNTHETIC_FILE)
    attributes = job.dataset.attributes[labels].numpy()
    for name, values in (("Y.npy", labels.numpy() + 1), ("A.npy", attributes)):
        with written_whole(job.folder / name) as path, open(path, "wb") as file:
            np.save(file, values)
    head = {"descr": "<f4", "fortran_order": False, "shape": (source.rows - skip, source.feature_size)}
    with written_whole(job.folder / "X.npy") as path, open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for start in range(skip, source.rows, synthesis.CHUNK):
            part = np.empty((min(synthesis.CHUNK, source.rows - start), source.feature_size), np.float32)
            source.read_features(part, start)
            file.write(part.data)
