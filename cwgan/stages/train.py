"""The training stage: fit the pretrained networks (monitor and regressor), freeze them, and train the GAN."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cwgan import ranks
from cwgan.command_line import override
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import Matrix, View, find_extremes
from cwgan.data.views import hold_out
from cwgan.errors import InputError
from cwgan.gan import losses
from cwgan.gan.checkpoint import Checkpoint, load_classifier, load_regressor, module_tensors
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import Gan, build_gan
from cwgan.gan.supervised import fit
from cwgan.gan.training import SeenRows, measure_held, take_steps
from cwgan.machine import find_device
from cwgan.progress import Terms
from cwgan.scoring.diagnostics import class_distances
from cwgan.stages.classify import score_generators
from cwgan.stages.generate import make_rows
from cwgan.stages.job import GAN_FILE, PRETRAINED_FILE, Job, stage_rng
from cwgan.stages.needs import check_gan, check_shares
from cwgan.stages.resume import ResumePoints, find_start
from cwgan.stages.saves import check_saves

MONITOR_ROWS = 10  # synthetic rows per seen class that the monitor classifies after every epoch
DIAGNOSED_ROWS = 50  # synthetic rows per class that are compared with real ones


def train(job: Job, pretrained: Path | None = None) -> Path | None:
    """Fit monitor and regressor, freeze them, train the GAN; return its file, or None if `gan.train` is off.

    The regressor is fitted where a cycle term needs it, or no GAN is trained.

    The job's folder receives pretrained.safetensors, gan.safetensors and checkpoints/. A job that is resumed
    goes on bit for bit from what it finds there, as if it had never been interrupted.

    `pretrained` is a checkpoint of the networks that are not fitted here. InputError: features that the
    generator cannot make, a savepoint rule that cannot be followed, or a checkpoint that does not fit.
    FloatingPointError: a loss is no longer finite.
    """
    job = fix_output(job) if job.config.gan.train else job
    config = job.config
    if config.gan.train:
        check_gan(config, job.dataset, None if job.is_resumed else job.folder)  # else some are there already
        check_shares(config.gan, len(take_seen_rows(job).rows), ranks.count_processes())
    check_saves(config)
    start = find_start(job) if job.is_resumed else None
    source = start or (job.load(pretrained) if pretrained else None)
    histories = {name: [*found] for name, found in start.facts["history"].items()} if start else {}
    tensors: dict[str, Tensor] = {}
    for stage in _list_networks(config, bool(source)):
        history = histories.setdefault(stage, [])
        if start:
            job.follow(stage, (), history)
        if getattr(config, stage).train and not start:
            network = _fit(job, stage, history)
        elif source:
            network = load_classifier(source, stage) if stage == "monitor" else load_regressor(source)
        else:
            allowed = f"true, or a checkpoint with the {stage} named by --pretrained"
            raise InputError("configuration", f"{stage}.train", "false", allowed)
        if isinstance(network, SoftmaxClassifier) and network.relu != config.monitor.relu_logits:
            allowed = f"{config.monitor.relu_logits}, as configured"
            raise InputError(pretrained, "monitor.relu_logits", network.relu, allowed)
        tensors |= module_tensors(**{stage: network})
    if not start:
        job.save(job.folder / PRETRAINED_FILE, tensors, "pretrained", config.monitor.epochs, histories)
    if not config.gan.train:
        return None
    source = start or job.load(job.folder / PRETRAINED_FILE)
    gan = begin_gan(job, source)
    ranks.tell((config, source))  # `cwgan.stages.helping` hears it
    history = histories.setdefault("gan", [])
    points = ResumePoints(job, gan, histories)
    try:
        job.follow("gan", _measure_epochs(job, gan, points), history, gan.tensors)
    except KeyboardInterrupt:
        points.save()
        raise
    job.save(job.folder / GAN_FILE, gan.tensors(), "gan", gan.epoch, histories)
    points.clear()
    return job.folder / GAN_FILE


def begin_gan(job: Job, source: Checkpoint) -> Gan:
    """Return a GAN with a checkpoint's pretrained networks; if it is a GAN's, as the checkpoint left it."""
    monitor = freeze(load_classifier(source, "monitor"))
    regressor = freeze(load_regressor(source)) if "regressor" in _list_networks(job.config) else None
    monitor.targets(job.dataset.seen_classes)  # ValueError here, as a GPU would not check it
    sizes = job.dataset.feature_size, job.dataset.attribute_size
    rng, device = stage_rng(job.config.seed, "gan"), find_device(job.config.device)
    gan = build_gan(*sizes, job.config.gan, rng, regressor, monitor, device)
    if source.facts["kind"] == "gan":
        gan.restore(source)
    return gan


def take_seen_rows(job: Job) -> SeenRows:
    """Return what the GAN learns from, less the share `gan.holdout` of training rows, which is held out."""
    rows, dataset, share = SeenRows.of(job.dataset), job.dataset, job.config.gan.holdout
    if not share:
        return rows
    kept, held = hold_out(dataset.labels, dataset.trainval, share, stage_rng(job.config.seed, "gan holdout"))
    return replace(rows, rows=kept, held=held)


def _list_networks(config: Config, has_source: bool = False) -> list[str]:
    """Return the pretrained networks that the GAN needs; without a GAN all that are fitted or copied."""
    if not config.gan.train:
        stages = ["monitor", "regressor"]
        return [stage for stage in stages if getattr(config, stage).train or has_source] or stages
    has_cycle_term = config.gan.cycle_weight or config.gan.unseen_cycle_weight
    return ["monitor", "regressor"] if has_cycle_term else ["monitor"]


def fix_output(job: Job) -> Job:
    """Return the job with the last activation of `gan.output=auto`: ReLU, or none if a feature is below 0.

    InputError for training features that the activation that was asked for can never reach.
    """
    dataset, output = job.dataset, job.config.gan.output
    low, high = find_extremes(dataset.features, dataset.trainval)
    lowest, highest = low.min().item(), high.max().item()
    if output == "auto":
        output = "linear" if lowest < 0 else "relu"
        return replace(job, config=override(job.config, {"gan.output": output}))
    why = f"as the generator ends in {output} (gan.output); with auto it can make them"
    if lowest < 0 and output != "linear":
        found, allowed = f"values down to {lowest:.3g}", f"no value below 0, {why}"
        raise InputError(dataset.source, "features", found, allowed)
    if highest > 1 and output == "sigmoid":
        found, allowed = f"values up to {highest:.3g}", f"no value above 1, {why}"
        raise InputError(dataset.source, "features", found, allowed)
    return job


def list_references(
    dataset: GzslDataset, curves: Mapping[str, Sequence[tuple[int, float]]], cycle_error: str
) -> dict[str, tuple[float, str]]:
    """Return for terms of a training a level to compare them with, and what it means.

    Chance is a monitor that knows nothing, log(seen classes), or a regressor that always answers the mean
    attributes. Beside the GAN's rows stand real ones that the pretrained networks have not learnt from, where
    these networks were fitted in the same training.
    """
    attributes = dataset.attributes[dataset.labels[dataset.trainval]]
    levels = {
        "monitor/loss": (math.log(len(dataset.seen_classes)), "chance"),
        "regressor/loss": (attributes.var(dim=0, correction=0).mean().item(), "mean attributes"),
        "gan/wasserstein": (0.0, "real = synthetic"),
        "gan/gradient_penalty": (0.0, "slope 1"),
    }
    real = {
        "gan/cycle": "regressor/val_loss",
        "gan/classification": "monitor/val_loss",
        "gan/monitor_accuracy": "monitor/val_accuracy",
    }
    found = {term: curves[name][-1][1] for term, name in real.items() if name in curves}
    if "gan/cycle" in found and cycle_error == "relative":
        found["gan/cycle"] /= SeenRows.of(dataset).attribute_variance.item()
    return levels | {term: (level, "real rows") for term, level in found.items()}


def _measure_epochs(job: Job, gan: Gan, points: ResumePoints) -> Iterator[dict[str, float]]:
    """Train the GAN; yield every epoch's terms, also on held-out rows, how well the monitor knows its rows,
    and scores where due.
    """
    labels, device = job.dataset.seen_classes.repeat_interleave(MONITOR_ROWS), gan.rng.device
    targets = gan.monitor.targets(labels.to(device)).cpu()
    rows = take_seen_rows(job).to(device)
    for epoch in take_steps(gan, rows):
        points.save_if_due()
        if epoch is None:
            continue
        made = make_rows(job, gan.generator, labels, f"monitor {epoch.number}")
        hits = gan.monitor(made.to(device)).argmax(1).cpu() == targets
        terms = {**epoch.terms, "monitor_accuracy": hits.double().mean().item()}
        if len(rows.held):
            seed = stage_rng(job.config.seed, f"gan held {epoch.number}").initial_seed()
            terms |= measure_held(gan, rows, torch.Generator(device).manual_seed(seed))
        if job.config.protocol == "validation" and epoch.is_scored:
            terms |= score_generators(job.config, job.dataset, [*epoch.generators.values()])
            terms |= _diagnose(job, gan)
        yield terms


@torch.no_grad()
def _diagnose(job: Job, gan: Gan) -> dict[str, float]:
    """Return how far synthetic unseen rows are from real ones; with a regressor both sides' cycle error too.

    Only for the validation protocol, whose unseen rows are no test rows.
    """
    dataset, terms = job.dataset, {}
    for side, classes in (("seen", dataset.seen_classes), ("unseen", dataset.unseen_classes)):
        labels = classes.repeat_interleave(DIAGNOSED_ROWS)
        made = make_rows(job, gan.generator, labels, f"diagnose {side}")
        if gan.regressor:
            attributes = gan.regressor(made.to(gan.rng.device)).cpu()
            terms[f"cycle_error_{side}"] = losses.cycle(attributes, dataset.attributes[labels]).item()
    rows = dataset.test_unseen
    distances = class_distances(dataset.features[rows], dataset.labels[rows], made, labels)
    return terms | {f"{name}_unseen": value for name, value in distances.items()}


def _fit(job: Job, stage: str, history: list[Terms]) -> SoftmaxClassifier | Regressor:
    """Fit monitor or regressor on a part of the training rows; measure it on the rest after every epoch."""
    options, dataset, rng = getattr(job.config, stage), job.dataset, stage_rng(job.config.seed, stage)
    model: SoftmaxClassifier | Regressor
    objective: losses.Objective
    targets: Matrix
    if stage == "monitor":
        form = options.relu_logits, options.initial_bias
        model = SoftmaxClassifier(dataset.feature_size, dataset.seen_classes, rng, *form)
        objective, targets = losses.classification, model.targets_of(dataset.labels, dataset.trainval)
    else:
        model = Regressor(dataset.feature_size, dataset.attribute_size, rng)
        objective, targets = losses.cycle, View(dataset.attributes, dataset.labels)
    kept, held = hold_out(dataset.labels, dataset.trainval, options.holdout, rng)
    curve = fit(model, objective, dataset.features, targets, kept, options, rng, held)
    job.follow(stage, curve, history, lambda: module_tensors(**{stage: model}))
    return model
