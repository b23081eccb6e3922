"""What a run asks of the machine: threads, the precision of matrix products, and the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cwgan.errors import InputError, first_line

PRECISIONS = {"float32": "highest", "bfloat16": "medium"}


def set_up(threads: int, precision: str) -> None:
    """Set the number of CPU threads (0: one per core) and the type of matrix products' operands."""
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(PRECISIONS[precision])


@contextmanager
def memory_counted() -> Iterator[None]:
    """Turn PyTorch's errors about a lack of memory, here or on a GPU, into a MemoryError of one line."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(f"not enough memory: {first_line(error)}") from error
        raise


def find_device(name: str) -> torch.device:
    """Return the device: "cpu", "cuda" (InputError where PyTorch sees no GPU), or "auto", a GPU if any."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("configuration", "device", "cuda", "auto or cpu: PyTorch sees no GPU here")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
