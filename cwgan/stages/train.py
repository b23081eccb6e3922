"""The training stage on plain values: monitor classifier and regressor, frozen, then the GAN."""

from collections.abc import Iterator
from pathlib import Path

import torch

from cwgan.command_line import to_dict
from cwgan.config import Config, MonitorConfig, RegressorConfig
from cwgan.data.dataset import GzslDataset, hold_out
from cwgan.errors import InputError
from cwgan.gan.checkpoint import (
    Checkpoint,
    Savepoints,
    check_same_classes,
    load_checkpoint,
    load_classifier,
    load_regressor,
    module_tensors,
    save_checkpoint,
)
from cwgan.gan.fast.gradients import Objective
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.snapshots import Snapshots, load_snapshots
from cwgan.gan.supervised import fit, held_out_metrics
from cwgan.gan.training import Gan, SeenRows, build_gan, losses, train_gan
from cwgan.machine import find_device
from cwgan.scoring.diagnostics import class_distances
from cwgan.stages.pipeline import GAN_FILE, SCORES, Log, follow, rows_for, score_generator, stage_rng

JUDGES_FILE = "judges.safetensors"
MONITOR_ROWS = 10
"""Synthetic rows per seen class that the monitor classifier judges after every epoch."""

DIAGNOSED_ROWS = 50
"""Synthetic rows per class by which they are compared with real ones."""


def train(
    config: Config,
    dataset: GzslDataset,
    folder: Path,
    log: Log,
    pretrained: Path | None = None,
    resume: Path | None = None,
) -> Path | None:
    """Fit monitor classifier and regressor, freeze them, and train the GAN.

    Args:
        config: of all stages.
        dataset: what to train on.
        folder: receives judges.safetensors (monitor and regressor), gan.safetensors and checkpoints/.
        log: takes the curves.
        pretrained: checkpoint that supplies what is not fitted here.
        resume: GAN checkpoint to continue from, which supplies monitor and regressor too.

    Returns:
        The GAN's file, or None where `gan.train` is off.

    Raises:
        InputError: features that the generator cannot make, a savepoint rule that cannot be followed, or a checkpoint that does not fit.
        FloatingPointError: a loss is no longer finite.
    """
    if config.gan.train:
        check_range(config.gan.output, dataset)
    _check_best_by(config)
    device = find_device(config.device)
    supplier = resume or pretrained
    source = load_checkpoint(supplier) if supplier else None
    if source:
        check_same_classes(source.path, source.facts["data"], dataset)
    monitor = _monitor(config, dataset, folder, log, source, config.monitor.train and not resume)
    regressor = _regressor(config, dataset, folder, log, source, config.regressor.train and not resume)
    judges = module_tensors(monitor=monitor, regressor=regressor)
    save_checkpoint(folder / JUDGES_FILE, judges, "judges", config.monitor.epochs, to_dict(config), dataset)
    if not config.gan.train:
        return None
    gan = build_gan(
        dataset.feature_size,
        dataset.attribute_size,
        config.gan,
        stage_rng(config.seed, "gan"),
        regressor,
        monitor,
        device,
    )
    snapshots = Snapshots(config.gan.snapshots)
    if resume and source:
        gan.restore(source)
        snapshots.earlier.extend(load_snapshots(source)[:-1])
        if gan.epoch >= config.gan.epochs:
            raise InputError(source.path, "epoch", gan.epoch, f"fewer than gan.epochs, {config.gan.epochs}")

    def save(path: Path, epoch: int) -> None:
        save_checkpoint(
            path, {**gan.tensors(), **snapshots.tensors()}, "gan", epoch, to_dict(config), dataset
        )

    saves = Savepoints(folder / "checkpoints", "gan", config.gan.save)
    follow("gan", _gan_curve(config, dataset, gan, snapshots), config.gan.epochs, log, saves, save, gan.epoch)
    save(folder / GAN_FILE, gan.epoch)
    return folder / GAN_FILE


def _gan_curve(
    config: Config, dataset: GzslDataset, gan: Gan, snapshots: Snapshots
) -> Iterator[dict[str, float]]:
    """Train the GAN, adding to every epoch's terms how well the monitor knows its features, and scores where asked for."""
    data = SeenRows.of(dataset).to(gan.rng.device)
    labels = dataset.seen_classes.repeat_interleave(MONITOR_ROWS)
    targets = gan.classifier.targets(labels.to(gan.rng.device)).cpu()
    curve = train_gan(gan, data)
    while gan.epoch < config.gan.epochs:
        if gan.epoch and gan.epoch % config.gan.snapshot_every == 0:
            snapshots.add(gan.generator)
        terms = next(curve)
        made = rows_for(config, dataset, gan.generator, labels, f"monitor {gan.epoch}")
        hits = gan.classifier(made.to(gan.rng.device)).argmax(1).cpu() == targets
        terms["monitor_accuracy"] = hits.double().mean().item()
        if (
            config.protocol == "validation"
            and config.gan.score_every
            and gan.epoch % config.gan.score_every == 0
        ):
            terms.update(score_generator(config, dataset, [*snapshots.earlier, gan.generator]))
            terms.update(_diagnose(config, dataset, gan))
        yield terms


@torch.no_grad()
def _diagnose(config: Config, dataset: GzslDataset, gan: Gan) -> dict[str, float]:
    """Measure, under the validation protocol, the cycle error on both sides and the way from synthetic to real unseen rows."""
    terms = {}
    for side, classes in (("seen", dataset.seen_classes), ("unseen", dataset.unseen_classes)):
        labels = classes.repeat_interleave(DIAGNOSED_ROWS)
        made = rows_for(config, dataset, gan.generator, labels, f"diagnose {side}")
        terms[f"cycle_error_{side}"] = losses.cycle(
            gan.regressor(made.to(gan.rng.device)).cpu(), dataset.attributes[labels]
        ).item()
    rows = dataset.test_unseen
    distances = class_distances(dataset.features[rows], dataset.labels[rows], made, labels)
    return terms | {f"{name}_unseen": value for name, value in distances.items()}


def _monitor(
    config: Config, dataset: GzslDataset, folder: Path, log: Log, source: Checkpoint | None, is_new: bool
) -> SoftmaxClassifier:
    if not is_new:
        return freeze(load_classifier(_supplier(source, "monitor"), "monitor"))
    rng = stage_rng(config.seed, "monitor")
    model = SoftmaxClassifier(dataset.feature_size, dataset.seen_classes, rng)
    _fit_judge(
        model,
        losses.classification,
        model.targets(dataset.labels),
        "monitor",
        config.monitor,
        config,
        dataset,
        folder,
        log,
        rng,
    )
    return freeze(model)


def _regressor(
    config: Config, dataset: GzslDataset, folder: Path, log: Log, source: Checkpoint | None, is_new: bool
) -> Regressor:
    if not is_new:
        return freeze(load_regressor(_supplier(source, "regressor")))
    rng = stage_rng(config.seed, "regressor")
    model = Regressor(dataset.feature_size, dataset.attribute_size, rng)
    targets = dataset.attributes[dataset.labels]
    _fit_judge(model, losses.cycle, targets, "regressor", config.regressor, config, dataset, folder, log, rng)
    return freeze(model)


def _fit_judge(
    model: SoftmaxClassifier | Regressor,
    objective: Objective,
    targets: torch.Tensor,
    stage: str,
    options: MonitorConfig | RegressorConfig,
    config: Config,
    dataset: GzslDataset,
    folder: Path,
    log: Log,
    rng: torch.Generator,
) -> None:
    """Fit a network on the kept part of the training rows, measure it on the rest after every epoch, and save it."""
    kept, held = hold_out(dataset.labels, dataset.trainval, options.holdout, rng)

    def curve() -> Iterator[dict[str, float]]:
        for terms in fit(model, objective, dataset.features, targets, kept, options, rng):
            yield (
                {**terms, **held_out_metrics(model, objective, dataset.features, targets, held)}
                if len(held)
                else terms
            )

    def save(path: Path, epoch: int) -> None:
        save_checkpoint(path, module_tensors(**{stage: model}), stage, epoch, to_dict(config), dataset)

    follow(stage, curve(), options.epochs, log, Savepoints(folder / "checkpoints", stage, options.save), save)


def _supplier(source: Checkpoint | None, stage: str) -> Checkpoint:
    if source is None:
        raise InputError(
            "configuration",
            f"{stage}.train",
            "false",
            f"true, or a checkpoint with the {stage} named by --pretrained",
        )
    return source


def _check_best_by(config: Config) -> None:
    """Refuse, before any training, to keep checkpoints by a metric that will not be measured when they are saved."""
    held = {"monitor": config.monitor.holdout > 0, "regressor": config.regressor.holdout > 0}
    every, start, scored = config.gan.save.every, config.gan.save.start, config.gan.score_every
    is_scored = config.protocol == "validation" and scored > 0 and every % scored == 0 and start % scored == 0
    allowed = {
        "monitor": ["val_loss", "val_accuracy"] if held["monitor"] else [],
        "regressor": ["val_loss"] if held["regressor"] else [],
        "gan": ["monitor_accuracy", *(f"val_{name}" for name in SCORES if is_scored)],
    }
    for stage, names in allowed.items():
        best_by = getattr(config, stage).save.best_by
        if best_by and best_by not in names:
            hint = "; val_H and the like need protocol=validation and save.every, save.start as multiples of gan.score_every"
            known = ", ".join(names) or f"nothing, as {stage}.holdout is 0"
            raise InputError(
                "configuration",
                f"{stage}.save.best_by",
                repr(best_by),
                known + (hint if stage == "gan" else ""),
            )


def check_range(output: str, dataset: GzslDataset) -> None:
    """Refuse training features that the generator's last activation can never reach."""
    lowest, highest = (value.item() for value in dataset.features[dataset.trainval].aminmax())
    if lowest < 0 and output != "linear":
        allowed = f"no value below 0, as the generator ends in {output} (gan.output); data.scaling=min_max brings them to 0..1"
        raise InputError(dataset.source, "features", f"values down to {lowest:.3g}", allowed)
    if highest > 1 and output == "sigmoid":
        allowed = "no value above 1, as the generator ends in sigmoid (gan.output); data.scaling=min_max brings them to 0..1"
        raise InputError(dataset.source, "features", f"values up to {highest:.3g}", allowed)
