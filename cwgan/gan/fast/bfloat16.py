"""Products with a large weight that is used several times before it changes.

Under `precision=bfloat16` (see `cwgan.machine`) oneDNN rounds both operands of a float32 product to bfloat16, and the
weight anew in every product: at 64 rows that takes about as long as the product. A weight that is registered here is
rounded once after each of its changes, and its products are of two bfloat16 matrices. They are still summed in float32;
the sum is then rounded to bfloat16 once, an error of the size that rounding the operands brings.

In float32, on a GPU, on a CPU without bfloat16 and for a weight that is not registered the products are PyTorch's own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass
class _Copy:
    """A weight in bfloat16, and which version of the weight it was made of."""

    values: Tensor | None = None
    version: int = 0


_copies = WeakTensorKeyDictionary()


def register(weight: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Let products with a weight use a bfloat16 copy, made when one is needed and again when the weight has changed.

    Args:
        weight: changed in place, as by loading, or by the optimizer.
        optimizer: its fused Adam does not count up the weight's version, so that is done after every step.
    """
    if weight.device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    _copies[weight] = _Copy()
    optimizer.register_step_post_hook(lambda *_: torch.autograd.graph.increment_version(weight))


def multiply(
    rows: Float[Tensor, "batch outputs"], weight: Float[Tensor, "outputs inputs"]
) -> Float[Tensor, "batch inputs"]:
    """Return rows W: the way back through a layer."""
    copy = _copy_of(weight)
    return rows @ weight if copy is None else (rows.bfloat16() @ copy).float()


def multiply_transposed(
    rows: Float[Tensor, "batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    out: Float[Tensor, "batch outputs"] | None = None,
) -> Float[Tensor, "batch outputs"]:
    """Return rows W', in a place of the caller's if one is given: the way through a layer."""
    copy = _copy_of(weight)
    if copy is None:
        return torch.mm(rows, weight.t(), out=out)
    product = rows.bfloat16() @ copy.t()
    return product.float() if out is None else out.copy_(product)


def add_multiply_transposed(
    start: Float[Tensor, "*batch outputs"],
    rows: Float[Tensor, "batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
) -> Float[Tensor, "batch outputs"]:
    """Return start + rows W', where the start is a bias or one row each."""
    copy = _copy_of(weight)
    return torch.addmm(start, rows, weight.t()) if copy is None else start + rows.bfloat16() @ copy.t()


def _copy_of(weight: Tensor) -> Tensor | None:
    if torch.get_float32_matmul_precision() != "medium" or weight not in _copies:
        return None
    copy = _copies[weight]
    if copy.values is None:
        copy.values = weight.bfloat16()
    elif copy.version != weight._version:
        copy.values.copy_(weight)
    copy.version = weight._version
    return copy.values
