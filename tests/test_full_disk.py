"""A disk that is full, or cannot be written: one error that names the file, and no half-written file."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.data.hdf5 import save_hdf5
from cwgan.errors import WriteError
from cwgan.files import copy_file, map_matrix, write_text
from cwgan.gan.checkpoint import save_checkpoint
from cwgan.gan.synthesis import write_synthetic
from cwgan.stages.figures import save
from cwgan.stages.results import write_table

LARGE = Path(torch.__file__).with_name("lib") / "libtorch_python.so"


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def checkpoint(path: Path, numbers: GzslDataset) -> None:
    save_checkpoint(path, {"weight": torch.zeros(10**5)}, "gan", 1, to_dict(Config()), numbers)


def synthetic(path: Path, numbers: GzslDataset) -> None:
    chunks = iter([torch.zeros(1000, numbers.feature_size)])
    write_synthetic(path, numbers, torch.zeros(1000).long(), chunks, {}, torch.arange(0))


def few_synthetic(path: Path, numbers: GzslDataset) -> None:
    """Write so little that HDF5 writes nothing before it closes the file."""
    (path.parent / "filler").write_bytes(b"0" * 200_000)
    try:
        chunks = iter([torch.zeros(150, numbers.feature_size)])
        write_synthetic(path, numbers, torch.zeros(150).long(), chunks, {}, torch.arange(0))
    finally:
        (path.parent / "filler").unlink()


def picture(path: Path, numbers: GzslDataset) -> None:
    figure = Figure(figsize=(8, 8))
    figure.figimage(np.random.default_rng(0).random((1200, 1200)))
    save(figure, path)


WRITERS: dict[str, Callable[[Path, GzslDataset], object]] = {
    "gan.safetensors": checkpoint,
    "synthetic.h5": synthetic,
    "few.h5": few_synthetic,
    "curves.png": picture,
    "config.yaml": lambda path, numbers: write_text(path, "x" * 300_000),
    "table.csv": lambda path, numbers: write_table(path, ("a",), [("x" * 300_000,)]),
    "copy.csv": lambda path, numbers: copy_file(
        Path(torch.__file__).with_name("lib") / "libtorch_python.so", path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_error_that_names_the_file_and_leaves_nothing(
    small_disk: Path, numbers: GzslDataset, name: str
) -> None:
    with pytest.raises(WriteError, match=rf"{name}.*: cannot be written: .*No space left"):
        WRITERS[name](small_disk / name, numbers)
    assert list(small_disk.iterdir()) == []


def test_a_matrix_on_a_full_disk_is_refused_before_it_is_used(small_disk: Path) -> None:
    with pytest.raises(WriteError, match=rf"{small_disk}: cannot be written: No space left on device"):
        map_matrix(small_disk, 1000, 100)
    assert list(small_disk.iterdir()) == []


def test_of_a_pair_that_does_not_fit_none_is_left(small_disk: Path, numbers: GzslDataset) -> None:
    with pytest.raises(WriteError, match=r"knn\.h5.*: cannot be written: No space left on device"):
        save_hdf5(numbers, small_disk)
    assert list(small_disk.iterdir()) == []


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        WriteError, match=r"file/config\.yaml: cannot be written: (Not a directory|File exists)"
    ):
        write_text(tmp_path / "file/config.yaml", "")


def test_a_full_disk_ends_a_program_with_status_1_and_one_line(small_disk: Path, tmp_path: Path) -> None:
    flags = ["--protocol=final", f"--out={small_disk}/pair", "--data.path=numbers"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "entrypoints.prepare", *flags]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stderr.splitlines() if "INFO" not in line]
    assert line.startswith(f"error: {small_disk}/pair/.knn.h5.")
    assert line.endswith("part: cannot be written: No space left on device")
    assert done.returncode == 1
