"""Matrices that stay in their file, and what is known of the rows of any matrix."""

import hashlib
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.data.matrix import CHUNK, Matrix, View, in_chunks, is_in_memory, is_large
from cwgan.errors import InputError, WriteError
from cwgan.files import fingerprint_array, written_whole
from cwgan.machine import free_memory

BLOCK = 4  # rows that lie side by side on disk and are read together


class FileRows:
    """Matrices of a file, one below the other, whose rows are read when they are asked for, and not kept.

    `places` are the offset in bytes, the number of rows and the type of each; all have `width` columns.
    """

    def __init__(self, path: Path, width: int, places: Sequence[tuple[int, int, np.dtype]]) -> None:
        self.path, self._places, self._file = path, places, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._starts = np.cumsum([0, *(rows for _, rows, _ in places)])
        self.shape = torch.Size((int(self._starts[-1]), width))

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def scan(self) -> dict[str, np.ndarray]:
        """16 bytes that stand for each row, as `prints`, and the rows that are not finite, as `bad`.

        They are kept beside the file, if that can be written, for as long as its size, time, start and end
        stay the same.
        """
        kept, facts = self.path.with_name(f"{self.path.name}.scan.npz"), self.path.stat()
        starts = 0, max(0, facts.st_size - 2**20)
        ends = [hashlib.blake2b(os.pread(self._file, 2**20, at)).hexdigest() for at in starts]
        about = f"1 {self._places} {facts.st_size} {facts.st_mtime_ns} {ends}"
        stamp = np.frombuffer(about.encode(), np.uint8)
        with suppress(Exception), np.load(kept) as found:  # numpy raises many kinds for a damaged file
            prints, bad = found["prints"], found["bad"]
            is_whole = prints.shape == (len(self), 16) and (prints.dtype, bad.dtype) == (np.uint8, np.int64)
            if np.array_equal(found["stamp"], stamp) and is_whole:
                return {"prints": prints, "bad": bad}
        prints, places = np.empty((len(self), 16), np.uint8), list[Tensor]()
        for rows, chunk in in_chunks(self, torch.arange(len(self))):
            digests = b"".join(fingerprint_array(chunk.numpy()))
            prints[rows.numpy()] = np.frombuffer(digests, np.uint8).reshape(-1, 16)
            places.append(_find_bad_here(rows, chunk))
        scan = {"prints": prints, "bad": torch.cat(places).numpy()}
        with suppress(WriteError), written_whole(kept) as path, open(path, "wb") as file:
            np.savez(file, stamp=stamp, prints=scan["prints"], bad=scan["bad"])
        return scan

    def number_blocks(self, rows: Int64[Tensor, " chosen"]) -> Int64[Tensor, " chosen"]:
        """Return a number for each row, which those share that are read together."""
        return rows // BLOCK

    def __getitem__(self, rows: Tensor) -> Float32[Tensor, "chosen features"]:
        out = np.empty((len(rows), self.shape[1]), np.float32)
        for start in range(0, len(rows), CHUNK):
            self._read_into(out[start : start + CHUNK], rows[start : start + CHUNK].numpy())
        return torch.from_numpy(out)

    def _read_into(self, out: np.ndarray, rows: np.ndarray) -> None:
        homes = np.searchsorted(self._starts, rows, side="right") - 1
        for place in np.unique(homes).tolist():
            here, (offset, _, kind) = homes == place, self._places[place]
            numbers = rows[here] - self._starts[place]
            found, size = np.empty((len(numbers), self.shape[1]), kind), kind.itemsize * self.shape[1]
            breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
            for first, last in pairwise([0, *breaks.tolist(), len(numbers)]):
                buffer, at = found[first:last].view(np.uint8), offset + size * int(numbers[first])
                if os.preadv(self._file, [buffer.data], at) < buffer.nbytes:
                    raise InputError(self.path, "file", "cut short since it was opened", "a whole file")
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes an infinity, which is refused
                out[here] = found


def read_matrix(
    parts: Sequence[h5py.Dataset], counts: Sequence[int], path: Path, memory: str = "auto"
) -> Matrix:
    """Return the first rows of the datasets of one file, so many of each: in memory, or left where they lie.

    A `memory` of "ram" reads them. "disk" leaves them in the file, where every dataset must lie in one piece.
    "auto" leaves them there if they are large, and "either" in any case, both where that is possible.
    InputError for "disk" where it is not, and where there is no room in memory.
    """
    used = [pair for pair in zip(parts, counts, strict=True) if pair[1]]
    rows, width = sum(counts), parts[0].shape[1]
    places = [(part.id.get_offset(), count, part.dtype) for part, count in used]
    can_stay = all(offset is not None for offset, *_ in places)
    if memory == "disk" and not can_stay:
        allowed = "datasets in one piece (h5repack -l CONTI), or another data.memory than disk"
        raise InputError(path, "X", "a dataset in chunks", allowed)
    if can_stay and memory != "ram" and (memory != "auto" or is_large(rows, width)):
        return FileRows(path, width, places)
    if (size := 4 * rows * width) > (free := free_memory()):
        allowed = f"at most the {free / 1e9:.3g} GB that are free, or disk after h5repack -l CONTI"
        raise InputError(path, "data.memory", f"{size / 1e9:.3g} GB of features", allowed)
    features, start = np.empty((rows, width), np.float32), 0
    for part, count in used:
        part.read_direct(features[start : start + count], np.s_[:count])
        start += count
    return torch.from_numpy(features)


def fingerprint_rows(matrix: Matrix, rows: Int64[Tensor, " chosen"]) -> list[bytes]:
    """Return 16 bytes for each row, of its content in the units of the files that this program writes."""
    if isinstance(matrix, View) and matrix.offset is None and not matrix.unit_norm:
        return fingerprint_rows(matrix.base, rows if matrix.index is None else matrix.index[rows])
    if isinstance(matrix, FileRows):
        return [bytes(row) for row in matrix.scan["prints"][rows.numpy()]]
    return [found for _, chunk in in_chunks(matrix, rows) for found in fingerprint_array(chunk.numpy())]


def find_bad(matrix: Matrix, rows: Int64[Tensor, " chosen"]) -> Int64[Tensor, " bad"]:
    """Return those of some rows that hold NaN or infinity, in the file where they are not in memory."""
    if isinstance(matrix, View) and not is_in_memory(matrix):
        wanted = rows if matrix.index is None else matrix.index[rows]
        return rows[torch.isin(wanted, find_bad(matrix.base, wanted))]
    if isinstance(matrix, FileRows):
        return rows[torch.isin(rows, torch.from_numpy(matrix.scan["bad"]))]
    return torch.cat([rows[:0], *(_find_bad_here(*chunk) for chunk in in_chunks(matrix, rows))])


def _find_bad_here(rows: Tensor, values: Tensor) -> Tensor:
    # A sum needs no mask in memory, but also overflows where finite values pass 1e38.
    return rows[:0] if torch.isfinite(values.sum()) else rows[~torch.isfinite(values).all(dim=1)]
