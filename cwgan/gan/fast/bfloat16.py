"""Products with a large weight, the same bits wherever they are taken.

Under `precision=bfloat16` (see `cwgan.machine`) oneDNN rounds both operands of a float32 product to bfloat16.
Here the operands are made bfloat16 first: the products are still summed in float32, and the sum is rounded to
bfloat16 once, an error as small as that of rounding the operands.

In training a weight is used several times before it changes, and at 64 rows rounding it takes about as long
as a product. So a weight that is registered is rounded once after each change; another one in every product,
to the same bits: a generator read from its file makes the rows that were scored in training.

In float32, on a GPU and on a CPU without bfloat16 the products are PyTorch's own.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Inputs = Float[Tensor, "batch inputs"]
Outputs = Float[Tensor, "batch outputs"]
Weight = Float[Tensor, "outputs inputs"]

IS_SUPPORTED = torch.ops.mkldnn._is_mkldnn_bf16_supported()
_copies = WeakTensorKeyDictionary()  # by weight: its copy in bfloat16, and the weight's version at that time


def register(weight: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Let products with a weight use a bfloat16 copy, renewed when needed after the weight has changed.

    The optimizer's fused Adam does not count up the version of a weight, so that is done after every step.
    """
    if weight.device.type != "cpu" or not IS_SUPPORTED:
        return
    _copies[weight] = torch.empty_like(weight, dtype=torch.bfloat16), -1
    optimizer.register_step_post_hook(lambda *_: torch.autograd.graph.increment_version(weight))


def multiply(rows: Outputs, weight: Weight) -> Inputs:
    """Return rows W: the way back through a layer."""
    copy = _find_copy(weight)
    return rows @ weight if copy is None else (rows.bfloat16() @ copy).float()


def multiply_transposed(rows: Inputs, weight: Weight, out: Outputs | None = None) -> Outputs:
    """Return rows W', written to `out` if that is given: the way through a layer."""
    copy = _find_copy(weight)
    if copy is None:
        return torch.mm(rows, weight.t(), out=out)
    product = rows.bfloat16() @ copy.t()
    return product.float() if out is None else out.copy_(product)


def add_multiply_transposed(start: Float[Tensor, "*batch outputs"], rows: Inputs, weight: Weight) -> Outputs:
    """Return start + rows W', where the start is a bias or one row each."""
    copy = _find_copy(weight)
    return torch.addmm(start, rows, weight.t()) if copy is None else start + rows.bfloat16() @ copy.t()


def _find_copy(weight: Tensor) -> Tensor | None:
    is_rounded = torch.get_float32_matmul_precision() == "medium" and IS_SUPPORTED
    if not is_rounded or weight.device.type != "cpu":
        return None
    if weight not in _copies:
        return weight.bfloat16()
    copy, version = _copies[weight]
    if version != weight._version:
        _copies[weight] = copy.copy_(weight), weight._version
    return copy
