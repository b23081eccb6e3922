"""Matrices that stay in a file and are read where they lie, and what is known of the rows of any matrix."""

import mmap
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.data.matrix import Matrix, View, in_chunks, is_large
from cwgan.errors import InputError, WriteError
from cwgan.files import fingerprint, written_whole

RELEASE = 2**28  # bytes of a mapped file in memory, after which they are given back to the system
AROUND = 2**16  # bytes that the system maps where one is read
BLOCK = 4  # rows that lie side by side on disk and are read together


class MappedRows:
    """Matrices of a file, one below the other, mapped into memory and read where they lie.

    `places` are the offset in bytes, the number of rows and the type of each; all have `width` columns. What
    has been read does not stay: the process never holds more than `RELEASE` bytes of the file.
    """

    def __init__(self, path: Path, width: int, places: Sequence[tuple[int, int, np.dtype]]) -> None:
        self._file = np.memmap(path, mode="r")
        self._parts = [
            np.ndarray((rows, width), kind, self._file.data, offset) for offset, rows, kind in places if rows
        ]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        self._read = 0  # bytes
        self.shape = torch.Size((int(self._starts[-1]), width))
        self.path = path

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def scan(self) -> dict[str, np.ndarray]:
        """16 bytes that stand for each row, as `prints`, and the rows that are not finite, as `bad`.

        They are kept beside the file, if that can be written, for as long as its size, time, start and end
        stay the same.
        """
        kept, facts = self.path.with_name(f"{self.path.name}.scan.npz"), self.path.stat()
        ends = fingerprint(self._file[: 2**20]) + fingerprint(self._file[-(2**20) :])
        stamp = np.frombuffer(f"{facts.st_size} {facts.st_mtime_ns} ".encode() + ends, np.uint8)
        with suppress(OSError, ValueError, KeyError, BadZipFile), np.load(kept) as found:
            if np.array_equal(found["stamp"], stamp) and len(found["prints"]) == len(self):
                return {"prints": found["prints"], "bad": found["bad"]}
        prints, bad = np.empty((len(self), 16), np.uint8), []
        for rows, chunk in in_chunks(self, torch.arange(len(self))):
            prints[rows.numpy()] = [[*fingerprint(row)] for row in chunk.numpy()]
            bad.append(_find_bad_here(rows, chunk))
        found = {"prints": prints, "bad": torch.cat(bad).numpy()}
        with suppress(WriteError), written_whole(kept) as path, open(path, "wb") as file:
            np.savez(file, stamp=stamp, **found)
        return found

    def split_blocks(self, rows: Int64[Tensor, " chosen"]) -> list[Tensor]:
        """Divide rows into those that are read together."""
        return [*rows.split(BLOCK)]

    def __getitem__(self, rows: Tensor) -> Float32[Tensor, "chosen features"]:
        wanted, out = rows.numpy(), np.empty((len(rows), self.shape[1]), np.float32)
        homes = np.searchsorted(self._starts, wanted, side="right") - 1
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes an infinity, which is refused
            for place in np.unique(homes).tolist():
                here = homes == place
                out[here] = self._parts[place][wanted[here] - self._starts[place]]
        self._read += len(rows) * max(AROUND, out.itemsize * out.shape[1])
        if self._read > RELEASE:
            self._file._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
            self._read = 0
        return torch.from_numpy(out)


def read_matrix(
    parts: Sequence[h5py.Dataset], counts: Sequence[int], path: Path, memory: str = "auto"
) -> Matrix:
    """Return the first rows of the datasets of one file, so many of each: in memory, or left where they lie.

    A `memory` of "ram" reads them, "disk" maps them, and "auto" maps what is large and lies in one piece.
    InputError for "disk" where a dataset does not.
    """
    used, shape = (
        [pair for pair in zip(parts, counts, strict=True) if pair[1]],
        (sum(counts), parts[0].shape[1]),
    )
    places = [(part.id.get_offset(), count, part.dtype) for part, count in used]
    for (part, _), (offset, *_) in zip(used, places, strict=True):
        if memory == "disk" and offset is None:
            allowed = "a dataset in one piece (h5repack -l CONTI), or another data.memory than disk"
            raise InputError(path, part.name, "a dataset in chunks", allowed)
    if memory == "disk" or (memory == "auto" and is_large(*shape) and all(place[0] for place in places)):
        return MappedRows(path, shape[1], places)
    features, start = np.empty(shape, np.float32), 0
    for part, count in used:
        part.read_direct(features[start : start + count], np.s_[:count])
        start += count
    return torch.from_numpy(features)


def fingerprint_rows(matrix: Matrix) -> list[bytes]:
    """Return 16 bytes for each row, of its content in the units of the files that this program writes."""
    if isinstance(matrix, View) and matrix.offset is None and not matrix.unit_norm:
        prints = fingerprint_rows(matrix.base)
        return prints if matrix.index is None else [prints[row] for row in matrix.index.tolist()]
    if isinstance(matrix, MappedRows):
        return [bytes(row) for row in matrix.scan["prints"]]
    return [
        fingerprint(row) for _, chunk in in_chunks(matrix, torch.arange(len(matrix))) for row in chunk.numpy()
    ]


def find_bad(matrix: Matrix, rows: Int64[Tensor, " chosen"]) -> Int64[Tensor, " bad"]:
    """Return those of some rows that hold NaN or infinity in the files."""
    if isinstance(matrix, View):
        wanted = rows if matrix.index is None else matrix.index[rows]
        return rows[torch.isin(wanted, find_bad(matrix.base, wanted))]
    if isinstance(matrix, MappedRows):
        return rows[torch.isin(rows, torch.from_numpy(matrix.scan["bad"]))]
    return torch.cat([rows[:0], *(_find_bad_here(*chunk) for chunk in in_chunks(matrix, rows))])


def _find_bad_here(rows: Tensor, values: Tensor) -> Tensor:
    # A sum needs no mask in memory, but also overflows where finite values pass 1e38.
    return rows[:0] if torch.isfinite(values.sum()) else rows[~torch.isfinite(values).all(dim=1)]
