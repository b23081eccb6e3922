"""Products in float32 are PyTorch's own; in bfloat16 they follow the weight and stay near float32's."""

import copy
from collections.abc import Iterator

import pytest
import torch
from test_gan import CONFIG, make
from torch import Tensor, nn

from cwgan.gan.fast import bfloat16
from cwgan.gan.fast.bfloat16 import add_multiply_transposed, multiply, multiply_transposed, register
from cwgan.gan.networks import Generator
from cwgan.gan.synthesis import synthesize
from cwgan.gan.training import critic_step, generator_step

NEEDS_BFLOAT16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="needs a CPU with bfloat16"
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture
def weight(rng: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(32, 48, generator=rng), requires_grad=False)


def adam(weight: nn.Parameter) -> torch.optim.Adam:
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.Adam([weight], lr=0.5, fused=True)
    register(weight, optimizer)
    return optimizer


def by_hand(rows: Tensor, matrix: Tensor) -> Tensor:
    """Sum products of operands rounded to bfloat16, exactly."""
    return rows.bfloat16().double() @ matrix.bfloat16().double()


def test_float32_products_are_pytorchs_own_bit_for_bit(weight: nn.Parameter, rng: torch.Generator) -> None:
    adam(weight)
    inputs, errors, start = (
        torch.randn(8, 48, generator=rng),
        torch.randn(8, 32, generator=rng),
        torch.randn(32, generator=rng),
    )
    assert torch.equal(multiply(errors, weight), errors @ weight)
    assert torch.equal(multiply_transposed(inputs, weight), inputs @ weight.t())
    assert torch.equal(add_multiply_transposed(start, inputs, weight), torch.addmm(start, inputs, weight.t()))


@NEEDS_BFLOAT16
def test_bfloat16_products_round_operands_and_sum(weight: nn.Parameter, rng: torch.Generator) -> None:
    adam(weight)
    torch.set_float32_matmul_precision("medium")
    inputs, errors, start = (
        torch.randn(8, 48, generator=rng),
        torch.randn(8, 32, generator=rng),
        torch.randn(32, generator=rng),
    )
    expected = {
        "back": (multiply(errors, weight), by_hand(errors, weight)),
        "through": (multiply_transposed(inputs, weight), by_hand(inputs, weight.t())),
    }
    for name, (found, wanted) in expected.items():
        assert found.dtype == torch.float32, name
        torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-5, msg=name)
    assert torch.equal(
        add_multiply_transposed(start, inputs, weight), start + multiply_transposed(inputs, weight)
    )


@NEEDS_BFLOAT16
def test_the_copy_follows_a_step_of_adam_and_a_load(weight: nn.Parameter, rng: torch.Generator) -> None:
    optimizer = adam(weight)
    torch.set_float32_matmul_precision("medium")
    rows = torch.eye(32)
    before = multiply(rows, weight)
    assert torch.equal(before, weight.bfloat16().float())
    optimizer.step()
    assert torch.equal(multiply(rows, weight), weight.bfloat16().float())
    assert not torch.equal(multiply(rows, weight), before)
    nn.ParameterDict({"weight": weight}).load_state_dict({"weight": torch.randn(32, 48, generator=rng)})
    assert torch.equal(multiply(rows, weight), weight.bfloat16().float())


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_generator_in_training_and_the_one_read_from_its_file_make_the_same_bits(
    is_supported: bool, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    # PyTorch multiplies bfloat16 matrices on every processor, if slowly where it lacks the instructions.
    monkeypatch.setattr(bfloat16, "IS_SUPPORTED", is_supported)
    torch.set_float32_matmul_precision("medium")
    gan, data = make(CONFIG, features=256, attributes=64)
    gan.generator_optimizer.param_groups[0]["lr"] = 1e-3
    generator_step(gan, data, torch.arange(40))
    read = Generator(64, gan.generator.noise_size, len(gan.generator.hidden_bias), 256, 0.2, rng)
    read.load_state_dict(gan.generator.state_dict())
    labels, attributes = torch.arange(3).repeat(500), torch.randn(3, 64, generator=rng)
    trained, loaded, copied = (
        torch.cat([*synthesize(each, attributes, labels, torch.Generator().manual_seed(1))])
        for each in (gan.generator, read, copy.deepcopy(gan.generator))
    )
    assert torch.equal(trained, loaded)
    assert torch.equal(trained, copied)
    hidden = torch.randn(8, len(read.hidden_bias), generator=rng)
    product = add_multiply_transposed(read.output_bias, hidden, read.output_weight)
    exact = torch.addmm(read.output_bias, hidden, read.output_weight.t())
    assert torch.equal(product, exact) != is_supported


@NEEDS_BFLOAT16
def test_gradients_of_both_steps_in_bfloat16_are_near_those_in_float32() -> None:
    gradients = {}
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        gan, data = make(CONFIG, features=256, attributes=64)
        for optimizer in (gan.critic_optimizer, gan.generator_optimizer):
            optimizer.param_groups[0]["lr"] = 1e-3
        for _ in range(2):  # the second pair of steps multiplies with weights that have moved
            critic_step(gan, data, torch.arange(40))
            generator_step(gan, data, torch.arange(40))
        gradients[precision] = [gan.critic.feature_weight.grad, gan.generator.output_weight.grad]
    for exact, rounded in zip(*gradients.values(), strict=True):
        assert (exact - rounded).norm() < 0.03 * exact.norm()
