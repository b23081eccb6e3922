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
from cwgan.data.matrix import in_chunks, is_large
from cwgan.files import written_whole
from cwgan.gan import synthesis
from cwgan.gan.checkpoint import describe, read_facts
from cwgan.gan.mean_correction import find_shifts, move, plan_spread, predict_means
from cwgan.gan.networks import Generator
from cwgan.gan.shapes import AllFeatures, RowLabels
from cwgan.gan.snapshots import load_snapshots, plan_rows_of
from cwgan.gan.synthesis import Recipe
from cwgan.stages.job import SYNTHETIC_FILE, Job, stage_rng
from cwgan.stages.needs import check_rows


def generate(job: Job, gan_file: Path | None) -> tuple[Path, list[Generator]]:
    """Generate features into synthetic.h5, and into X.npy, Y.npy and A.npy if `generate.npy`.

    The file of the GAN is not needed where `generate.source` is "means". Returns the file and the generators.
    InputError if the GAN is for other sizes or classes; it may lack the last classes of the data set.
    """
    dataset, options, path = job.dataset, job.config.generate, job.folder / SYNTHETIC_FILE
    generators, architecture = load_generators(job, gan_file), "no generator: predicted class means"
    if gan_file:
        weights = b"".join(each.detach().cpu().numpy().tobytes() for each in generators[-1].parameters())
        fingerprint = hashlib.sha256(weights).hexdigest()[:16]
        architecture = f"generator {fingerprint}, epoch {read_facts(gan_file)['epoch']}"
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
    recipe = plan_all_rows(job.config, dataset, generators, job.folder)
    real_rows = dataset.trainval if options.merge else dataset.trainval[:0]
    synthesis.write_synthetic(path, dataset, recipe.labels, recipe.make(), info, real_rows)
    if options.npy:
        _export_npy(job, recipe.labels, len(real_rows))
    return path, generators


def load_generators(job: Job, gan_file: Path | None) -> list[Generator]:
    """Return all generators of a GAN's checkpoint, the newest last; none where there is no checkpoint."""
    return load_snapshots(job.load(gan_file, fewer_classes=True)) if gan_file else []


def plan_all_rows(
    config: Config, dataset: GzslDataset, generators: Sequence[Generator], folder: Path | None = None
) -> Recipe:
    """Return how all synthetic rows are made, and moved to predicted means if wanted.

    There must be room for them, as `check_rows` says: in memory, and on the disk of a folder if one is given.
    More rows than are held in memory are made in a random order: whoever reads on learns all classes at once.
    """
    options, seed = config.generate, stage_rng(config.seed, "generate").initial_seed()
    check_rows(config, dataset, folder)
    wanted = synthesis.synthetic_labels(options.domain, options.counts, dataset)
    if is_large(len(wanted), dataset.feature_size):
        wanted = wanted[torch.randperm(len(wanted), generator=stage_rng(config.seed, "order"))]
    if options.source != "means":
        recipe = Recipe(plan_rows_of(generators, dataset.attributes, wanted), seed)
        if not options.mean_correction:
            return recipe
    real = dataset.features, dataset.labels, dataset.trainval
    means = predict_means(*real, dataset.attributes, options.mean_ridge)
    if options.source == "means":
        return Recipe(plan_spread(*real, means, wanted), seed)
    shifts = options.mean_correction * find_shifts(means, recipe.labels, recipe.make())
    return Recipe(move(recipe.parts, shifts), seed, recipe.states)


def make_rows(job: Job, generator: Generator, labels: RowLabels, purpose: str) -> AllFeatures:
    """Generate a row per label in memory; a purpose has its own random draws, which disturb no other's."""
    rng = stage_rng(job.config.seed, purpose)
    return torch.cat([*synthesis.synthesize(generator, job.dataset.attributes, labels, rng)])


def _export_npy(job: Job, labels: RowLabels, skip: int) -> None:
    """Write the synthetic rows of synthetic.h5 as X.npy, Y.npy (1-based), A.npy, never holding them all."""
    source = synthesis.inspect_synthetic(job.folder / SYNTHETIC_FILE)
    attributes = job.dataset.file_attributes[labels].numpy()
    for name, values in (("Y.npy", labels.numpy() + 1), ("A.npy", attributes)):
        with written_whole(job.folder / name) as path, open(path, "wb") as file:
            np.save(file, values)
    head = {"descr": "<f4", "fortran_order": False, "shape": (source.rows - skip, source.feature_size)}
    with written_whole(job.folder / "X.npy") as path, open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for _, rows in in_chunks(source.find_features(), torch.arange(skip, source.rows)):
            file.write(rows.numpy().data)
