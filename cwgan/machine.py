"""What a run asks of the machine: threads, the precision of matrix products, the device, and memory."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from cwgan.errors import InputError, first_line
from cwgan.ranks import count_processes

PRECISIONS = {"float32": "highest", "bfloat16": "medium"}


def set_up(threads: int, precision: str) -> None:
    """Set the number of CPU threads and the type of matrix products' operands.

    Without a number of threads it is PyTorch's, one per core or what OMP_NUM_THREADS says, but no more than
    the cores that the process or its cgroup may use.
    """
    if not threads:
        from joblib import cpu_count  # slow to import; it knows cgroups of both versions

        threads = min(torch.get_num_threads(), cpu_count())
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
    """Return the device: "cpu", "cuda", "cuda:1" and so on, or "auto", a GPU if any.

    InputError for a GPU that PyTorch does not see. A GPU given by number becomes the current one. Of several
    processes that torchrun started on a machine, each takes the GPU of its number.
    """
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if count_processes() > 1 and gpus and name != "cpu":
        if name not in ("auto", "cuda"):
            raise InputError("configuration", "device", name, "auto, cpu or cuda, as each process takes one")
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    if name in gpus:
        torch.cuda.set_device(name)
    elif name.startswith("cuda:") or not gpus:
        allowed = ", ".join(["auto", "cpu", *gpus]) if gpus else "auto or cpu: PyTorch sees no GPU here"
        raise InputError("configuration", "device", name, allowed)
    return torch.device("cuda")


def give_back_memory() -> None:
    """Return to the system what the C library keeps of freed memory; after a GAN that is all its weights."""
    with suppress(AttributeError):  # of another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def free_memory(device: torch.device | None = None) -> int:
    """Return how many bytes can still be taken: of a GPU, or of the machine and of the cgroups it grants.

    Where nothing tells it, that is without end.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = _read_numbers(Path("/proc/meminfo"))
    free = [1024 * lines["MemAvailable:"]] if "MemAvailable:" in lines else []
    return min([2**63, *free, *_list_cgroup_memory(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _list_cgroup_memory(membership: Path, mount: Path) -> list[int]:
    """Return the bytes left in every cgroup of this process that has a limit; version 1 or 2."""
    left = []
    for line in membership.read_text().splitlines() if membership.is_file() else []:
        _, controllers, place = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = mount / controllers
        inner = root / place.strip("/")
        for folder in (inner, *inner.parents):
            name, used = ("memory.limit_in_bytes", "total_rss") if controllers else ("memory.max", "anon")
            limit, stat = folder / name, folder / "memory.stat"
            if folder.is_relative_to(root) and limit.is_file() and stat.is_file():
                text = limit.read_text().strip()
                left += [int(text) - _read_numbers(stat).get(used, 0)] if text.isdecimal() else []
    return left


def _read_numbers(path: Path) -> dict[str, int]:
    """Return the lines of a name and a number in a file of the kernel; nothing without one."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.is_file() else []
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}
