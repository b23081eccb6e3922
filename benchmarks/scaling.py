"""How the cost grows when one size doubles in turn: 2.0 is linear, less is better.

Run: python -m benchmarks.scaling [--quick]
"""

import sys
from collections.abc import Callable

import torch

from benchmarks.timing import interleave, machine, print_table
from cwgan.config import ClassifierConfig
from cwgan.gan import losses
from cwgan.gan.networks import Generator, Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import build_gan
from cwgan.gan.supervised import fit
from cwgan.gan.synthesis import synthesize
from cwgan.gan.training import SeenRows, train_gan
from cwgan.gan_config import GanConfig
from cwgan.scoring.metrics import per_class_accuracy

BASE = {"rows": 1024, "classes": 100, "attributes": 256, "features": 1024, "hidden": 1024}


def works(sizes: dict[str, int]) -> dict[str, Callable[[], object]]:
    """Return the stages' inner work at some sizes: GAN epoch, synthesis, classifier epoch, scoring."""
    rng = torch.Generator().manual_seed(0)
    seen = sizes["classes"] * 3 // 4
    features = torch.rand(sizes["rows"], sizes["features"], generator=rng)
    labels = torch.randint(seen, (sizes["rows"],), generator=rng)
    attributes = torch.rand(sizes["classes"], sizes["attributes"], generator=rng)
    data = SeenRows(
        features, labels, torch.arange(sizes["rows"]), attributes, torch.arange(seen, sizes["classes"])
    )
    regressor = freeze(Regressor(sizes["features"], sizes["attributes"], rng))
    monitor = freeze(SoftmaxClassifier(sizes["features"], torch.arange(seen), rng))
    config = GanConfig(hidden_size=sizes["hidden"], epochs=10**6)
    gan = build_gan(sizes["features"], sizes["attributes"], config, rng, regressor, monitor)
    curve = train_gan(gan, data)
    generator = Generator(
        sizes["attributes"], sizes["attributes"], sizes["hidden"], sizes["features"], 0.2, rng
    )
    wanted = torch.arange(seen, sizes["classes"]).repeat_interleave(40)
    classifier = SoftmaxClassifier(sizes["features"], torch.arange(sizes["classes"]), rng)
    epochs = fit(
        classifier,
        losses.classification,
        features,
        labels,
        torch.arange(sizes["rows"]),
        ClassifierConfig(epochs=10**6),
        rng,
    )
    classes = torch.arange(sizes["classes"])
    return {
        "GAN epoch": lambda: next(curve),
        "synthesis": lambda: list(synthesize(generator, attributes, wanted, rng)),
        "classifier epoch": lambda: next(epochs),
        "scoring": lambda: per_class_accuracy(labels, labels, classes),
    }


def main(quick: bool) -> dict[str, dict[str, float]]:
    print(machine())
    ratios: dict[str, dict[str, float]] = {}
    base = works(BASE)
    for size, value in BASE.items():
        doubled = works({**BASE, size: 2 * value})
        ratios[size] = {}
        for name, work in base.items():
            seconds = interleave(
                {"once": work, "twice": doubled[name]},
                3 if quick else 11,
                repeats=200 if name == "scoring" else 1,
            )
            ratios[size][name] = seconds["twice"] / seconds["once"]
    print(
        "time at twice the size over time at the size, others as "
        + ", ".join(f"{key} {value}" for key, value in BASE.items())
    )
    print_table(
        ["doubled", *base],
        [[size, *(f"{value:.2f}" for value in row.values())] for size, row in ratios.items()],
    )
    return ratios


if __name__ == "__main__":
    main("--quick" in sys.argv)
