"""What the stages share, and the stages after training, on plain values: configuration, data set, files, metrics.

Each stage writes into the folder it is given and reads what the stage before it wrote. Nothing here knows MLflow.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cwgan import progress
from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset, validation_view
from cwgan.data.scaling import scale
from cwgan.data.sources import load_dataset
from cwgan.errors import InputError
from cwgan.files import written_whole
from cwgan.gan import losses
from cwgan.gan.checkpoint import (
    Savepoints,
    check_same_classes,
    describe,
    load_checkpoint,
    load_classifier,
    module_tensors,
    save_checkpoint,
)
from cwgan.gan.mean_correction import move, predict_means, shifts_to
from cwgan.gan.networks import Generator, SoftmaxClassifier
from cwgan.gan.snapshots import load_snapshots, synthesize_from
from cwgan.gan.supervised import Objective, fit
from cwgan.gan.synthesis import (
    generator_fingerprint,
    inspect_synthetic,
    read_synthetic,
    synthesize,
    synthetic_labels,
    write_synthetic,
)
from cwgan.machine import set_up
from cwgan.scoring.evaluation import Evaluation, evaluate
from cwgan.stages.results import write_results

Log = Callable[[Mapping[str, float], int], None]
"""Takes metrics by name and the epoch they belong to."""

HEADLINE = ("S", "U", "H", "T1")
CALIBRATED = ("AUSUC", "calibrated_S", "calibrated_U", "calibrated_H")
SCORES = (*HEADLINE, *CALIBRATED, "gamma", "leak_seen_to_unseen", "leak_unseen_to_seen")
"""All fractions but gamma."""
GAN_FILE, SYNTHETIC_FILE, CLASSIFIER_FILE = "gan.safetensors", "synthetic.h5", "classifier.safetensors"


def load_data(config: Config) -> GzslDataset:
    """Read the data set, under the validation protocol without a look at the test rows, which are dropped; scale it.

    Threads and precision are set up first.
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
    stage: str,
    curve: Iterable[Mapping[str, float]],
    total: int,
    log: Log,
    saves: Savepoints | None = None,
    save: Callable[[Path, int], None] | None = None,
    done: int = 0,
) -> None:
    """Run a training loop to its end: show its progress, log its terms as <stage>/<term>, save where it is due."""
    for epoch, terms in progress.epochs(curve, stage, total, done):
        log(
            {
                name if name.removeprefix("val_") in SCORES else f"{stage}/{name}": value
                for name, value in terms.items()
            },
            epoch,
        )
        if saves and save and saves.is_due(epoch):
            save(saves.path(epoch), epoch)
            saves.keep(epoch, terms)


def scores_of(result: Evaluation, config: Config) -> dict[str, float]:
    """Return the scores under the names they are logged by: those of `SCORES`, or val_S and so on."""
    prefix = "val_" if config.protocol == "validation" else ""
    return {f"{prefix}{name}": result.scores[name] for name in SCORES if name in result.scores}


def chosen(scores: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return those of the scores, by their logged names, that are of these names."""
    return {name: value for name, value in scores.items() if name.removeprefix("val_") in names}


def worth_showing(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that a person wants to see: the headline and AUSUC, and the calibrated ones where a bias was chosen."""
    is_calibrated = any(chosen(scores, ["gamma"]).values())
    return chosen(scores, HEADLINE + (CALIBRATED if is_calibrated else CALIBRATED[:1]))


def generate(config: Config, dataset: GzslDataset, gan_file: Path, folder: Path) -> tuple[Path, Generator]:
    """Generate features into synthetic.h5.

    Args:
        config: of all stages.
        dataset: gives the attributes, and the real rows where they are merged.
        gan_file: of a trained GAN.
        folder: receives the file, and X.npy, Y.npy, A.npy where `generate.npy` is on.

    Returns:
        The file, and the newest of the generators it came from.
    """
    checkpoint = load_checkpoint(gan_file)
    check_same_classes(gan_file, checkpoint.facts["data"], dataset)
    generators = load_snapshots(checkpoint)
    info = {
        "dataset": dataset.name,
        "domain": config.generate.domain,
        "num_features": str(config.generate.counts),
        "architecture": f"generator {generator_fingerprint(generators[-1])}, epoch {checkpoint.facts['epoch']}",
        "snapshots": str(len(generators)),
        "seed": str(config.seed),
        "merged": "true" if config.generate.merge else "false",
        "config": json.dumps(to_dict(config)),
        "data": json.dumps(describe(dataset)),
    }
    labels, chunks = _make(config, dataset, generators)
    real_rows = dataset.trainval if config.generate.merge else dataset.trainval[:0]
    write_synthetic(folder / SYNTHETIC_FILE, dataset, labels, chunks, info, real_rows)
    if config.generate.npy:
        _export_npy(folder, dataset, labels, len(real_rows))
    return folder / SYNTHETIC_FILE, generators[-1]


def train_classifier(
    config: Config, dataset: GzslDataset, synthetic_file: Path, folder: Path, log: Log
) -> Evaluation:
    """Fit the final classifier on real and synthetic rows, score it, and write classifier, results and predictions."""
    synthetic = inspect_synthetic(synthetic_file)
    if "data" in synthetic.info:
        check_same_classes(synthetic_file, json.loads(synthetic.info["data"]), dataset)
    if synthetic.feature_size != dataset.feature_size:
        raise InputError(
            synthetic_file,
            "train/X",
            f"{synthetic.feature_size} features",
            f"{dataset.feature_size}, as in {dataset.source}",
        )
    merge = config.classifier.operation == "merge"
    if merge and synthetic.is_merged:
        raise InputError(
            "configuration",
            "classifier.operation",
            "merge",
            f"replace: {synthetic_file} holds the real rows already",
        )
    real = dataset.trainval if merge else dataset.trainval[:0]
    features = torch.empty(len(real) + synthetic.rows, dataset.feature_size)
    torch.index_select(dataset.features, 0, real, out=features[: len(real)])
    labels = torch.cat(
        [dataset.labels[real], read_synthetic(synthetic, features[len(real) :], dataset.class_count)]
    )
    classifier = _fit_classifier(config, dataset, features, labels, synthetic_file, log)
    tensors = module_tensors(classifier=classifier)
    save_checkpoint(
        folder / CLASSIFIER_FILE, tensors, "classifier", config.classifier.epochs, to_dict(config), dataset
    )
    return _scored(config, dataset, classifier, folder)


def evaluate_classifier(
    config: Config, dataset: GzslDataset, classifier_file: Path, folder: Path
) -> Evaluation:
    """Score a saved classifier on a data set of the same classes and write results and predictions."""
    checkpoint = load_checkpoint(classifier_file)
    check_same_classes(classifier_file, checkpoint.facts["data"], dataset)
    return _scored(config, dataset, load_classifier(checkpoint, "classifier"), folder)


def score_generator(
    config: Config, dataset: GzslDataset, generators: Sequence[Generator]
) -> dict[str, float]:
    """Synthesize, fit a final classifier and score it, all in memory; the scores by their logged names."""
    made_labels, made = _make(config, dataset, generators)
    replaces = config.classifier.operation == "replace" and not config.generate.merge
    real = dataset.trainval[:0] if replaces else dataset.trainval
    features, labels = (
        torch.cat([dataset.features[real], *made]),
        torch.cat([dataset.labels[real], made_labels]),
    )
    return scores_of(
        _evaluate(config, dataset, _fit_classifier(config, dataset, features, labels, "synthetic rows")),
        config,
    )


def imagine(
    config: Config, dataset: GzslDataset, generator: Generator, samples: int
) -> Float[Tensor, "unseen samples features"]:
    """Generate a few rows of every unseen class, for a picture."""
    labels = dataset.unseen_classes.repeat_interleave(samples)
    return rows_for(config, dataset, generator, labels, "imagine").reshape(-1, samples, dataset.feature_size)


def rows_for(
    config: Config, dataset: GzslDataset, generator: Generator, labels: Int64[Tensor, " rows"], purpose: str
) -> Float[Tensor, "rows features"]:
    """Generate a row per label in memory; a purpose has its own random draws, which disturb no other's."""
    return torch.cat(list(synthesize(generator, dataset.attributes, labels, stage_rng(config.seed, purpose))))


def _make(
    config: Config, dataset: GzslDataset, generators: Sequence[Generator]
) -> tuple[Int64[Tensor, " rows"], Iterator[Float[Tensor, "chunk features"]]]:
    """Make the synthetic rows, chunk by chunk, with their labels; moved towards predicted means where that is asked for."""
    wanted = synthetic_labels(config.generate.domain, config.generate.counts, dataset)
    labels, chunks = synthesize_from(
        generators, dataset.attributes, wanted, stage_rng(config.seed, "generate")
    )
    if not config.generate.mean_correction:
        return labels, chunks
    rows = dataset.trainval
    means = predict_means(
        dataset.features[rows], dataset.labels[rows], dataset.attributes, config.generate.mean_ridge
    )
    _, again = synthesize_from(generators, dataset.attributes, wanted, stage_rng(config.seed, "generate"))
    return labels, move(labels, chunks, config.generate.mean_correction * shifts_to(means, labels, again))


def _fit_classifier(
    config: Config,
    dataset: GzslDataset,
    features: Float[Tensor, "all features"],
    labels: Int64[Tensor, " all"],
    source: object,
    log: Log | None = None,
) -> SoftmaxClassifier:
    """Fit the final classifier on the rows of its domain; without `log`, silently."""
    domains = {
        "openset": torch.arange(dataset.class_count),
        "openval": dataset.seen_classes,
        "zsl": dataset.unseen_classes,
    }
    classes = domains[config.classifier.domain]
    rows = torch.nonzero(torch.isin(labels, classes)).flatten()
    if len(rows) == 0:
        raise InputError(
            source,
            "train/Y",
            "no row of any class to answer",
            f"rows of the domain {config.classifier.domain}",
        )
    rng = stage_rng(config.seed, "classifier")
    classifier = SoftmaxClassifier(dataset.feature_size, classes, rng, config.classifier.relu_logits)
    objective: Objective = losses.classification
    if config.classifier.loss == "logit_adjusted":
        counts = torch.bincount(labels[rows], minlength=dataset.class_count)[classes].clamp(min=1)
        priors = losses.zero_shot_log_priors(
            counts, torch.isin(classes, dataset.unseen_classes), config.classifier.seen_prior
        )
        objective = partial(losses.adjusted_classification, log_priors=priors)
    curve = fit(classifier, objective, features, classifier.targets(labels), rows, config.classifier, rng)
    if log is None:
        deque(curve, maxlen=0)
    else:
        follow("classifier", curve, config.classifier.epochs, log)
    return classifier


def _scored(config: Config, dataset: GzslDataset, classifier: SoftmaxClassifier, folder: Path) -> Evaluation:
    result = _evaluate(config, dataset, classifier)
    write_results(folder, result, scores_of(result, config), config.protocol, dataset)
    return result


def _evaluate(config: Config, dataset: GzslDataset, classifier: SoftmaxClassifier) -> Evaluation:
    """Score a classifier; the bias of the calibrated scores is chosen on validation rows and given for test rows."""
    return evaluate(classifier, dataset, None if config.protocol == "validation" else config.classifier.gamma)


def _export_npy(folder: Path, dataset: GzslDataset, labels: Int64[Tensor, " rows"], skip: int) -> None:
    """Write the synthetic rows of synthetic.h5 as X.npy, Y.npy (1-based) and A.npy, the features without holding them."""
    source = inspect_synthetic(folder / SYNTHETIC_FILE)
    for name, values in (("Y.npy", labels.numpy() + 1), ("A.npy", dataset.attributes[labels].numpy())):
        with written_whole(folder / name) as path, open(path, "wb") as file:
            np.save(file, values)
    with written_whole(folder / "X.npy") as path:
        out = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(source.rows - skip, source.feature_size)
        )
        source.read_features(out, skip)
        out.flush()
