"""The last two stages: fit the final classifier on real and synthetic rows, and score it."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cwgan.command_line import override
from cwgan.config import HEADLINE, HITS, RAW, SCORES, Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import Matrix, View, is_large, join
from cwgan.data.views import hold_out
from cwgan.errors import InputError
from cwgan.gan import losses
from cwgan.gan.checkpoint import check_same_classes, check_same_split, load_classifier, module_tensors
from cwgan.gan.networks import Generator, SoftmaxClassifier
from cwgan.gan.shapes import AllTargets
from cwgan.gan.supervised import Objective, fit
from cwgan.gan.synthesis import hold, inspect_synthetic, read_synthetic
from cwgan.scoring.evaluation import Evaluation, evaluate
from cwgan.stages.answers import write_answers
from cwgan.stages.eszsl import fit_eszsl
from cwgan.stages.generate import load_generators, plan_all_rows
from cwgan.stages.job import CLASSIFIER_FILE, Job, pick_logged, stage_rng
from cwgan.stages.results import write_results
from cwgan.stages.saves import check_saves

EPOCHS = 20  # where none are given and none were chosen
MAP_CLASSES, MAP_ROWS = 6, 100


@dataclass(frozen=True)
class MapRows:
    """Rows of one unseen class, real and synthetic, scaled as the classifier sees them."""

    name: str
    real: Float[Tensor, "real features"]
    made: Float[Tensor, "made features"]


def train_classifier(job: Job, synthetic_file: Path | None, gan_file: Path | None = None) -> Evaluation:
    """Fit the final classifier on real and synthetic rows, score it, and write it, results and predictions.

    Without a synthetic file rows are made as they are read: by a GAN or, without one, from predicted means.
    Under the final protocol it also writes what the model for users knows.
    InputError if the file is of other sizes, classes or split, or cannot be used as the configuration wants.
    """
    check_saves(job.config)
    job = replace(job, config=_fix_epochs(job.config))
    features, labels = _read_rows(job, synthetic_file, gan_file)
    classifier, curve = _begin_fit(job.config, job.dataset, features, labels, synthetic_file)
    tensors = partial(module_tensors, classifier=classifier)
    job.follow("classifier", curve, [], tensors)
    job.save(job.folder / CLASSIFIER_FILE, tensors(), "classifier", job.config.classifier.epochs)
    if job.config.protocol == "final":
        write_answers(job, classifier, features, labels)
    return _score(job, classifier)


def evaluate_classifier(job: Job, classifier_file: Path) -> Evaluation:
    """Score a saved classifier on a data set of the same classes, and write results and predictions.

    InputError if the data set has other classes, another split without `data.other_split`, or another scaling
    there; or if the classifier answers a part of the seen classes and a part of the unseen ones.
    """
    checkpoint = job.load(classifier_file, job.config.data.other_split)
    classifier, dataset = load_classifier(checkpoint, "classifier"), job.dataset
    sides = dataset.seen_classes, dataset.unseen_classes
    if not any(torch.isin(side, classifier.classes).all() for side in sides):
        found = f"{len(classifier.classes)} of {dataset.class_count} classes, of both sides of this split"
        raise InputError(classifier_file, "classes", found, "all classes, or all of one side")
    return _score(job, classifier)


def read_map_rows(job: Job, synthetic_file: Path) -> list[MapRows]:
    """Return real test rows and synthetic rows of a few unseen classes, to be looked at once all is scored.

    The classes lie evenly spaced, by number, among those with test rows; no score has a say in it. Of each
    the first rows are taken, at most `MAP_ROWS` real and as many synthetic ones.
    """
    dataset, synthetic, found = job.dataset, inspect_synthetic(synthetic_file), list[MapRows]()
    made, made_labels = synthetic.find_features(), synthetic.read_labels(dataset.class_count)
    labels = dataset.labels[dataset.test_unseen]
    classes = labels.unique().tolist()
    for place in range(min(MAP_CLASSES, len(classes))):
        label = classes[place * len(classes) // min(MAP_CLASSES, len(classes))]
        rows = torch.nonzero(made_labels == label).flatten()[:MAP_ROWS]
        real = dataset.features[dataset.test_unseen[labels == label][:MAP_ROWS]]
        found.append(MapRows(dataset.class_names[label], real, View(made, rows, divisor=dataset.divisor)[:]))
    return [each for each in found if len(each.made)]


def score_generators(config: Config, dataset: GzslDataset, generators: list[Generator]) -> dict[str, float]:
    """Synthesize, fit a final classifier and score it, all in memory; return scores by their logged names."""
    config = _fix_epochs(config)
    features, labels = _make_rows(config, dataset, generators)
    classifier, curve = _begin_fit(config, dataset, features, labels, "synthetic rows")
    deque(curve, maxlen=0)
    return scores_of(_evaluate(config, dataset, classifier), config)


def scores_of(result: Evaluation, config: Config) -> dict[str, float]:
    """Return the scores under the names they are logged by: those of `SCORES`, or val_S and so on."""
    prefix = "val_" if config.protocol == "validation" else ""
    return {f"{prefix}{name}": result.scores[name] for name in SCORES if name in result.scores}


def drop_raw(scores: Mapping[str, float]) -> dict[str, float]:
    """Return scores by logged name, less those with a bias of 0 where that is the bias anyhow."""
    dropped = () if scores.get("gamma", 1) else (*RAW, "gamma")
    return {name: value for name, value in scores.items() if name not in dropped}


def pick(scores: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return those scores, by their logged names, that are named."""
    return {name: value for name, value in scores.items() if name.removeprefix("val_") in names}


def pick_headline(scores: Mapping[str, float], config: Config) -> dict[str, float]:
    """Return what a person wants to see: `metrics`, or S, U, H, T1, AUSUC, raw H with a bias, and hits."""
    has_bias = any(pick(scores, ["gamma"]).values())
    shown = (*HEADLINE, "AUSUC", *["raw_H"] * has_bias, *HITS)
    wanted = [name for name in SCORES if name != "gamma"] if config.metrics else shown
    return pick(pick_logged(scores, config), wanted)


def _fix_epochs(config: Config) -> Config:
    """Return the configuration with a number of epochs, if that was left to `select`."""
    return config if config.classifier.epochs else override(config, {"classifier.epochs": EPOCHS})


def _read_rows(
    job: Job, synthetic_file: Path | None, gan_file: Path | None = None
) -> tuple[Matrix, AllTargets]:
    """Return the rows to train on: synthetic ones, after the real ones where they are merged."""
    config, dataset = job.config, job.dataset
    if not synthetic_file:
        return _make_rows(config, dataset, load_generators(job, gan_file))
    made, labels, has_real = _read_file(config, dataset, synthetic_file)
    return _join(dataset, made, labels, config.classifier.operation == "merge" and not has_real)


def _make_rows(
    config: Config, dataset: GzslDataset, generators: list[Generator]
) -> tuple[Matrix, AllTargets]:
    """Return the rows to train on, as they would be with a synthetic file."""
    recipe = plan_all_rows(config, dataset, generators)
    merges = config.classifier.operation == "merge" or config.generate.merge
    return _join(dataset, hold(recipe, dataset.feature_size), recipe.labels, merges)


def _join(dataset: GzslDataset, made: Matrix, labels: Tensor, with_real: bool) -> tuple[Matrix, AllTargets]:
    """Return made rows and their labels, after the real ones if wanted."""
    real = dataset.trainval if with_real else dataset.trainval[:0]
    return join(View(dataset.features, real), made), torch.cat([dataset.labels[real], labels])


def _read_file(config: Config, dataset: GzslDataset, path: Path) -> tuple[Matrix, AllTargets, bool]:
    """Return the rows of a synthetic file, scaled, their labels, and whether the real rows are among them."""
    synthetic = inspect_synthetic(path)
    if "data" in synthetic.info:
        data = synthetic.read_facts("data")
        check_same_classes(path, data, dataset)
        check_same_split(path, data, dataset)
    elif config.protocol == "validation":  # whose classes bear other numbers
        allowed = "protocol=final, or a file that says what data it was made from, as of generate"
        raise InputError(path, "info/data", "nothing there", allowed)
    if synthetic.feature_size != dataset.feature_size:
        allowed = f"{dataset.feature_size}, as in {dataset.source}"
        raise InputError(path, "train/X", f"{synthetic.feature_size} features", allowed)
    made, labels = read_synthetic(synthetic, dataset.class_count)
    return View(made, divisor=dataset.divisor), labels, synthetic.is_merged


def _begin_fit(
    config: Config, dataset: GzslDataset, features: Matrix, labels: AllTargets, source: object
) -> tuple[SoftmaxClassifier, Iterator[dict[str, float]]]:
    """Return a new classifier and the loop that fits it to the rows of its domain; `source` is for errors."""
    options, seen, unseen = config.classifier, dataset.seen_classes, dataset.unseen_classes
    everything = torch.arange(dataset.class_count)
    classes = {"openset": everything, "openval": seen, "zsl": unseen}[options.domain]
    rng = stage_rng(config.seed, "classifier")
    form = options.relu_logits, options.initial_bias
    classifier = SoftmaxClassifier(dataset.feature_size, classes, rng, *form)
    if options.method == "eszsl":
        real, share = dataset.trainval, len(unseen) / dataset.class_count
        if is_large(len(real), dataset.feature_size):
            allowed = "softmax for so many rows: eszsl holds them all in memory"
            raise InputError("configuration", "classifier.method", "eszsl", allowed)
        weights = fit_eszsl(dataset.features[real], dataset.labels[real], dataset.attributes, share, rng)
        classifier.weight.data.copy_(weights.t()[classes])
        return classifier, iter(())
    rows = torch.nonzero(torch.isin(labels, classes)).flatten()
    if len(rows) == 0:
        allowed = f"rows of the domain {options.domain}"
        raise InputError(source, "train/Y", "no row of any class to answer", allowed)
    kept, held = hold_out(labels, rows, options.holdout, rng)
    objective: Objective = losses.classification
    if options.loss == "logit_adjusted":
        counts = torch.bincount(labels[kept], minlength=dataset.class_count)[classes].clamp(min=1)
        priors = losses.zero_shot_log_priors(counts, torch.isin(classes, unseen), options.seen_prior)
        objective = partial(losses.adjusted_classification, log_priors=priors)
    targets = classifier.targets_of(labels, rows)
    return classifier, fit(classifier, objective, features, targets, kept, options, rng, held)


def _score(job: Job, classifier: SoftmaxClassifier) -> Evaluation:
    result = _evaluate(job.config, job.dataset, classifier)
    write_results(job, result, scores_of(result, job.config), classifier)
    return result


def _evaluate(config: Config, dataset: GzslDataset, classifier: SoftmaxClassifier) -> Evaluation:
    """Score a classifier; the bias is chosen on validation rows, and given for test rows."""
    return evaluate(classifier, dataset, None if config.protocol == "validation" else config.classifier.gamma)
