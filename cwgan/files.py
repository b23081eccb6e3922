"""Files that are either whole or not there, and HDF5 files that are what they claim to be."""

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors import SafetensorError

from cwgan.errors import InputError, WriteError, first_line

DEFLATE_LIMIT = 1100  # bytes that a stored byte may unfold into; deflate reaches about 1,030


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to it on success and removed on failure.

    Once renamed, the file outlasts a loss of power. WriteError if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except WriteError:
        raise
    except (OSError, SafetensorError) as error:
        raise _refuse(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table, which MLflow shows; fractions to four digits, nothing for None."""
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(heads)
        table.writerows([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with written_whole(target) as temporary:
        shutil.copyfile(source, temporary)


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write some bytes to an unbuffered file, which may take them part by part; WriteError if it cannot."""
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise _refuse(Path(file.name), error) from error


@contextmanager
def create_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield a new HDF5 file to be filled; WriteError if it cannot be written."""
    with _LastingFile(path, "w+") as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file
                raw.is_closing = True
        finally:
            if raw.error:
                raise _refuse(path, raw.error)


class _LastingFile(io.FileIO):
    """A file that takes whatever HDF5 writes while it closes.

    HDF5 cannot close a file that cannot be written, and crashes the program at its end. So the first error is
    kept here, and later writes do nothing.
    """

    error: OSError | None = None
    is_closing = False

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left and not self.error:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
                if not self.is_closing:
                    raise
        return len(memoryview(data))

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def _refuse(path: Path, error: Exception) -> WriteError:
    reason = getattr(error, "strerror", None) or first_line(error)
    return WriteError(f"{path}: cannot be written: {reason}")


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def fingerprint_array(rows: np.ndarray) -> list[bytes]:
    """Return 16 bytes that stand for the content of each row of a contiguous array."""
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; InputError if it is missing, no HDF5, cut short, or found damaged in reading."""
    if not path.is_file():
        raise InputError(path, "file", "nothing there", "an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises many kinds for a damaged file
        raise InputError(path, "file", f"unreadable ({error})", "a whole HDF5 file") from error


def dataset_of(file: h5py.File, key: str, dimensions: int, kind: str = "number") -> h5py.Dataset:
    """Return a dataset of an open file after checking that reading it is safe.

    `key` is a slash-separated path, whose every step must be stored in this file; `kind` "number" or "text".
    InputError if it is missing, a link, of another kind or shape, or declared larger than what is stored.
    """
    wanted = f"a {kind} dataset of {dimensions} dimension(s)"
    place: h5py.Group | h5py.Dataset = file
    for step in key.split("/"):
        link = place.get(step, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            raise InputError(file.filename, key, "nothing there", wanted)
        if not isinstance(link, h5py.HardLink):
            raise InputError(file.filename, key, "a link", "data stored in the file itself")
        place = place[step]
    if not isinstance(place, h5py.Dataset) or place.is_virtual or place.external:
        found, allowed = "a group or a reference to other files", "a dataset stored in the file itself"
        raise InputError(file.filename, key, found, allowed)
    is_text = h5py.check_string_dtype(place.dtype) is not None
    is_kind = place.dtype.kind in "fiu" if kind == "number" else is_text
    if not is_kind or place.shape is None or place.ndim != dimensions:
        raise InputError(file.filename, key, f"{place.dtype} of shape {place.shape}", wanted)
    stored = min(place.id.get_storage_size(), file.id.get_filesize())
    if place.nbytes > DEFLATE_LIMIT * stored:
        found = f"shape {place.shape} over {stored} stored bytes"
        raise InputError(file.filename, key, found, "a dataset whose values are stored")
    return place
