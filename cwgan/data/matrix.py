"""Features that are read by rows, wherever they lie: scaled when they are read, shared by all views of them.

A tensor is such a matrix too: whoever writes `matrix[rows]` takes any of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

LARGE = 2**31  # bytes of features that are read into memory
CHUNK = 4096  # rows read at a time where all are looked at
WINDOW = 2**16  # rows of many blocks, within which single rows are shuffled


@runtime_checkable
class Matrix(Protocol):
    """Rows of features, which `matrix[rows]` gives as float32: a tensor, or any class below."""

    @property
    def shape(self) -> Sequence[int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any) -> Tensor: ...


@runtime_checkable
class Stored(Matrix, Protocol):
    """A matrix that is not in memory; rows of one block are read together more quickly than one by one."""

    def number_blocks(self, rows: Int64[Tensor, " chosen"]) -> Int64[Tensor, " chosen"]: ...


@dataclass(frozen=True, eq=False)
class View:
    """Some rows of a matrix, scaled as they are read: (row - offset) / divisor, then to norm 1 if wanted.

    `index` are the rows' numbers in `base`, None for all; `offset` and `divisor` have an entry per feature.
    """

    base: Matrix
    index: Int64[Tensor, " rows"] | None = None
    offset: Float32[Tensor, " features"] | None = None
    divisor: Float32[Tensor, " features"] | None = None
    unit_norm: bool = False

    @cached_property
    def shape(self) -> torch.Size:
        rows = len(self.base) if self.index is None else len(self.index)
        return torch.Size((rows, self.base.shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor | slice | int) -> Float32[Tensor, "*chosen features"]:
        if not isinstance(rows, Tensor):
            rows = torch.arange(len(self))[rows]
        wanted = rows.flatten() if self.index is None else self.index[rows.flatten()]
        # index_select is several times as fast as base[wanted].
        base = self.base
        found = base.index_select(0, wanted) if isinstance(base, Tensor) else base[wanted]
        if self.offset is not None:
            found -= self.offset
        if self.divisor is not None:
            found /= self.divisor
        if self.unit_norm:
            # Summed in float64, so that the rows are the same on every processor.
            found /= found.norm(dim=1, keepdim=True, dtype=torch.float64).float()
        return found.view(*rows.shape, self.shape[1])


@dataclass(frozen=True, eq=False)
class Stack:
    """Two matrices, one below the other."""

    above: Matrix
    below: Matrix

    @cached_property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.above) + len(self.below), self.below.shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Float32[Tensor, "chosen features"]:
        found, is_above = torch.empty(len(rows), self.shape[1]), rows < len(self.above)
        found[is_above] = self.above[rows[is_above]]
        found[~is_above] = self.below[rows[~is_above] - len(self.above)]
        return found


def is_large(rows: int, columns: int) -> bool:
    """Return whether so many numbers are not held in memory."""
    return 4 * rows * columns > LARGE


def join(above: Matrix, below: Matrix) -> Matrix:
    """Return two matrices, one below the other: as one tensor, which is read fastest, if that is small."""
    both = Stack(above, below)
    if is_large(*both.shape):
        return both
    whole = torch.empty(both.shape)
    for matrix, start in ((above, 0), (below, len(above))):
        for rows, values in in_chunks(matrix, torch.arange(len(matrix))):
            whole[start + rows] = values
    return whole


def in_chunks(matrix: Matrix, rows: Int64[Tensor, " chosen"]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield numbers and features of some rows, at most `CHUNK` at a time."""
    for chunk in rows.split(CHUNK):
        yield chunk, matrix[chunk]


def find_extremes(matrix: Matrix, rows: Int64[Tensor, " chosen"]) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value of each feature over some rows."""
    extremes = [chunk.aminmax(dim=0) for _, chunk in in_chunks(matrix, rows)]
    lows, highs = (torch.stack(values) for values in zip(*extremes, strict=True))
    return lows.amin(0), highs.amax(0)


def sum_classes(
    matrix: Matrix, rows: Int64[Tensor, " chosen"], places: Int64[Tensor, " chosen"], count: int
) -> Float64[Tensor, "count features"]:
    """Return the sum of the rows of each of `count` classes; `places` are the classes of the rows."""
    sums = torch.zeros(count, matrix.shape[1], dtype=torch.float64)
    for chunk, place in zip(rows.split(CHUNK), places.split(CHUNK), strict=True):
        sums.index_add_(0, place, matrix[chunk].double())
    return sums


def shuffle(matrix: Matrix, rows: Int64[Tensor, " chosen"], rng: torch.Generator) -> Int64[Tensor, " chosen"]:
    """Return rows in a random order: any order in memory; one that a disk can follow for what is not.

    There, blocks of neighbours are shuffled, and then single rows within windows of `WINDOW` rows, which are
    of thousands of blocks.
    """
    draw = partial(torch.randperm, generator=rng, device=rng.device)
    if is_in_memory(matrix):
        return rows[draw(len(rows))]
    blocks, places = _number_blocks(matrix, rows).unique(return_inverse=True)
    order = rows[draw(len(blocks))[places].argsort(stable=True)]
    return torch.cat([window[draw(len(window))] for window in order.split(WINDOW)])


def is_in_memory(matrix: Matrix) -> bool:
    if isinstance(matrix, Stack):
        return is_in_memory(matrix.above) and is_in_memory(matrix.below)
    return is_in_memory(matrix.base) if isinstance(matrix, View) else isinstance(matrix, Tensor)


def _number_blocks(matrix: Matrix, rows: Tensor) -> Tensor:
    """Return a number for each row, which those share that are read together."""
    if isinstance(matrix, View):
        return _number_blocks(matrix.base, rows if matrix.index is None else matrix.index[rows])
    if isinstance(matrix, Stack):
        is_above, numbers = rows < len(matrix.above), torch.empty_like(rows)
        numbers[is_above] = _number_blocks(matrix.above, rows[is_above])
        below = _number_blocks(matrix.below, rows[~is_above] - len(matrix.above))
        numbers[~is_above] = -1 - below  # which none above has
        return numbers
    return matrix.number_blocks(rows) if isinstance(matrix, Stored) else rows
