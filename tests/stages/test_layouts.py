"""The same data as MATLAB files or as an HDF5 pair: the same rows are drawn, and the same bits come out."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from make_data import one_based_column, write_xlsa17, xlsa17_arrays
from safetensors.numpy import load_file

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.sources import load_dataset
from cwgan.stages.classify import train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import Job, load_data
from cwgan.stages.train import train

FLO = Path(__file__).resolve().parents[3] / "shared" / "data" / "FLO"
TINY = {
    "threads": 1,
    "monitor.epochs": 2,
    "monitor.holdout": 0.3,
    "gan.epochs": 1,
    "gan.epoch_steps": 3,
    "gan.hidden_size": 8,
    "gan.batch_size": 4,
    "generate.counts": [3],
    "classifier.epochs": 2,
}
VIEWS = [
    {},
    {"protocol": "validation"},
    {"protocol": "validation", "data.fold": 1},
    {"data.division": 1},
    {"data.division": 1, "protocol": "validation", "data.fold": 2},
]


def road(data: Path, view: dict, folder: Path) -> dict[str, bytes]:
    """Return the bytes of all that a short road on a data set leaves, by name."""
    config = override(Config(), {**TINY, **view, "data.path": str(data)})
    job = Job(config, load_data(config), folder, lambda terms, epoch: None)
    gan = train(job)
    rows, _ = generate(job, gan)
    scores = train_classifier(job, rows).scores
    tensors = {**load_file(gan), **load_file(folder / "classifier.safetensors")}
    with h5py.File(rows) as file:
        tensors |= {key: file[f"train/{key}"][:] for key in ("X", "Y", "A/continuous")}
    return {name: tensor.tobytes() for name, tensor in tensors.items()} | {"scores": repr(scores).encode()}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Made-up files whose splits are in no order and leave out some rows, and FLO; each in both layouts."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    splits = ("trainval_loc", "test_seen_loc", "test_unseen_loc", "train_loc", "val_loc")
    lists = {key: rng.permutation(xlsa17_arrays()[key].ravel().astype(int) - 1) for key in splits}
    lists["test_seen_loc"] = lists["test_seen_loc"][1:]
    arrays = {key: one_based_column(rows) for key, rows in lists.items()}
    sources = {"made up": write_xlsa17(folder / "mat", **arrays)} | ({"FLO": FLO} if FLO.is_dir() else {})
    for name, source in sources.items():
        save_hdf5(load_dataset(str(source)), folder / name)
    return {name: (source, folder / name) for name, source in sources.items()}


@pytest.mark.parametrize(
    ("name", "view"), [*(("made up", view) for view in VIEWS), ("FLO", VIEWS[0]), ("FLO", VIEWS[-1])]
)
def test_either_layout_gives_the_same_bits(
    name: str, view: dict, pairs: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    if name not in pairs:
        pytest.skip(f"needs the benchmark FLO in {FLO}")
    mat, pair = pairs[name]
    assert road(mat, view, tmp_path / "mat") == road(pair, view, tmp_path / "pair")
