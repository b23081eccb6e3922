"""Synthesis, final classifier and scoring, each against the plain way to write it.

Run: python -m benchmarks.road [--quick]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks.step import with_precision
from benchmarks.timing import interleave, machine, print_table
from cwgan.config import ClassifierConfig
from cwgan.data.dataset import GzslDataset
from cwgan.gan import losses
from cwgan.gan.networks import Generator, SoftmaxClassifier
from cwgan.gan.supervised import fit
from cwgan.gan.synthesis import synthesize, synthetic_labels, write_synthetic
from cwgan.scoring.metrics import per_class_accuracy

FEATURES, ATTRIBUTES, CLASSES, SEEN, ROWS = 2048, 1024, 200, 150, 7057  # CUB


def cub_sized() -> GzslDataset:
    """Return random features and attributes of CUB's sizes."""
    rng = torch.Generator().manual_seed(0)
    rows = ROWS + 1764 + 2967
    labels = torch.cat(
        [
            torch.randint(SEEN, (ROWS + 1764,), generator=rng),
            torch.randint(SEEN, CLASSES, (2967,), generator=rng),
        ]
    )
    labels[:SEEN], labels[-50:] = torch.arange(SEEN), torch.arange(SEEN, CLASSES)
    empty = torch.empty(0, dtype=torch.int64)
    return GzslDataset(
        "CUB-sized", "random", torch.rand(rows, FEATURES, generator=rng), labels,
        torch.rand(CLASSES, ATTRIBUTES, generator=rng),
        tuple(str(label) for label in range(CLASSES)), torch.arange(ROWS), empty, empty,
        torch.arange(ROWS, ROWS + 1764), torch.arange(ROWS + 1764, rows),
    )  # fmt: skip


def synthesis_ways(dataset: GzslDataset, count: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Return ways to generate `count` features per unseen class into memory, and ours into a file."""
    rng = torch.Generator().manual_seed(0)
    generator = Generator(ATTRIBUTES, ATTRIBUTES, 4096, FEATURES, 0.2, rng).requires_grad_(False)
    labels = synthetic_labels("unseen", [count], dataset)

    def plain() -> object:
        return torch.cat(
            [
                generator(
                    dataset.attributes[label].expand(count, -1), torch.randn(count, ATTRIBUTES, generator=rng)
                )
                for label in dataset.unseen_classes
            ]
        )

    def ours() -> object:
        return torch.cat(list(synthesize(generator, dataset.attributes, labels, rng)))

    def ours_to_file() -> object:
        chunks = synthesize(generator, dataset.attributes, labels, rng)
        return write_synthetic(folder / "synthetic.h5", dataset, labels, chunks, {}, dataset.trainval[:0])

    return {"usual": plain, "ours": ours, "ours, to a file": ours_to_file}


def classifier_ways(
    dataset: GzslDataset, epochs: int, batch_size: int, precision: str
) -> dict[str, Callable[[], object]]:
    """Return ways to fit the final classifier on all rows: the usual one in float32, ours, the least work.

    The least is to gather the rows, to multiply twice, and Adam: no loss, no gradient, no first weights.
    """
    rng = torch.Generator().manual_seed(0)
    config = ClassifierConfig(epochs=epochs, batch_size=batch_size)
    rows = torch.arange(len(dataset.labels))

    def plain() -> object:
        model = nn.Linear(FEATURES, CLASSES)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
        for _ in range(epochs):
            for batch in torch.randperm(len(rows), generator=rng).split(config.batch_size):
                loss = functional.cross_entropy(model(dataset.features[batch]), dataset.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model

    def ours() -> object:
        model = SoftmaxClassifier(FEATURES, torch.arange(CLASSES), rng)
        curve = fit(model, losses.classification, dataset.features, dataset.labels, rows, config, rng)
        return with_precision(precision, lambda: list(curve))

    weight, errors, inputs = (
        torch.zeros(CLASSES, FEATURES),
        torch.rand(batch_size, CLASSES),
        torch.empty(batch_size, FEATURES),
    )
    weight.grad = torch.zeros_like(weight)
    adam = torch.optim.Adam([weight], fused=True)

    def least() -> None:
        for _ in range(epochs):
            for batch in torch.randperm(len(rows), generator=rng).split(batch_size):
                chosen = torch.index_select(dataset.features, 0, batch, out=inputs[: len(batch)])
                torch.mm(chosen, weight.t())
                torch.mm(errors[: len(batch)].t(), chosen, out=weight.grad)
                adam.step()

    return {"usual": plain, "ours": ours, "least": lambda: with_precision(precision, least)}


def scoring_ways(dataset: GzslDataset) -> dict[str, Callable[[], object]]:
    """Return ways to compute the accuracy of every class from predictions."""
    predictions = torch.randint(CLASSES, (len(dataset.labels),), generator=torch.Generator().manual_seed(0))
    classes = torch.arange(CLASSES)

    def plain() -> object:
        return [(predictions[dataset.labels == label] == label).float().mean().item() for label in classes]

    return {"usual": plain, "ours": lambda: per_class_accuracy(dataset.labels, predictions, classes)}


def main(quick: bool) -> dict[str, dict[str, float]]:
    dataset = cub_sized()
    print(machine())
    results = {}
    blocks = 3 if quick else 7
    with tempfile.TemporaryDirectory() as folder:
        works = {
            "synthesis, 300 per unseen class": (synthesis_ways(dataset, 300, Path(folder)), 1),
            "classifier, 3 epochs, batch 2048": (classifier_ways(dataset, 3, 2048, "float32"), 1),
            "the same, our products in bfloat16": (classifier_ways(dataset, 3, 2048, "bfloat16"), 1),
            "classifier, 1 epoch, batch 64": (classifier_ways(dataset, 1, 64, "float32"), 1),
            "the same, our products in bfloat16 ": (classifier_ways(dataset, 1, 64, "bfloat16"), 1),
            "scoring": (scoring_ways(dataset), 20),
        }
        for name, (ways, repeats) in works.items():
            seconds = interleave(ways, blocks, repeats)
            results[name] = {f"{way} ms": 1e3 * value for way, value in seconds.items()} | {
                "speed-up": seconds["usual"] / seconds["ours"]
            }
    rate = 300 * 50 / results["synthesis, 300 per unseen class"]["ours, to a file ms"] * 1e3
    print(f"CUB: {FEATURES} features, {ATTRIBUTES} attributes; synthesis into a file: {rate:,.0f} features/s")
    head = ["work", "usual ms", "ours ms", "ours, to a file ms", "least ms", "speed-up"]
    print_table(
        head,
        [
            [name, *(f"{row[key]:.2f}" if key in row else "" for key in head[1:])]
            for name, row in results.items()
        ],
    )
    return results


if __name__ == "__main__":
    main("--quick" in sys.argv)
