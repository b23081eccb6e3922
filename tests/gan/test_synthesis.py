from pathlib import Path

import h5py
import pytest
import torch

from cwgan.data.dataset import GzslDataset
from cwgan.errors import InputError
from cwgan.gan import synthesis
from cwgan.gan.networks import Generator
from cwgan.gan.synthesis import (
    inspect_synthetic,
    read_synthetic,
    synthesize,
    synthetic_labels,
    write_synthetic,
)

INFO = {"dataset": "numbers", "merged": "false"}


@pytest.fixture
def generator(rng: torch.Generator) -> Generator:
    return Generator(20, 20, 16, 128, 0.2, rng)


def write(
    path: Path, generator: Generator, numbers: GzslDataset, count: int = 3, real: int = 0
) -> torch.Tensor:
    labels = synthetic_labels("unseen", [count], numbers)
    chunks = synthesize(generator, numbers.attributes, labels, torch.Generator().manual_seed(4))
    write_synthetic(path, numbers, labels, chunks, INFO, numbers.trainval[:real])
    return labels


def test_counts_are_per_class_of_each_domain(numbers: GzslDataset) -> None:
    assert (
        synthetic_labels("unseen", [3], numbers).tolist()
        == numbers.unseen_classes.repeat_interleave(3).tolist()
    )
    assert (
        synthetic_labels("seen", [2], numbers).tolist() == numbers.seen_classes.repeat_interleave(2).tolist()
    )
    both = synthetic_labels("all", [12, 3], numbers)
    assert both.bincount(minlength=100)[numbers.unseen_classes].tolist() == [12] * 20
    assert both.bincount(minlength=100)[numbers.seen_classes].tolist() == [3] * 80


def test_synthesis_is_the_generator_class_by_class(generator: Generator, numbers: GzslDataset) -> None:
    labels = synthetic_labels("unseen", [70], numbers)
    made = torch.cat(
        list(synthesize(generator, numbers.attributes, labels, torch.Generator().manual_seed(4)))
    )
    rng = torch.Generator().manual_seed(4)
    noise = torch.cat([torch.randn(len(rows), 20, generator=rng) for rows in labels.split(synthesis.CHUNK)])
    expected = torch.cat(
        [
            generator(numbers.attributes[label].expand(70, -1), noise[labels == label])
            for label in numbers.unseen_classes
        ]
    )
    torch.testing.assert_close(made, expected.detach(), rtol=1e-5, atol=1e-6)


def test_memory_holds_one_chunk_whatever_the_count(generator: Generator, numbers: GzslDataset) -> None:
    labels = synthetic_labels("unseen", [500], numbers)
    assert (
        max(len(chunk) for chunk in synthesize(generator, numbers.attributes, labels, torch.Generator()))
        == synthesis.CHUNK
    )


def test_the_same_seed_gives_the_same_bytes(
    tmp_path: Path, generator: Generator, numbers: GzslDataset
) -> None:
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, generator, numbers)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_file_has_the_layout_of_the_original(
    tmp_path: Path, generator: Generator, numbers: GzslDataset
) -> None:
    labels = write(tmp_path / "s.h5", generator, numbers)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["train/X"].shape == (60, 128)
        assert file["train/Y"][:].tolist() == (labels + 1).tolist()
        torch.testing.assert_close(
            torch.from_numpy(file["train/A/continuous"][:]), numbers.attributes[labels]
        )
        assert file["info/dataset"].asstr()[()] == "numbers"


def test_real_rows_come_before_the_synthetic_ones(
    tmp_path: Path, generator: Generator, numbers: GzslDataset
) -> None:
    labels = write(tmp_path / "s.h5", generator, numbers, real=1500)
    source = inspect_synthetic(tmp_path / "s.h5")
    features, read = read_synthetic(source, 100)
    assert torch.equal(features[torch.arange(1500)], numbers.features[numbers.trainval[:1500]])
    assert torch.equal(read, torch.cat([numbers.labels[:1500], labels]))


def test_a_failure_in_the_middle_leaves_no_file(tmp_path: Path, numbers: GzslDataset) -> None:
    def broken():
        yield torch.zeros(10, 128)
        raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError):
        write_synthetic(
            tmp_path / "s.h5",
            numbers,
            torch.zeros(20, dtype=torch.int64),
            broken(),
            INFO,
            numbers.trainval[:0],
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train/Y", [1, 2, 101], r"train/Y: found 101; allowed: whole numbers from 1 to 100"),
        ("train/Y", [0, 1, 2], r"train/Y: found 0; allowed: whole"),
        ("train/Y", [1, 1.5, 2], r"train/Y: found 1\.5; allowed: whole"),
        ("train/Y", [1, 2], r"train/Y: found 2 labels; allowed: 3"),
        ("train/X", [[1.0], [float("nan")], [2.0]], r"train/X: found NaN or infinity"),
        ("train/X", [1.0, 2.0, 3.0], r"train/X: found float64 of shape \(3,\)"),
    ],
)
def test_a_bad_synthetic_file_is_refused(tmp_path: Path, key: str, value: list[float], message: str) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["train/X"], file["train/Y"] = [[1.0], [2.0], [3.0]], [1, 2, 3]
        del file[key]
        file[key] = value
    with pytest.raises(InputError, match=message):
        read_synthetic(inspect_synthetic(tmp_path / "s.h5"), 100)


def test_a_synthetic_file_without_rows_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["train/X"], file["train/Y"] = torch.empty(0, 3).numpy(), torch.empty(0).numpy()
    with pytest.raises(InputError, match=r"s\.h5: train/Y: found 0 labels; allowed: at least one row"):
        inspect_synthetic(tmp_path / "s.h5")


@pytest.mark.parametrize("text", ["{half", "[1]", "7", "[" * 100_000])
def test_broken_facts_of_a_synthetic_file_are_refused(tmp_path: Path, text: str) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["train/X"], file["train/Y"], file["info/data"] = [[1.0]], [1], text
    with pytest.raises(InputError, match=r"s\.h5: info/data: found .*; allowed: JSON"):
        inspect_synthetic(tmp_path / "s.h5").read_facts("data")
