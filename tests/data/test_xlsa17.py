"""Reading the xlsa17 layout: the traps of the archives, and bad input of every kind."""

import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse
import torch
from make_data import (
    CLASS_NAMES,
    LABELS,
    ROWS,
    SEEN,
    UNSEEN,
    VALIDATION,
    assert_same_data,
    one_based_column,
    rows_of,
    text_cells,
    tiny_dataset,
    write_xlsa17,
    xlsa17_arrays,
)

from cwgan.data.xlsa17 import load_xlsa17
from cwgan.errors import InputError

FLO = Path(__file__).resolve().parents[2] / "shared" / "data" / "FLO"
ATT = xlsa17_arrays()["att"]


def refused(folder: Path, *parts: object, attributes: Path | None = None) -> None:
    """Assert that reading ends in an InputError whose one line holds all parts."""
    with pytest.raises(InputError) as caught:
        load_xlsa17(folder, "tiny", attributes)
    message = str(caught.value)
    assert "\n" not in message
    for part in (*parts, "found", "allowed"):
        assert str(part) in message


# The traps of the archives


def test_the_files_give_the_data_set_that_was_written(tmp_path: Path) -> None:
    loaded = load_xlsa17(write_xlsa17(tmp_path), "tiny")
    assert_same_data(loaded, tiny_dataset())
    assert (loaded.name, loaded.source) == ("tiny", str(tmp_path))


def test_row_indices_of_the_files_are_one_based(tmp_path: Path) -> None:
    loaded = load_xlsa17(write_xlsa17(tmp_path, test_unseen_loc=np.array([[5.0], [ROWS]])), "tiny")
    assert loaded.test_unseen.tolist() == [4, ROWS - 1]
    assert torch.equal(loaded.features[-1], torch.from_numpy(xlsa17_arrays()["features"][:, -1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64, np.float32])
def test_row_indices_and_labels_may_have_any_numeric_type(tmp_path: Path, dtype: type) -> None:
    whole = {
        key: value.astype(dtype)
        for key, value in xlsa17_arrays().items()
        if key.endswith("_loc") or key == "labels"
    }
    assert_same_data(load_xlsa17(write_xlsa17(tmp_path, **whole), "tiny"), tiny_dataset())


def test_row_indices_may_lie_in_a_row_or_in_a_column(tmp_path: Path) -> None:
    lying = {
        key: value.T for key, value in xlsa17_arrays().items() if key.endswith("_loc") or key == "labels"
    }
    assert_same_data(load_xlsa17(write_xlsa17(tmp_path, **lying), "tiny"), tiny_dataset())


def test_features_stored_by_row_and_by_column_give_the_same_tensors(tmp_path: Path) -> None:
    by_column = load_xlsa17(write_xlsa17(tmp_path / "d_by_n"), "tiny")
    by_row = load_xlsa17(write_xlsa17(tmp_path / "n_by_d", features=xlsa17_arrays()["features"].T), "tiny")
    assert_same_data(by_column, by_row)


def test_compression_and_precision_of_the_files_do_not_matter(tmp_path: Path) -> None:
    plain = write_xlsa17(tmp_path, compressed=False, features=xlsa17_arrays()["features"].astype(np.float64))
    assert_same_data(load_xlsa17(plain, "tiny"), tiny_dataset())


def test_train_and_val_that_hold_test_rows_are_cut_to_trainval(tmp_path: Path) -> None:
    arrays = xlsa17_arrays()
    test_seen = set(arrays["test_seen_loc"].ravel())
    assert test_seen & set(arrays["train_loc"].ravel()) and test_seen & set(arrays["val_loc"].ravel()), (
        "the files are contaminated"
    )
    loaded = load_xlsa17(write_xlsa17(tmp_path), "tiny")
    assert loaded.train.tolist() == rows_of((0, 1, 2), 0, 3).tolist()
    assert loaded.val.tolist() == rows_of(VALIDATION, 0, 3).tolist()


@pytest.mark.parametrize("absent", [("train_loc", "val_loc"), ("train_loc",), ("val_loc",)])
def test_without_train_loc_or_val_loc_there_are_no_validation_classes(
    tmp_path: Path, absent: tuple[str, ...]
) -> None:
    loaded = load_xlsa17(write_xlsa17(tmp_path, **dict.fromkeys(absent)), "tiny")
    assert len(loaded.train) == len(loaded.val) == 0
    assert torch.equal(loaded.trainval, tiny_dataset().trainval)


def test_classes_without_names_are_numbered_from_one(tmp_path: Path) -> None:
    loaded = load_xlsa17(write_xlsa17(tmp_path, allclasses_names=None), "tiny")
    assert loaded.class_names == tuple(f"class {number}" for number in range(1, 7))


def test_class_names_may_be_a_character_matrix_padded_with_blanks(tmp_path: Path) -> None:
    names = ("ant", "bumblebee", "cat", "dog", "elk", "fox")
    assert load_xlsa17(write_xlsa17(tmp_path, allclasses_names=np.array(names)), "tiny").class_names == names


def test_a_folder_may_have_spaces_and_accents_in_its_name(tmp_path: Path) -> None:
    assert_same_data(load_xlsa17(write_xlsa17(tmp_path / "my data é"), "tiny"), tiny_dataset())


# Attributes from a .npy file


def write_attributes(folder: Path, table: np.ndarray, lines: str | bytes | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "table.npy", table)
    if lines is not None:
        (folder / "table.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return folder / "table.npy"


def test_attributes_of_a_file_are_in_the_order_of_the_labels(tmp_path: Path) -> None:
    table = np.arange(12.0).reshape(6, 2)
    loaded = load_xlsa17(write_xlsa17(tmp_path), "tiny", write_attributes(tmp_path, table))
    assert torch.equal(loaded.attributes, torch.from_numpy(table).float())


def test_attributes_of_a_file_serve_where_the_data_set_has_none(tmp_path: Path) -> None:
    folder = write_xlsa17(tmp_path, att=None, allclasses_names=None)
    loaded = load_xlsa17(folder, "tiny", write_attributes(tmp_path, ATT.T))
    assert torch.equal(loaded.attributes, tiny_dataset().attributes)


def test_names_beside_the_attributes_decide_their_order(tmp_path: Path) -> None:
    order = [3, 5, 0, 1, 4, 2]
    lines = "\n".join(CLASS_NAMES[label] for label in order) + "\n"
    loaded = load_xlsa17(write_xlsa17(tmp_path), "tiny", write_attributes(tmp_path, ATT.T[order], lines))
    assert_same_data(loaded, tiny_dataset())


def test_names_match_whatever_their_numbers_underscores_plus_signs_and_case(tmp_path: Path) -> None:
    ours = (
        "001.Black_footed_Albatross",
        "grizzly+bear",
        "polar bear",
        "002.Le_Conte_Sparrow",
        "pit stop 2",
        "killer+whale",
    )
    theirs = (
        "Killer_Whale",
        "black footed albatross",
        "017.Grizzly_Bear",
        "polar+bear",
        "pit_stop_2",
        "le conte sparrow",
    )
    position = [5, 0, 1, 2, 4, 3]
    folder = write_xlsa17(tmp_path, allclasses_names=text_cells(ours))
    loaded = load_xlsa17(folder, "tiny", write_attributes(tmp_path, ATT.T[position], "\n".join(theirs)))
    assert loaded.class_names == ours
    assert torch.equal(loaded.attributes, tiny_dataset().attributes)


def test_blank_lines_carriage_returns_and_a_byte_order_mark_among_the_names_are_skipped(
    tmp_path: Path,
) -> None:
    lines = "\ufeff\r\nant\r\n\r\nbee\r\ncat\r\ndog\r\nelk\r\nfox\r\n"
    loaded = load_xlsa17(write_xlsa17(tmp_path), "tiny", write_attributes(tmp_path, ATT.T, lines))
    assert_same_data(loaded, tiny_dataset())


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("ant\nbee\ncat\ndog\nelk\nowl", "without fox"),
        ("ant\nbee\ncat\ndog\nelk", "5 different names, without fox"),
        ("ant\nbee\ncat\ndog\nelk\nfox\nowl", "7 different names"),
        ("ant\nbee\ncat\ndog\nelk\nfox\nfox", "6 different names"),
        (b"ant\nbee\ncat\ndog\nelk\n\xff\xfe", "unreadable"),
    ],
)
def test_names_that_do_not_fit_the_classes_are_refused(
    tmp_path: Path, lines: str | bytes, found: str
) -> None:
    table = write_attributes(tmp_path, ATT.T, lines)
    refused(write_xlsa17(tmp_path), tmp_path / "table.txt", found, attributes=table)


def test_classes_whose_names_differ_by_their_numbers_only_cannot_be_matched(tmp_path: Path) -> None:
    folder = write_xlsa17(tmp_path, allclasses_names=text_cells(("1.ant", "2.ant", *CLASS_NAMES[2:])))
    refused(
        folder,
        "table.txt",
        "class names",
        attributes=write_attributes(tmp_path, ATT.T, "ant\nbee\ncat\ndog\nelk\nfox"),
    )


def test_names_beside_the_attributes_need_names_in_the_data_set(tmp_path: Path) -> None:
    table = write_attributes(tmp_path, ATT.T, "\n".join(CLASS_NAMES))
    refused(
        write_xlsa17(tmp_path, allclasses_names=None),
        tmp_path / "table.txt",
        "names no classes",
        attributes=table,
    )


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (np.ones((5, 3)), "5 rows; allowed: 6"),
        (np.ones((7, 3)), "7 rows; allowed: 6"),
        (np.ones(6), "shape (6,)"),
        (np.ones((6, 3, 1)), "shape (6, 3, 1)"),
        (np.array(1.0), "shape ()"),
        (np.ones((6, 3), dtype=complex), "complex128"),
        (np.ones((6, 3), dtype=bool), "bool"),
        (np.full((6, 3), "a"), "<U1"),
        (np.full((6, 3), None), "Python objects"),
    ],
)
def test_a_table_of_the_wrong_shape_or_type_is_refused(tmp_path: Path, table: np.ndarray, found: str) -> None:
    for folder in (
        write_xlsa17(tmp_path / "named"),
        write_xlsa17(tmp_path / "unnamed", allclasses_names=None),
    ):
        refused(folder, "table.npy", found, attributes=write_attributes(tmp_path, table))


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (np.ones((6, 0)), "no columns"),
        (np.where(np.arange(18).reshape(6, 3) == 7, np.nan, 1.0), "NaN or infinity in 1 rows, first row 3"),
        (np.where(np.arange(18).reshape(6, 3) == 7, 1e300, 1.0), "NaN or infinity in 1 rows, first row 3"),
    ],
)
def test_a_table_of_bad_values_is_refused(tmp_path: Path, table: np.ndarray, found: str) -> None:
    refused(write_xlsa17(tmp_path), "attributes", found, attributes=write_attributes(tmp_path, table))


def test_a_table_that_holds_a_pickle_is_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(mark),))

    table = write_attributes(tmp_path, np.array([[Trap()]] * 6, dtype=object))
    refused(write_xlsa17(tmp_path), "table.npy", "unreadable", attributes=table)
    assert not mark.exists()


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    folder, table = write_xlsa17(tmp_path), write_attributes(tmp_path, ATT.T)
    whole = table.read_bytes()
    huge = whole.replace(b"(6, 3), }" + b" " * 10, b"(6, 999999999999), }"[:19])
    assert len(huge) == len(whole) != 0 and huge != whole
    for damaged in (
        b"",
        whole[:5],
        whole[:90],
        whole[:-1],
        b"PK\x03\x04" + whole,
        b"1, 2, 3\n",
        whole.replace(b"}", b" "),
        huge,
    ):
        table.write_bytes(damaged)
        refused(folder, "table.npy", "unreadable", attributes=table)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    refused(write_xlsa17(tmp_path), tmp_path / "none.npy", "nothing there", attributes=tmp_path / "none.npy")


# Bad files


@pytest.mark.parametrize("name", ["res101.mat", "att_splits.mat"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_xlsa17(tmp_path) / name).unlink()
    refused(tmp_path, tmp_path / name, "nothing there")


@pytest.mark.parametrize("name", ["res101.mat", "att_splits.mat"])
def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (write_xlsa17(tmp_path) / name).unlink()
    (tmp_path / name).mkdir()
    refused(tmp_path, tmp_path / name, "nothing there")


@pytest.mark.parametrize("key", ["features", "labels", "att", "trainval_loc"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    name = "res101.mat" if key in ("features", "labels") else "att_splits.mat"
    refused(write_xlsa17(tmp_path, **{key: None}), tmp_path / name, key, "nothing there")


@pytest.mark.parametrize("name", ["res101.mat", "att_splits.mat"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_xlsa17(tmp_path) / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (
        b"",
        b"text\n" * 50,
        whole[:100],
        whole[:middle],
        whole[:-4],
        whole[:middle] + bytes(8) + whole[middle + 8 :],
    ):
        path.write_bytes(damaged)
        refused(tmp_path, path)


@pytest.mark.parametrize(
    "header", [b"", b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"]
)
def test_a_matlab_file_of_version_7_3_is_refused_with_the_way_out(tmp_path: Path, header: bytes) -> None:
    path = write_xlsa17(tmp_path) / "res101.mat"
    with h5py.File(path, "w", userblock_size=512 if header else 0) as file:
        file["features"] = xlsa17_arrays()["features"].T
    with open(path, "r+b") as raw:
        raw.write(header)
    refused(tmp_path, path, "7.3", "-v7")


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may read everything")
@pytest.mark.parametrize("name", ["res101.mat", "att_splits.mat"])
def test_a_file_without_permission_to_read_is_named(tmp_path: Path, name: str) -> None:
    (write_xlsa17(tmp_path) / name).chmod(0)
    refused(tmp_path, tmp_path / name, "ermission denied")


# Bad contents


@pytest.mark.parametrize(
    "key",
    ["features", "labels", "att", "trainval_loc", "train_loc", "val_loc", "test_seen_loc", "test_unseen_loc"],
)
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.array(["text"]), "text"),
        (np.ones((ROWS, 1), dtype=complex), "complex numbers"),
        (text_cells(CLASS_NAMES), "cells"),
        ({"field": 1.0}, "a struct"),
        (scipy.sparse.csc_array(np.ones((3, 2))), "a sparse matrix"),
    ],
    ids=["text", "complex", "cells", "struct", "sparse"],
)
def test_anything_but_plain_numbers_is_refused(tmp_path: Path, key: str, value: object, found: str) -> None:
    refused(write_xlsa17(tmp_path, **{key: value}), ".mat", key, found, "an array of numbers")


@pytest.mark.parametrize(
    "value", [np.ones((3, ROWS, 2)), np.ones((5, ROWS - 1)), np.ones((0, 0)), np.array(1.0), np.array([])]
)
def test_features_of_another_shape_than_one_per_label_are_refused(tmp_path: Path, value: np.ndarray) -> None:
    refused(write_xlsa17(tmp_path, features=value), tmp_path / "res101.mat", "features", "shape", ROWS)


def test_features_without_columns_are_refused(tmp_path: Path) -> None:
    refused(write_xlsa17(tmp_path, features=np.ones((0, ROWS))), tmp_path, "features", "no columns")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_feature_that_is_not_finite_in_float32_is_refused(tmp_path: Path, value: float) -> None:
    features = xlsa17_arrays()["features"].astype(np.float64)
    features[2, [10, 20]] = value
    refused(
        write_xlsa17(tmp_path, features=features),
        tmp_path,
        "features",
        "NaN or infinity in 2 rows, first row 11",
        "finite",
    )


def test_large_finite_features_whose_sum_overflows_are_accepted(tmp_path: Path) -> None:
    features = np.full((5, ROWS), 3e38, dtype=np.float32)
    assert load_xlsa17(write_xlsa17(tmp_path, features=features), "tiny").features.max() == np.float32(3e38)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_an_attribute_that_is_not_finite_in_float32_is_refused(tmp_path: Path, value: float) -> None:
    refused(
        write_xlsa17(tmp_path, att=np.where(np.arange(18).reshape(3, 6) == 1, value, ATT)),
        tmp_path,
        "attributes",
        "first row 2",
    )


@pytest.mark.parametrize(
    ("value", "found"), [(np.ones((0, 6)), "no columns"), (np.ones((2, 3, 6)), "shape (2, 3, 6)")]
)
def test_attributes_without_columns_or_of_three_dimensions_are_refused(
    tmp_path: Path, value: np.ndarray, found: str
) -> None:
    refused(write_xlsa17(tmp_path, att=value), tmp_path, "att", found)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.5, np.nan, np.inf, 1e300])
def test_a_label_that_is_no_whole_number_from_one_is_refused(tmp_path: Path, value: float) -> None:
    labels = xlsa17_arrays()["labels"]
    labels[3] = value
    refused(
        write_xlsa17(tmp_path, labels=labels),
        tmp_path / "res101.mat",
        "labels",
        f"found {value:g}",
        "whole numbers from 1",
    )


@pytest.mark.parametrize("value", [7, 2**40])
def test_a_label_without_attributes_is_refused(tmp_path: Path, value: int) -> None:
    labels = xlsa17_arrays()["labels"]
    labels[3] = value
    refused(
        write_xlsa17(tmp_path, labels=labels),
        tmp_path,
        "labels",
        f"class {value}",
        "1 to 6, the classes that have attributes",
    )


def test_a_class_that_has_a_name_but_no_attributes_is_refused(tmp_path: Path) -> None:
    refused(
        write_xlsa17(tmp_path, att=ATT[:, :5], allclasses_names=None), tmp_path, "labels", "class 6", "1 to 5"
    )
    refused(
        write_xlsa17(tmp_path, att=ATT[:, :5]),
        tmp_path,
        "class names",
        "6 names",
        "5, one per row of attributes",
    )


@pytest.mark.parametrize("key", ["trainval_loc", "train_loc", "val_loc", "test_seen_loc", "test_unseen_loc"])
@pytest.mark.parametrize("value", [0.0, -3.0, 1.5, np.nan, np.inf, ROWS + 1.0, 1e300])
def test_a_row_index_that_is_no_row_is_refused(tmp_path: Path, key: str, value: float) -> None:
    index = xlsa17_arrays()[key]
    index[-1] = value
    refused(
        write_xlsa17(tmp_path, **{key: index}),
        tmp_path / "att_splits.mat",
        key,
        f"found {value:.15g}",
        f"from 1 to {ROWS}",
    )


@pytest.mark.parametrize("key", ["trainval", "train", "val", "test_seen", "test_unseen"])
def test_a_row_listed_twice_in_a_split_is_refused(tmp_path: Path, key: str) -> None:
    index = xlsa17_arrays()[f"{key}_loc"]
    refused(
        write_xlsa17(tmp_path, **{f"{key}_loc": np.concatenate([index, index[:1]])}),
        tmp_path,
        key,
        "each row once",
    )


@pytest.mark.parametrize("shape", [(0, 0), (0, 1), (1, 0)])
def test_no_training_rows_are_refused_and_test_rows_may_be_empty(tmp_path: Path, shape: tuple) -> None:
    nothing = np.ones(shape)
    folder = write_xlsa17(tmp_path / "a", trainval_loc=nothing)
    refused(folder, folder, "trainval", "no rows", "at least one row")
    folder = write_xlsa17(tmp_path / "b", test_seen_loc=nothing, test_unseen_loc=nothing)
    assert load_xlsa17(folder, "tiny").unseen_classes.tolist() == list(UNSEEN)


def test_test_rows_may_be_left_out(tmp_path: Path) -> None:
    folder = write_xlsa17(tmp_path, test_seen_loc=None, test_unseen_loc=None)
    assert load_xlsa17(folder, "tiny").unseen_classes.tolist() == list(UNSEEN)


def test_a_class_that_is_seen_and_unseen_is_refused(tmp_path: Path) -> None:
    shared = one_based_column(np.concatenate([rows_of(SEEN, 0, 3), rows_of((5,), 0, 1)]))
    refused(
        write_xlsa17(tmp_path, trainval_loc=shared),
        tmp_path,
        "1 unseen test classes with training rows: fox",
        "disjoint classes",
    )


def test_a_class_that_trains_and_validates_is_refused(tmp_path: Path) -> None:
    refused(
        write_xlsa17(tmp_path, train_loc=one_based_column(rows_of((0, 1, 3)))),
        tmp_path,
        "1 validation classes with rows in train: dog",
    )


def test_a_row_of_trainval_among_the_test_rows_is_refused(tmp_path: Path) -> None:
    refused(
        write_xlsa17(tmp_path, test_seen_loc=one_based_column(rows_of(SEEN, 2, 5))),
        tmp_path,
        "test_seen",
        "also in trainval",
    )


def test_a_test_row_of_a_class_without_training_rows_is_refused(tmp_path: Path) -> None:
    folder = write_xlsa17(tmp_path, trainval_loc=one_based_column(rows_of((0, 1, 3), 0, 3)))
    refused(folder, tmp_path, "test_seen", "class cat without training rows", "seen classes")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (text_cells(("ant", *CLASS_NAMES[:5])), "'ant', 2 times"),
        (text_cells(CLASS_NAMES[:5]), "5 names; allowed: 6"),
        (text_cells((" ", *CLASS_NAMES[1:])), "''"),
        (np.arange(6.0), "[0.0] as a name"),
        (text_cells((np.array([]), *CLASS_NAMES[1:])), "[] as a name"),
        (np.zeros((0, 0)), "0 names"),
    ],
)
def test_class_names_that_are_not_one_text_per_class_are_refused(
    tmp_path: Path, names: np.ndarray, found: str
) -> None:
    refused(write_xlsa17(tmp_path, allclasses_names=names), tmp_path, "names", found)


# Real data


@pytest.mark.skipif(not FLO.is_dir(), reason=f"the real FLO features are not at {FLO}")
def test_real_flo_has_the_classes_and_rows_that_are_known_of_it() -> None:
    flo = load_xlsa17(FLO, "FLO")
    assert (len(flo.seen_classes), len(flo.unseen_classes), flo.class_count) == (82, 20, 102)
    assert (len(flo.trainval), len(flo.test_seen), len(flo.test_unseen)) == (5495, 1368, 1122)
    assert (len(flo.train), len(flo.val)) == (4593, 902)
    assert (flo.feature_size, flo.attribute_size) == (1280, 1024)
    assert re.fullmatch("[0-9a-f]{16}", flo.digest)
    # The archive normalises every class's attributes to length 1.
    torch.testing.assert_close(flo.attributes.norm(dim=1), torch.ones(102))


def test_the_tiny_files_are_interleaved_and_cover_every_row() -> None:
    data = tiny_dataset()
    assert sorted(torch.cat([data.trainval, data.test_seen, data.test_unseen]).tolist()) == list(range(ROWS))
    assert set(LABELS[rows_of(UNSEEN)]) == set(UNSEEN)
