"""Timing to believe on a noisy machine: warm-up, interleaved blocks, medians, ratios within one run."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

Works = Mapping[str, Callable[[], object]]


def interleave(works: Works, blocks: int, repeats: int = 1) -> dict[str, float]:
    """Time several works in turn, block after block, and return each one's median seconds per call.

    Args:
        works: by name.
        blocks: how often each is timed, after one block that is not counted.
        repeats: calls per block.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for block in range(blocks + 1):
        for name, work in works.items():
            began = time.perf_counter()
            for _ in range(repeats):
                work()
            if block:
                seconds[name].append((time.perf_counter() - began) / repeats)
    return {name: statistics.median(values) for name, values in seconds.items()}


@contextmanager
def elsewhere(
    environment: Mapping[str, str], make: Callable[..., Works], *arguments: object
) -> Iterator[Callable[[str], None]]:
    """Keep works in a process of their own; yield a function that does one of them, by name.

    Args:
        environment: what the process is started with besides this one's variables.
        make: returns the works, there; a function of a module.
        arguments: of `make`.
    """
    here, there = Pipe()
    process = get_context("spawn").Process(
        target=_serve, args=(there, torch.get_num_threads(), make, arguments), daemon=True
    )
    before = dict(os.environ)
    os.environ.update(environment)
    process.start()
    os.environ.clear()
    os.environ.update(before)
    there.close()  # so that `recv` below ends with an error if the process does

    def work(name: str) -> None:
        here.send(name)
        here.recv()

    try:
        yield work
    finally:
        here.close()
        process.join()


def _serve(
    connection: Connection, threads: int, make: Callable[..., Works], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(threads)
    works = make(*arguments)
    with suppress(EOFError):
        while True:
            works[connection.recv()]()
            connection.send(None)


def machine() -> str:
    """Return one line about the machine."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{model}, {torch.get_num_threads()} threads, {versions}"


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table whose columns line up."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print(
            "| "
            + " | ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
        )
    print(flush=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write the numbers of a run."""
    path.write_text(json.dumps({"machine": machine(), **content}, indent=2) + "\n")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
