"""Peak memory of `main`, with scaling and selection, in multiples of the features' size.

Runs the entry point on random data of two sizes, with small networks and few steps. What the larger data
takes more, over what its features are larger, is the multiple; imports, networks and Adam are in both.

Run: python -m benchmarks.memory [--quick]
"""

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.program import stage
from benchmarks.timing import machine, print_table
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5

FEATURES, ATTRIBUTES, CLASSES, SEEN = 2048, 32, 50, 40
SHORT = ["--threads=1", "--gan.epochs=1", "--gan.epoch_steps=5", "--gan.hidden_size=64", "--monitor.epochs=1"]
SHORT += ["--classifier.epochs=1", "--generate.counts=[10]"]
ROADS = {
    "main": ["--data.scaling=overall", "--select=false"],
    "main, min_max": ["--data.scaling=min_max", "--select=false"],
    "main, select chooses the scaling": [],
}


def write_random(folder: Path, rows: int) -> float:
    """Write a data set, of whose rows 7 of 10 are for training; return the features' size [MB]."""
    rng = torch.Generator().manual_seed(0)
    trainval, test_seen, test_unseen = torch.arange(rows).split([7 * rows // 10, rows // 10, 2 * rows // 10])
    labels = torch.arange(rows) % SEEN
    labels[test_unseen] = SEEN + test_unseen % (CLASSES - SEEN)
    tensors = (
        torch.rand(rows, FEATURES, generator=rng),
        labels,
        torch.rand(CLASSES, ATTRIBUTES, generator=rng),
    )
    names, none = tuple(str(label) for label in range(CLASSES)), trainval[:0]
    dataset = GzslDataset("random", "random", *tensors, names, trainval, none, none, test_seen, test_unseen)
    save_hdf5(dataset, folder)
    return dataset.features.nbytes / 2**20


def main(quick: bool) -> dict[str, dict[str, float]]:
    print(machine())
    sizes, results = (2000, 20_000 if quick else 100_000), dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(rows) for rows in sizes]
        small, large = (write_random(folder, rows) for folder, rows in zip(folders, sizes, strict=True))
        for road, flags in ROADS.items():
            given = [[*SHORT, *flags, f"--data.path={folder}"] for folder in folders]
            (base, _, _), (peak, seconds, _) = (stage("main", each, Path(temporary)) for each in given)
            multiple = (peak - base) / (large - small)
            results[road] = {"peak MB": peak, "of features": multiple, "seconds": seconds}
    print(f"features {large:.0f} MB")
    head = ["road", *results["main"]]
    print_table(head, [[road, *(f"{value:.1f}" for value in row.values())] for road, row in results.items()])
    return results


if __name__ == "__main__":
    main("--quick" in sys.argv)
