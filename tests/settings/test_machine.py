from collections.abc import Iterator

import pytest
import torch
from test_gan import CONFIG, make

from cwgan.errors import InputError
from cwgan.gan.training import build_gan, critic_step, generator_step, train_gan
from cwgan.machine import find_device, set_up

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")


def test_threads_and_precision_are_what_the_run_asks_for() -> None:
    set_up(2, "bfloat16")
    assert torch.get_num_threads() == 2
    assert torch.get_float32_matmul_precision() == "medium"
    set_up(0, "float32")
    assert torch.get_num_threads() == 2
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="device: found cuda; allowed: auto or cpu"):
        find_device("cuda")


def test_products_of_bfloat16_leave_weights_and_moments_in_float32() -> None:
    set_up(1, "bfloat16")
    gan, data = make(CONFIG)
    list(train_gan(gan, data))
    assert {
        value.dtype for name, value in gan.tensors().items() if "rng" not in name and "classes" not in name
    } == {torch.float32}


@NEEDS_GPU
def test_a_replayed_epoch_trains_as_an_eager_one_does() -> None:
    gans = []
    for replayed in (False, True):
        start, data = make(CONFIG)
        gan = build_gan(
            7,
            5,
            CONFIG,
            torch.Generator().manual_seed(2),
            start.regressor,
            start.classifier,
            torch.device("cuda"),
        )
        on_gpu = data.to(torch.device("cuda"))
        if replayed:
            list(train_gan(gan, on_gpu))
        else:
            for rows in batches(gan, on_gpu):
                critic_step(gan, on_gpu, rows)
                generator_step(gan, on_gpu, rows)
        gans.append(gan.tensors())
    for name, value in gans[0].items():
        if name.startswith(("generator.", "critic.")):
            torch.testing.assert_close(gans[1][name], value, rtol=1e-3, atol=1e-5)


def batches(gan, data):
    """Yield the batches of two epochs as `train_gan` draws them, with its learning rates."""
    for epoch in range(CONFIG.epochs):
        for optimizer, lr in (
            (gan.critic_optimizer, CONFIG.critic_lr),
            (gan.generator_optimizer, CONFIG.generator_lr),
        ):
            optimizer.param_groups[0]["lr"].fill_(lr / (1 + 0 * epoch))
        order = torch.randperm(len(data.rows), generator=gan.rng, device="cuda")
        yield from data.rows[order[: len(order) // 8 * 8]].split(8)
