"""One training on several processes that torchrun starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from cwgan.command_line import parse
from cwgan.errors import InputError
from cwgan.gan.checkpoint import Checkpoint, load_checkpoint
from cwgan.gan_config import GanConfig
from cwgan.launch import launch
from cwgan.stages.job import Job, load_data
from cwgan.stages.needs import check_shares
from cwgan.stages.train import train
from entrypoints import generate, train_gan

# MLflow's own queries are not yet of the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
NEEDS_TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
# The entry point's own lines, and that no thread of the connection is left to meet Python's end.
PROGRAM = """
import os, sys
from pathlib import Path
from cwgan.launch import launch
from entrypoints.train_gan import COMMAND
status = launch(COMMAND)
names = [Path(f"/proc/self/task/{thread}/comm").read_text() for thread in os.listdir("/proc/self/task")]
assert not [name for name in names if "gloo" in name], names
sys.exit(status)
"""
TINY = [
    *("--threads=1", "--gan.hidden_size=16", "--gan.epochs=3", "--gan.epoch_steps=4", "--gan.batch_size=64"),
    *("--gan.critic_steps=2", "--gan.cycle_weight=0.5", "--gan.unseen_cycle_weight=0.1", "--gan.holdout=0.1"),
    *("--gan.classification_weight=0.1", "--gan.generator_lr=1e-3", "--gan.penalty_mixing=per_element"),
    *("--monitor.epochs=1", "--monitor.batch_size=512", "--regressor.epochs=1", "--regressor.batch_size=512"),
]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_TWO_GPUS)])
def test_two_processes_train_as_one_does_with_the_whole_batch(tmp_path, device):
    flags = [*TINY, f"--device={device}"]
    config = parse(train_gan.COMMAND, flags).config
    alone = train(Job(config, load_data(config), tmp_path, lambda *_: None))
    one, two = load_checkpoint(alone), train_by_torchrun(tmp_path / "two", flags)
    for ours, theirs in zip(one.facts["history"]["gan"], two.facts["history"]["gan"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5, abs=2e-6)
    assert one.tensors.keys() == two.tensors.keys()
    for name in one.tensors:
        # Adam makes a step of the rounding of a gradient near 0. The training moves weights by 3 to 17 %.
        ours, theirs = one.tensors[name].double(), two.tensors[name].double()
        assert (theirs - ours).norm() <= 1e-4 * ours.norm(), name


def train_by_torchrun(folder: Path, flags: list[str]) -> Checkpoint:
    """Train a GAN by two processes, which leave one run, and one GAN, in a folder."""
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": paths}
    done = subprocess.run(
        [*torchrun, "program.py", *flags],
        cwd=folder, env={**os.environ, **store}, capture_output=True, text=True, check=False,
    )  # fmt: skip
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
