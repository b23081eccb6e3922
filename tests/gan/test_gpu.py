"""What is the same on a GPU as on a CPU. Nothing of it runs without an NVIDIA GPU."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.gan.checkpoint import Checkpoint, load_checkpoint
from cwgan.gan.fast.gradients import critic_backward
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import Gan, build_gan
from cwgan.gan.training import SeenRows, critic_step, generator_step, take_steps, train_gan
from cwgan.gan_config import GanConfig, MonitorConfig
from cwgan.machine import set_up
from cwgan.stages.generate import generate
from cwgan.stages.job import Job
from cwgan.stages.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
CONFIG = GanConfig(hidden_size=24, batch_size=8, epochs=2, epoch_steps=0, critic_steps=1, cycle_weight=0.1)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


def make(name: str, config: GanConfig = CONFIG) -> tuple[Gan, SeenRows]:
    """Return an untrained GAN and 50 random rows of six seen classes, beside three unseen ones."""
    rng, device = torch.Generator().manual_seed(1), torch.device(name)
    rows, attributes = torch.rand(50, 7, generator=rng), torch.rand(9, 5, generator=rng)
    data = SeenRows(rows, torch.arange(50) % 6, torch.arange(50), attributes, torch.arange(6, 9))
    networks = freeze(Regressor(7, 5, rng)), freeze(SoftmaxClassifier(7, torch.arange(6), rng))
    return build_gan(7, 5, config, torch.Generator().manual_seed(2), *networks, device), data.to(device)


def assert_close(gan: Gan, other: Gan) -> None:
    wanted = other.tensors()
    for name, value in gan.tensors().items():
        if name.startswith(("generator.", "critic.")):
            torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-5)


def test_the_critics_gradients_are_those_of_the_cpu() -> None:
    found = []
    for device in ("cuda", "cpu"):
        gan, data = make(device)
        mix = torch.linspace(0, 1, 8, device=device)[:, None]
        real, attributes = data.features[:8], data.attributes[data.labels[:8]]
        terms = critic_backward(gan.critic, real, data.features[8:16], attributes, mix, 10.0)
        gradients = [parameter.grad.cpu() for parameter in gan.critic.parameters()]
        found.append([*(term.cpu() for term in terms.values()), *gradients])
    for on_gpu, on_cpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-6)


def test_a_replayed_epoch_trains_as_an_eager_one_does() -> None:
    (replayed, data), (eager, _) = make("cuda"), make("cuda")
    list(train_gan(replayed, data))
    for rows in draw_batches(eager, data):
        critic_step(eager, data, rows)
        generator_step(eager, data, rows)
    assert_close(replayed, eager)


def draw_batches(gan: Gan, data: SeenRows) -> Iterator[Tensor]:
    """Yield the batches of every epoch as `train_gan` draws them; set its learning rates."""
    for _ in range(CONFIG.epochs):
        gan.critic_optimizer.param_groups[0]["lr"].fill_(CONFIG.critic_lr)
        gan.generator_optimizer.param_groups[0]["lr"].fill_(CONFIG.generator_lr)
        order = torch.randperm(len(data.rows), generator=gan.rng, device=gan.rng.device)
        yield from data.rows[order[: len(order) // 8 * 8]].split(8)


def test_a_training_goes_on_from_any_step(tmp_path) -> None:
    (whole, data), (begun, _), (resumed, _) = make("cuda"), make("cuda"), make("cuda")
    list(train_gan(whole, data))
    steps = take_steps(begun, data)
    for _ in range(8):  # of 6 an epoch
        next(steps)
    tensors = {name: value.cpu() for name, value in begun.all_tensors().items()}
    sizes = {"feature_size": 7, "attribute_size": 5}
    facts = {"epoch": begun.epoch, "data": sizes, "config": to_dict(Config(gan=CONFIG))}
    resumed.restore(Checkpoint(tmp_path, tensors, facts))
    list(train_gan(resumed, data))
    assert_close(resumed, whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_stages_train_and_make_rows(tmp_path, numbers: GzslDataset, precision) -> None:
    set_up(1, precision)
    terms = {"unseen_cycle_weight": 0.1, "classification_weight": 0.1}
    gan = replace(CONFIG, epoch_steps=5, holdout=0.1, **terms)
    config = Config(device="cuda", precision=precision, gan=gan, monitor=MonitorConfig(epochs=1))
    logged: dict[str, float] = {}
    job = Job(config, numbers, tmp_path, lambda terms, _: logged.update(terms))
    path = train(job)
    assert load_checkpoint(path).facts["epoch"] == CONFIG.epochs
    assert {"gan/critic", "gan/val_critic", "gan/monitor_accuracy"} <= logged.keys()
    assert generate(job, path)[0].is_file()
