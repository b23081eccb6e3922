"""Files that are whole or absent, and HDF5 files that are not what they claim to be."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cwgan.errors import InputError
from cwgan.files import dataset_of, fingerprint_array, open_hdf5, write_all, write_text, written_whole

MATRIX = np.arange(12.0).reshape(4, 3)


def refused(path: Path, key: str, *parts: object, dimensions: int = 2, kind: str = "number") -> None:
    """Assert that the dataset is refused in one line that names the file, the key and all parts."""
    with pytest.raises(InputError) as caught, open_hdf5(path) as file:
        dataset_of(file, key, dimensions, kind)
    message = str(caught.value)
    assert "\n" not in message
    for part in (path, key, *parts, "found", "allowed"):
        assert str(part) in message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An HDF5 file with one of each kind of thing."""
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file["group/matrix"] = MATRIX
        file["vector"] = MATRIX[0]
        file["number"] = 3.0
        file["names"] = np.array([b"ant", "b\u00e9e".encode()])
        file["text"] = "one"
        file["no_rows"] = np.empty((0, 3))
    return path


# written_whole


def test_a_written_file_appears_under_its_name_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    with written_whole(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), written_whole(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("old")
    with pytest.raises(ValueError), written_whole(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "old"


def test_a_successful_write_replaces_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("old")
    with written_whole(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file.txt").read_text() == "new"


def test_text_is_written_in_utf_8_and_a_failed_write_keeps_the_old_text(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "file.txt", "größer\n")
    assert (tmp_path / "new" / "file.txt").read_bytes() == "größer\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "new" / "file.txt", "half, then \ud800")
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["file.txt"]
    assert (tmp_path / "new" / "file.txt").read_bytes() == "größer\n".encode()


# fingerprint_array


def test_fingerprints_are_equal_where_contents_are() -> None:
    assert fingerprint_array(MATRIX) == fingerprint_array(MATRIX.copy())
    assert len(set(fingerprint_array(MATRIX))) == len(MATRIX)


# open_hdf5 and dataset_of


def test_what_is_stored_in_the_file_can_be_read(path: Path) -> None:
    with open_hdf5(path) as file:
        assert np.array_equal(dataset_of(file, "group/matrix", 2)[:], MATRIX)
        assert dataset_of(file, "vector", 1).shape == (3,)
        assert dataset_of(file, "number", 0)[()] == 3.0
        assert dataset_of(file, "no_rows", 2).shape == (0, 3)
        assert dataset_of(file, "names", 1, "text").asstr("utf-8")[:].tolist() == ["ant", "b\u00e9e"]
        assert dataset_of(file, "text", 0, "text").asstr()[()] == "one"


def test_the_best_compressible_content_is_not_taken_for_an_empty_claim(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file.create_dataset(
            "zeros", data=np.zeros((2000, 2000)), compression="gzip", compression_opts=9, chunks=(2000, 2000)
        )
    with open_hdf5(tmp_path / "zeros.h5") as file:
        assert dataset_of(file, "zeros", 2).shape == (2000, 2000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.h5", "file", "nothing there")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", bytes(5000)])
def test_a_file_that_is_no_hdf5_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.h5").write_bytes(content)
    refused(tmp_path / "bad.h5", "file", "unreadable")


def test_a_file_cut_short_is_named(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(100, len(whole), len(whole) // 20):
        path.write_bytes(whole[:length])
        refused(path, "file", "unreadable")


@pytest.mark.parametrize("signature", [b"TREE", b"HEAP", b"SNOD"])
def test_damage_that_shows_only_on_reading_is_reported_like_any_other(path: Path, signature: bytes) -> None:
    whole = path.read_bytes()
    assert signature in whole
    path.write_bytes(whole.replace(signature, b"????"))
    with pytest.raises(InputError, match=r"file\.h5: file: found unreadable"), open_hdf5(path) as file:
        dataset_of(file, "group/matrix", 2)[:]


def test_damaged_values_are_reported_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "packed.h5"
    with h5py.File(path, "w") as file:
        packed = file.create_dataset(
            "matrix", data=np.random.default_rng(0).random((50, 50)), compression="gzip", chunks=(50, 50)
        )
        start = packed.id.get_chunk_info(0).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 50] = bytes(50)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"packed\.h5: file: found unreadable"), open_hdf5(path) as file:
        dataset_of(file, "matrix", 2)[:]


@pytest.mark.parametrize("key", ["none", "group/none", "none/matrix", "group/matrix/none"])
def test_a_missing_dataset_is_named(path: Path, key: str) -> None:
    refused(path, key, "nothing there")


def test_a_group_is_no_dataset(path: Path) -> None:
    refused(path, "group", "a group")


@pytest.mark.parametrize(
    ("key", "dimensions", "kind"),
    [
        ("group/matrix", 1, "number"),
        ("vector", 2, "number"),
        ("number", 1, "number"),
        ("names", 1, "number"),
        ("text", 0, "number"),
        ("vector", 1, "text"),
        ("names", 0, "text"),
    ],
)
def test_another_kind_or_number_of_dimensions_is_refused(
    path: Path, key: str, dimensions: int, kind: str
) -> None:
    refused(
        path,
        key,
        "of shape",
        f"a {kind} dataset of {dimensions} dimension(s)",
        dimensions=dimensions,
        kind=kind,
    )


@pytest.mark.parametrize("kind", ["number", "text"])
@pytest.mark.parametrize(
    "value",
    [
        np.ones(3, dtype=complex),
        np.ones(3, dtype=bool),
        np.ones(3, dtype=[("x", "f4"), ("y", "f4")]),
        np.array([h5py.Reference()] * 3, dtype=h5py.ref_dtype),
        np.full(3, np.void(b"abc")),
        h5py.Empty("f4"),
        h5py.Empty("S3"),
    ],
    ids=["complex", "bool", "compound", "reference", "opaque", "empty number", "empty text"],
)
def test_types_that_are_neither_numbers_nor_text_are_refused(
    tmp_path: Path, value: object, kind: str
) -> None:
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["odd"] = value
    for dimensions in (0, 1):
        refused(tmp_path / "odd.h5", "odd", "of shape", dimensions=dimensions, kind=kind)


def link_softly(file: h5py.File, other: Path) -> None:
    file["link"] = h5py.SoftLink("/own")


def link_to_nothing(file: h5py.File, other: Path) -> None:
    file["link"] = h5py.SoftLink("/none")


def link_elsewhere(file: h5py.File, other: Path) -> None:
    file["link"] = h5py.ExternalLink(other, "/group/matrix")


def store_elsewhere(file: h5py.File, other: Path) -> None:
    file.create_dataset("link", (4, 3), "f8", external=[(str(other), 0, 96)])


def map_elsewhere(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource(other, "group/matrix", (4, 3))
    file.create_virtual_dataset("link", layout)


@pytest.mark.parametrize(
    "make", [link_softly, link_to_nothing, link_elsewhere, store_elsewhere, map_elsewhere]
)
def test_links_and_references_out_of_the_file_are_refused(
    path: Path, tmp_path: Path, make: Callable[[h5py.File, Path], None]
) -> None:
    with h5py.File(tmp_path / "linking.h5", "w") as file:
        file["own"] = MATRIX
        make(file, path)
    refused(tmp_path / "linking.h5", "link", "stored in the file itself")


def test_a_link_on_the_way_to_a_dataset_is_refused(path: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "linking.h5", "w") as file:
        file["train"] = h5py.ExternalLink(path, "/group")
    refused(tmp_path / "linking.h5", "train/matrix", "a link")


@pytest.mark.parametrize("kind", ["number", "text"])
@pytest.mark.parametrize("chunks", [None, (1000, 1000)])
def test_a_tiny_file_that_declares_8_terabytes_is_refused_before_it_is_read(
    tmp_path: Path, kind: str, chunks: tuple[int, int] | None
) -> None:
    path = tmp_path / "claim.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("claim", (10**6, 10**6), "f8" if kind == "number" else "S8", chunks=chunks)
    assert path.stat().st_size < 10_000
    refused(path, "claim", "shape (1000000, 1000000) over 0 stored bytes", kind=kind)


def test_a_forged_count_of_stored_bytes_is_held_against_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "forged.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("claim", data=MATRIX, chunks=(4, 3), maxshape=(None, None))
    content = bytearray(path.read_bytes())
    shape, first_chunk = content.index(struct.pack("<QQ", 4, 3)), content.rindex(b"TREE") + 24
    assert struct.unpack_from("<I", content, first_chunk) == (MATRIX.nbytes,)
    struct.pack_into("<QQ", content, shape, 10_000, 10_000)
    struct.pack_into("<I", content, first_chunk, 2**32 - 16)
    path.write_bytes(content)
    refused(path, "claim", f"shape (10000, 10000) over {len(content)} stored bytes")


class Halves(io.FileIO):
    """A file that takes half of what it is given."""

    def write(self, data) -> int:
        return super().write(data[: (len(data) + 1) // 2])


def test_what_a_file_takes_part_by_part_is_written_whole(tmp_path: Path) -> None:
    with Halves(tmp_path / "file", "w") as file:
        write_all(file, b"all of this")
    assert (tmp_path / "file").read_bytes() == b"all of this"
