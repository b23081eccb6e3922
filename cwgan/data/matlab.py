"""Read numbers and text from MATLAB files of versions 5 to 7; every size is checked before it is used.

A file is a list of elements: a type, a size, and data, which may be elements in turn. SciPy's reader takes
more kinds, but a flipped bit in one file of seventy ends the program that reads it, without an error.

Source: MathWorks, MAT-File Format (www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf).
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cwgan.errors import InputError

HEADER = 128  # bytes, of which the last two tell the order of bytes in numbers
ORDERS = {b"IM": "<", b"MI": ">"}
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15  # types of elements; the others are the keys above
CELLS, TEXT, NUMERIC = 1, 4, range(6, 16)  # classes of matrices
OTHERS = {2: "a struct", 3: "an object", 5: "a sparse matrix", 16: "a function", 17: "an object"}
COMPLEX = 0x800
PIECE = 65536  # compressed bytes unfolded at a time, so that what they become is never held twice

Element = tuple[int, memoryview]


def load_matlab(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read keys of a MATLAB file; all but the class names must be arrays of numbers.

    Text is an array with a string per row, cells are an array of arrays. InputError for anything else.
    """
    if not path.is_file():
        raise InputError(path, "file", "nothing there", f"a MATLAB file with {', '.join(required)}")
    try:
        content = _read_file(np.fromfile(path, np.uint8).data, (*required, *optional))
    except Exception as error:  # many kinds for a damaged file
        is_hdf5 = not isinstance(error, OSError) and h5py.is_hdf5(path)
        found = "MATLAB version 7.3 or other HDF5" if is_hdf5 else f"unreadable ({error})"
        allowed = "a whole MATLAB file of version 5 to 7; in MATLAB, save with the option '-v7'"
        raise InputError(path, "file", found, allowed) from None
    for key in required:
        if key not in content:
            raise InputError(path, key, "nothing there", f"all of {', '.join(required)}")
    for key, value in content.items():
        is_numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
        if key != "allclasses_names" and not is_numbers:
            kinds = {"U": "text", "O": "cells"}
            found = kinds[value.dtype.kind] if isinstance(value, np.ndarray) else value
            raise InputError(path, key, found, "an array of numbers")
    return content


def _read_file(data: memoryview, wanted: tuple[str, ...]) -> dict[str, Any]:
    order, content = ORDERS[bytes(data[HEADER - 2 : HEADER])], dict[str, Any]()
    for element in _split(data[HEADER:], order):
        kind, inside = _inflate(element[1], order) if element[0] == COMPRESSED else element
        if kind == MATRIX:
            name, value = _read_matrix(inside, order, wanted)
            if name in wanted:
                content[name] = value
    return content


def _split(data: memoryview, order: str) -> Iterator[Element]:
    """Yield type and data of every element."""
    start = 0
    while start < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, start)
        begin = start + 8
        if kind >> 16:  # up to four bytes, which stand where others have their size
            kind, size, begin = kind & 0xFFFF, kind >> 16, start + 4
        stop = begin + size
        if stop > len(data) or (begin == start + 4 and size > 4):
            raise ValueError("an element is longer than what holds it")
        yield kind, data[begin:stop]
        start = stop if kind == COMPRESSED else start + 8 * math.ceil((stop - start) / 8)


def _inflate(data: memoryview, order: str) -> Element:
    """Return the one element within compressed data, whose checksum must be right."""
    inflater, whole, kind, size = zlib.decompressobj(), bytearray(), 0, 0
    for start in range(0, len(data), PIECE):
        whole += inflater.decompress(data[start : start + PIECE])
        kind, size = struct.unpack_from(f"{order}II", whole)
        if len(whole) > 8 + size:
            break
    if len(whole) != 8 + size or not inflater.eof:
        raise ValueError("compressed data of another size than stated")
    return kind, memoryview(whole)[8:]


def _read_matrix(data: memoryview, order: str, wanted: tuple[str, ...] = ()) -> tuple[str, Any]:
    """Return name and value, for what is neither numbers, text nor cells its kind; nothing if not wanted."""
    if len(data) == 0:
        return "", np.empty((0, 0))
    (_, flags), (_, sides), (_, title), *parts = _split(data, order)
    name, shape = bytes(title).decode("latin-1"), np.frombuffer(sides, f"{order}i4").tolist()
    if wanted and name not in wanted:
        return name, None
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if (kind := flag & 0xFF) == CELLS:
        cells = np.empty(len(parts), dtype=object)
        cells[:] = [_read_matrix(inside, order)[1] for _, inside in parts]
        return name, cells.reshape(shape, order="F")
    if kind == TEXT:
        return name, _read_text(parts, shape, order)
    if kind in NUMERIC and not flag & COMPLEX:
        ((stored, values),) = parts
        return name, np.frombuffer(values, order + NUMBERS[stored]).reshape(shape, order="F")
    return name, "complex numbers" if kind in NUMERIC else OTHERS.get(kind, f"a value of class {kind}")


def _read_text(parts: list[Element], shape: list[int], order: str) -> np.ndarray:
    ((stored, values),) = parts
    endian = {"<": "-le", ">": "-be"}[order] if ENCODINGS[stored].startswith("utf-") and stored != 16 else ""
    text = bytes(values).decode(ENCODINGS[stored] + endian)
    if shape[0] == 1:
        return np.array([text])
    return np.array(["".join(row) for row in np.array(list(text), dtype=str).reshape(shape, order="F")])
