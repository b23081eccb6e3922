"""One training on several processes that torchrun starts."""

import os
import subprocess
import sys

import pytest
import torch
from mlflow import MlflowClient

from cwgan.errors import InputError
from cwgan.gan.checkpoint import Checkpoint, load_checkpoint
from cwgan.gan_config import GanConfig
from cwgan.launch import launch
from cwgan.stages.needs import check_shares
from entrypoints import generate

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
TINY = [
    *("--threads=1", "--gan.hidden_size=16", "--gan.epochs=3", "--gan.epoch_steps=4", "--gan.batch_size=64"),
    *("--gan.critic_steps=2", "--gan.cycle_weight=0.5", "--gan.unseen_cycle_weight=0.1", "--gan.holdout=0.1"),
    *("--gan.classification_weight=0.1", "--gan.generator_lr=1e-3", "--gan.penalty_mixing=per_element"),
    *("--monitor.epochs=1", "--monitor.batch_size=512", "--regressor.epochs=1", "--regressor.batch_size=512"),
]


def test_two_processes_train_as_one_does_with_the_whole_batch(tmp_path):
    one, two = train(tmp_path / "one", "-m"), train(tmp_path / "two", *TORCHRUN)
    ours, theirs = one.facts["history"]["gan"], two.facts["history"]["gan"]
    for alone, shared in zip(ours, theirs, strict=True):
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-6)
    assert one.tensors.keys() == two.tensors.keys()
    for name, value in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], value, rtol=1e-4, atol=1e-5)


TORCHRUN = "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "-m"


def train(folder, *way) -> Checkpoint:
    """Train a GAN by processes of its own, which leave one run, and nothing else, in a folder."""
    folder.mkdir()
    command = [sys.executable, *way, "entrypoints.train_gan", *TINY]
    paths = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **store}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gan           3/3 epochs") == 1
    (run,) = MlflowClient(store["MLFLOW_TRACKING_URI"]).search_runs(["0"])
    assert run.info.status == "FINISHED"
    (path,) = folder.rglob("gan.safetensors")
    return load_checkpoint(path)


@pytest.mark.parametrize(
    ("given", "rows", "found"),
    [
        ({"batch_size": 63}, 1000, "gan.batch_size: found a batch of 63 rows; allowed: what the 2 processes"),
        ({"batch_size": 64}, 33, "gan.batch_size: found a batch of 33 rows"),
        ({"batch_size": 64, "epoch_steps": -1}, 131, "gan.batch_size: found a batch of 3 rows"),
        ({"cycle_error": "legacy", "cycle_weight": 1.0}, 1000, "gan.cycle_error: found legacy; allowed: rel"),
    ],
)
def test_what_two_processes_cannot_share_is_refused(given, rows, found):
    check_shares(GanConfig(**given), rows, processes=1)
    with pytest.raises(InputError, match=found):
        check_shares(GanConfig(**given), rows, processes=2)


def test_torchrun_is_refused_by_a_command_that_trains_no_gan(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert launch(generate.COMMAND, ["--gan=any"]) == 1
    allowed = "main, ablation or train_gan"
    assert capsys.readouterr().err == f"error: torchrun: command: found generate; allowed: {allowed}\n"
