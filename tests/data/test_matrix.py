"""Features on disk are the features in memory, and are read in an order that a disk can follow."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cwgan.data import matrix, stored
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import load_hdf5, save_hdf5
from cwgan.data.matrix import Stack, View, is_in_memory, join, shuffle
from cwgan.data.scaling import scale
from cwgan.data.stored import FileRows
from cwgan.data.views import make_validation_view
from cwgan.errors import InputError
from tests.make_data import assert_same_data, tiny_dataset


def rewrite(path: Path, key: str, change) -> None:
    """Store what a function makes of a dataset of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        values = change(file[key][:])
        del file[key]
        file[key] = values


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_rows_on_disk_are_those_in_memory(tmp_path: Path, kind) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    for group in ("train", "test/seen", "test/unseen"):
        rewrite(tmp_path / "data.h5", f"{group}/X", lambda values: values.astype(kind))
    ram, disk = (load_hdf5(tmp_path, "tiny", memory=memory) for memory in ("ram", "disk"))
    assert is_in_memory(ram.features)
    assert not is_in_memory(disk.features)
    assert_same_data(disk, ram)
    for scaling in ("overall", "per_feature", "min_max", "unit_norm"):
        assert_same_data(scale(disk, scaling, 4.0), scale(ram, scaling, 4.0))
    views = [scale(make_validation_view(each, 0.5, 3), "overall", 4.0) for each in (disk, ram)]
    assert_same_data(*views)


def test_a_second_start_looks_at_no_row_again_until_the_file_changes(tmp_path: Path, monkeypatch) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    first = load_hdf5(tmp_path, "tiny", memory="disk").digest

    def refuse(matrix: FileRows, rows: torch.Tensor) -> torch.Tensor:
        raise AssertionError("rows are read")

    with monkeypatch.context() as patch:
        patch.setattr(FileRows, "__getitem__", refuse)
        assert load_hdf5(tmp_path, "tiny", memory="disk").digest == first
    rewrite(tmp_path / "data.h5", "train/X", lambda values: values + 1)
    assert load_hdf5(tmp_path, "tiny", memory="disk").digest != first
    (tmp_path / "data.h5.scan.npz").write_bytes(b"PK rubbish")
    assert (
        load_hdf5(tmp_path, "tiny", memory="disk").digest == load_hdf5(tmp_path, "tiny", memory="ram").digest
    )


def test_nan_on_disk_is_refused(tmp_path: Path) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    rewrite(tmp_path / "data.h5", "train/X", lambda values: np.where(values == values.max(), np.nan, values))
    for _ in range(2):
        with pytest.raises(InputError, match="features: found NaN or infinity in 1 rows"):
            load_hdf5(tmp_path, "tiny", memory="disk")


def test_compressed_rows_cannot_stay_on_disk(tmp_path: Path) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        values = file["train/X"][:]
        del file["train/X"]
        file.create_dataset("train/X", data=values, compression="gzip")
    with pytest.raises(InputError, match="X: found a dataset in chunks; allowed: datasets in one piece"):
        load_hdf5(tmp_path, "tiny", memory="disk")
    assert is_in_memory(load_hdf5(tmp_path, "tiny").features)


def test_rows_on_disk_are_shuffled_by_blocks_and_within_windows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(matrix, "WINDOW", 64)
    monkeypatch.setattr(stored, "BLOCK", 16)
    (tmp_path / "rows").write_bytes(np.arange(1000, dtype=np.float32).tobytes())
    rows = FileRows(tmp_path / "rows", 1, [(0, 1000, np.dtype(np.float32))])
    order = shuffle(View(rows), torch.arange(1000), torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(1000))
    assert len((order[:64] // 16).unique()) <= 5  # four blocks, of which the short last one may be one
    assert order[:64].tolist() != sorted(order[:64].tolist())
    assert len((order[:320] // 16).unique()) > len((torch.arange(320) // 16).unique()) - 2
    assert order[:64].max() - order[:64].min() > 200
    assert torch.equal(rows[order].flatten(), order.float())


def test_rows_of_several_places_are_read_in_any_order_and_a_file_that_shrinks_is_noticed(
    tmp_path: Path,
) -> None:
    (tmp_path / "rows").write_bytes(np.arange(1000, dtype=np.float32).tobytes())
    kind, numbers = np.dtype(np.float32), torch.arange(1000.0).view(500, 2)
    rows = FileRows(tmp_path / "rows", 2, [(0, 300, kind), (2400, 200, kind)])
    for wanted in (torch.arange(500), torch.randperm(500), torch.tensor([7, 7, 499, 0, 300, 299])):
        assert torch.equal(rows[wanted], numbers[wanted])
    os.truncate(tmp_path / "rows", 3000)
    with pytest.raises(InputError, match="rows: file: found cut short since it was opened"):
        rows[torch.arange(500)]


def test_matrices_one_below_the_other(monkeypatch, numbers: GzslDataset) -> None:
    above, below = View(numbers.features, numbers.val), numbers.features[:7]
    whole = join(above, below)
    assert isinstance(whole, torch.Tensor)
    monkeypatch.setattr(matrix, "LARGE", 0)
    parts, rows = join(above, below), torch.randperm(len(whole))
    assert isinstance(parts, Stack)
    assert parts.shape == whole.shape
    assert torch.equal(parts[rows], whole[rows])
