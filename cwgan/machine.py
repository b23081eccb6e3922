"""What a run asks of the machine: threads, the precision of products, and where the GAN is trained.

Large allocations are worth huge pages; PyTorch asks for them when told so before it is first used, which
`entrypoints.launch` does (measured in docs/performance.md).
"""

import torch

from cwgan.errors import InputError

PRECISIONS = {"float32": "highest", "bfloat16": "medium"}


def set_up(threads: int, precision: str) -> None:
    """Prepare PyTorch for a run.

    Args:
        threads: of the CPU; 0: as many as there are cores.
        precision: of the operands of matrix products, "float32" or "bfloat16"; sums, weights and Adam's state stay float32.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(PRECISIONS[precision])


def find_device(name: str) -> torch.device:
    """Return the device that "cpu", "cuda" or "auto" (a GPU where there is one) stands for.

    Raises:
        InputError: a GPU is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("configuration", "device", "cuda", "auto or cpu: PyTorch sees no GPU here")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
