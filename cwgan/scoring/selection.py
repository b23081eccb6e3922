"""Choosing the epoch and the calibration bias on validation classes, for a final model that never chose on test rows."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cwgan.config import Config
from cwgan.errors import InputError

CRITERION = "val_calibrated_H"
History = Mapping[str, Sequence[tuple[int, float]]]
"""Every curve of a training by name, as pairs of epoch and value."""


@dataclass(frozen=True)
class Choice:
    """What validation classes chose: the epoch and the bias of highest H there, and all scores of that epoch."""

    epoch: int
    gamma: float
    scores: dict[str, float]


def validation_half(config: Config, scorings: int = 10, parameter: str = "select=true") -> Config:
    """Return the configuration of the run that chooses: the same under the validation protocol, scored as it trains.

    Args:
        config: of the final model.
        scorings: how often it is scored where `gan.score_every` leaves that open.
        parameter: what asks for it, for errors.

    Raises:
        InputError: no epoch would be scored, or without a calibrated H.
    """
    every = config.gan.score_every or max(1, config.gan.epochs // scorings)
    if every > config.gan.epochs:
        raise InputError(
            "configuration",
            "gan.score_every",
            every,
            f"at most gan.epochs, {config.gan.epochs}, with {parameter}",
        )
    if config.classifier.domain != "openset":
        raise InputError(
            "configuration", "classifier.domain", config.classifier.domain, f"openset, with {parameter}"
        )
    return dataclasses.replace(
        config, protocol="validation", select=False, gan=dataclasses.replace(config.gan, score_every=every)
    )


def choose(history: History) -> Choice:
    """Return the scored epoch of highest H after calibration, the earliest of equals, and the bias that gave it."""
    epoch = max(history[CRITERION], key=lambda point: (point[1], -point[0]))[0]
    scores = {name: dict(points)[epoch] for name, points in history.items() if name.startswith("val_")}
    return Choice(epoch, scores["val_gamma"], scores)


def final_half(config: Config, choice: Choice) -> Config:
    """Return the configuration of the final model: trained to the chosen epoch, calibrated with the chosen bias."""
    gan = dataclasses.replace(config.gan, epochs=choice.epoch)
    return dataclasses.replace(
        config, select=False, gan=gan, classifier=dataclasses.replace(config.classifier, gamma=choice.gamma)
    )
