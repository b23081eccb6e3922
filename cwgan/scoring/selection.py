"""Choosing the epoch and the calibration bias of a final model on validation classes, never on test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.gan.savepoints import check_save_epochs

CRITERION = "val_H"
SCORINGS = 4  # of a training, where nothing else is asked for
History = Mapping[str, Sequence[tuple[int, float]]]  # curves of a training, as pairs of epoch and value


@dataclass(frozen=True)
class Choice:
    """What validation classes chose: epoch and bias of highest H, and what an epoch is there in steps.

    `scores` are those of that epoch by logged name, means over the divisions that were tried.
    """

    epoch: int
    epoch_steps: int
    gamma: float
    scores: dict[str, float]


def find_best(values: Mapping[int, float]) -> int:
    """Return the key of the highest value, the smallest of equals: the best epoch, the earliest of equals."""
    return max(values, key=lambda key: (values[key], -key))


def validation_half(config: Config, fold: int = 0, parameter: str = "select=true") -> Config:
    """Return the configuration of a run that chooses for a final model: it is scored on validation classes.

    These are those of a `fold`, as `data.fold`. Scored about four times where `gan.score_every` is 0.
    InputError, which says by which `parameter` it was asked for, if no epoch would be scored, or none with an
    H, or one is to be kept that is not reached.
    """
    check_save_epochs(config)
    epochs, domain = config.gan.epochs, config.classifier.domain
    every = config.gan.score_every or max(1, epochs // SCORINGS)
    if every > epochs:
        allowed = f"at most gan.epochs, {epochs}, with {parameter}"
        raise InputError("configuration", "gan.score_every", every, allowed)
    if domain != "openset":
        raise InputError("configuration", "classifier.domain", domain, f"openset, with {parameter}")
    half = {"protocol": "validation", "select": False, "gan.score_every": every, "data.fold": fold}
    return override(config, half)


def choose(histories: Sequence[History], epoch_steps: int) -> Choice:
    """Return the scored epoch of highest mean H, the earliest of equals, with means of bias and scores there.

    The means are over `histories`, one of each division, scored at the same epochs of `epoch_steps`.
    """
    curves = {
        name: [dict(each[name]) for each in histories] for name in histories[0] if name.startswith("val_")
    }
    means = {
        name: {epoch: mean(each[epoch] for each in found) for epoch in found[0]}
        for name, found in curves.items()
    }
    epoch = find_best(means[CRITERION])
    scores = {name: values[epoch] for name, values in means.items() if epoch in values}
    return Choice(epoch, epoch_steps, scores["val_gamma"], scores)


def final_half(config: Config, choice: Choice) -> Config:
    """Return the configuration of the final model: as many steps as were chosen, and the chosen bias.

    Of `gan.save.epochs` it keeps those up to the chosen one.
    """
    kept = [epoch for epoch in config.gan.save.epochs if epoch <= choice.epoch]
    values = {"gan.epochs": max(1, choice.epoch), "gan.save.epochs": kept, "classifier.gamma": choice.gamma}
    if config.generate.source == "auto":
        values["generate.source"] = "gan" if choice.epoch else "means"
    return override(config, {"select": False, "gan.epoch_steps": choice.epoch_steps, **values})
