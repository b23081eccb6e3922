"""Choosing the epoch and the calibration bias of a final model on validation classes, never on test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.gan.savepoints import check_save_epochs

CRITERION = "val_H"
History = Mapping[str, Sequence[tuple[int, float]]]  # curves of a training, as pairs of epoch and value


@dataclass(frozen=True)
class Choice:
    """What validation classes chose: the epoch and the bias of highest H, and all scores of that epoch."""

    epoch: int
    gamma: float
    scores: dict[str, float]


def find_best(values: Mapping[int, float]) -> int:
    """Return the key of the highest value, the smallest of equals: the best epoch, the earliest of equals."""
    return max(values, key=lambda key: (values[key], -key))


def validation_half(config: Config, scorings: int = 10, parameter: str = "select=true") -> Config:
    """Return the configuration of the run that chooses for a final model: it is scored on validation classes.

    That is done `scorings` times where `gan.score_every` is 0. InputError, which says by which `parameter` it
    was asked for, if no epoch would be scored, or none with an H, or one is to be kept that is not
    reached.
    """
    check_save_epochs(config)
    epochs, domain = config.gan.epochs, config.classifier.domain
    every = config.gan.score_every or max(1, epochs // scorings)
    if every > epochs:
        allowed = f"at most gan.epochs, {epochs}, with {parameter}"
        raise InputError("configuration", "gan.score_every", every, allowed)
    if domain != "openset":
        raise InputError("configuration", "classifier.domain", domain, f"openset, with {parameter}")
    return override(config, {"protocol": "validation", "select": False, "gan.score_every": every})


def choose(history: History) -> Choice:
    """Return the scored epoch of highest H, the earliest of equals, and the bias that gave it."""
    epoch = find_best(dict(history[CRITERION]))
    scores = {name: dict(points)[epoch] for name, points in history.items() if name.startswith("val_")}
    return Choice(epoch, scores["val_gamma"], scores)


def final_half(config: Config, choice: Choice) -> Config:
    """Return the configuration of the final model: the chosen number of epochs and the chosen bias.

    Of `gan.save.epochs` it keeps those up to the chosen one.
    """
    kept = [epoch for epoch in config.gan.save.epochs if epoch <= choice.epoch]
    values = {"gan.epochs": choice.epoch, "gan.save.epochs": kept, "classifier.gamma": choice.gamma}
    return override(config, {"select": False, **values})
