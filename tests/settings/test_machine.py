"""What a run asks of the machine: threads, precision and device."""

from collections.abc import Iterator

import pytest
import torch
from joblib import cpu_count

from cwgan.errors import InputError
from cwgan.gan.networks import Regressor, SoftmaxClassifier, freeze
from cwgan.gan.players import Gan, build_gan
from cwgan.gan.training import SeenRows, train_gan
from cwgan.gan_config import GanConfig
from cwgan.machine import find_device, set_up

CONFIG = GanConfig(hidden_size=24, batch_size=8, epochs=2)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")


def make(name: str) -> tuple[Gan, SeenRows]:
    """Return an untrained GAN and 50 random rows of six seen classes, beside three unseen ones."""
    rng, device = torch.Generator().manual_seed(1), torch.device(name)
    rows, attributes = torch.rand(50, 7, generator=rng), torch.rand(9, 5, generator=rng)
    data = SeenRows(rows, torch.arange(50) % 6, torch.arange(50), attributes, torch.arange(6, 9))
    networks = freeze(Regressor(7, 5, rng)), freeze(SoftmaxClassifier(7, torch.arange(6), rng))
    return build_gan(7, 5, CONFIG, torch.Generator().manual_seed(2), *networks, device), data.to(device)


def test_threads_and_precision_are_what_the_run_asks_for() -> None:
    set_up(2, "bfloat16")
    assert torch.get_num_threads() == 2
    assert torch.get_float32_matmul_precision() == "medium"
    set_up(0, "float32")
    assert torch.get_num_threads() == min(2, cpu_count())
    assert torch.get_float32_matmul_precision() == "highest"


def test_without_a_number_threads_are_no_more_than_the_cores_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(3)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # as a cgroup's quota
    set_up(0, "float32")
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(InputError, match=f"device: found {name}; allowed: auto or cpu: PyTorch sees no"):
            find_device(name)


def test_products_of_bfloat16_leave_weights_and_moments_in_float32() -> None:
    set_up(1, "bfloat16")
    gan, data = make("cpu")
    list(train_gan(gan, data))
    kept = {
        name: value for name, value in gan.tensors().items() if "rng" not in name and "classes" not in name
    }
    assert {value.dtype for value in kept.values()} == {torch.float32}
