"""One training on several processes, one a device, which `torchrun` starts and PyTorch connects.

All processes make the same random choices, and each reads and computes its share of every batch. Gradients
are then averaged, so that all take the same step: that of one process with the whole batch, but for rounding.
The process of rank 0 does all else; the others hear from it what is to be trained.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from cwgan.errors import first_line

FOREVER = timedelta(days=30)  # torchrun ends all where one ends; until then they wait for one another


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes that torchrun has started, if any; at the end of rank 0's work the others end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    # Imported later, its functions would keep the group as a default argument. The group's threads would then
    # outlive it, and crash as Python ends.
    import torch.distributed.nn

    with _connected():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=FOREVER)
    yield
    if distributed.get_rank() == 0:
        tell(None)
    distributed.destroy_process_group()


def count_processes() -> int:
    """Return how many processes share this training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def tell(value: Any) -> None:
    """Give the other processes a value."""
    if count_processes() > 1:
        with _connected():
            distributed.broadcast_object_list([value])


def hear() -> Any:
    """Return the next value that rank 0 tells."""
    heard = [None]
    with _connected():
        distributed.broadcast_object_list(heard)
    return heard[0]


def take_share(batch: Tensor) -> Tensor:
    """Return the rows of a batch that are this process's; their number must divide by `count_processes`."""
    if count_processes() == 1:
        return batch
    return batch[distributed.get_rank() :: count_processes()].contiguous()


def average(network: nn.Module, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average a network's gradients over all processes, in place; return the averages of terms."""
    if count_processes() == 1:
        return terms
    values = torch.stack([value.detach() for value in terms.values()])
    summed = [*(parameter.grad for parameter in network.parameters() if parameter.grad is not None), values]
    with _connected():
        for work in [distributed.all_reduce(each, async_op=True) for each in summed]:
            work.wait()
    for each in summed:
        each.div_(count_processes())
    return dict(zip(terms, values, strict=True))


@contextmanager
def _connected() -> Iterator[None]:
    """Turn PyTorch's errors about a process that is gone into a ConnectionError of one line."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"another process of this training is gone: {first_line(error)}") from error
