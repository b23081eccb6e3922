"""The original code's HDF5 pair: written, read back, read the original way, and bad input of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from make_data import (
    CLASS_NAMES,
    SEEN,
    UNSEEN,
    VALIDATION,
    assert_same_data,
    rows_of,
    text_cells,
    tiny_dataset,
    write_xlsa17,
)

from cwgan.data.dataset import GzslDataset, binarize
from cwgan.data.hdf5 import load_hdf5, save_hdf5
from cwgan.data.views import make_validation_view
from cwgan.data.xlsa17 import load_xlsa17
from cwgan.errors import InputError

Edit = Callable[[h5py.File], Any]


def edited_pair(folder: Path, name: str, edit: Edit) -> Path:
    """Write the tiny data set as a pair, change one of its files, and return the folder."""
    save_hdf5(tiny_dataset(), folder)
    with h5py.File(folder / name, "r+") as file:
        edit(file)
    return folder


def put(key: str, value: object) -> Edit:
    """Return an edit that replaces one dataset."""

    def edit(file: h5py.File) -> None:
        if key in file:
            del file[key]
        file[key] = value

    return edit


def refused(folder: Path, *parts: object) -> None:
    """Assert that reading ends in an InputError whose one line holds all parts."""
    with pytest.raises(InputError) as caught:
        load_hdf5(folder, "tiny")
    message = str(caught.value)
    assert "\n" not in message
    for part in (folder, *parts, "found", "allowed"):
        assert str(part) in message


def walk(group: h5py.Group) -> dict[str, Any]:
    """Read everything below a group into nested dictionaries, as the original code does."""
    return {key: item[()] if isinstance(item, h5py.Dataset) else walk(item) for key, item in group.items()}


def read_the_original_way(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return walk(file)


# There and back


def test_an_xlsa17_folder_written_as_a_pair_reads_back_the_same(tmp_path: Path) -> None:
    source = load_xlsa17(write_xlsa17(tmp_path / "mat"), "tiny")
    save_hdf5(source, tmp_path / "pair")
    assert_same_data(load_hdf5(tmp_path / "pair", "tiny"), source)


def test_the_built_in_numbers_read_back_the_same(tmp_path: Path, numbers: GzslDataset) -> None:
    save_hdf5(numbers, tmp_path)
    assert_same_data(load_hdf5(tmp_path, "numbers"), numbers)


def test_a_validation_view_reads_back_the_same(tmp_path: Path) -> None:
    view = make_validation_view(tiny_dataset(), 0.3, 0)
    save_hdf5(view, tmp_path)
    assert_same_data(load_hdf5(tmp_path, "tiny"), view)


def test_rows_outside_every_split_are_dropped_and_the_digest_stays(tmp_path: Path) -> None:
    source = tiny_dataset(test_seen=torch.from_numpy(rows_of(SEEN, 3, 4)))
    save_hdf5(source, tmp_path)
    again = load_hdf5(tmp_path, "tiny")
    assert (len(source.features), len(again.features)) == (30, 26)
    assert_same_data(again, source)


def test_rows_of_equal_features_keep_their_own_labels_and_splits(tmp_path: Path) -> None:
    features = torch.zeros(30, 5)
    source = tiny_dataset(features=features)
    save_hdf5(source, tmp_path)
    again = load_hdf5(tmp_path, "tiny")
    assert_same_data(again, source)
    assert (len(again.train), len(again.val)) == (9, 3)


def test_class_names_with_accents_signs_and_blanks_read_back(tmp_path: Path) -> None:
    names = ("001.Black_footed", "grizzly+bear", "b\u00e9e \u5927", "4", "a/b", "e f")
    source = load_xlsa17(write_xlsa17(tmp_path / "mat", allclasses_names=text_cells(names)), "tiny")
    save_hdf5(source, tmp_path / "my pair \u00e9")
    assert load_hdf5(tmp_path / "my pair \u00e9", "tiny").class_names == names


def test_a_pair_whose_groups_train_val_and_val_are_missing_has_no_validation_classes(tmp_path: Path) -> None:
    for missing in (("train_val", "val"), ("train_val",), ("val",)):
        save_hdf5(tiny_dataset(), tmp_path)
        with h5py.File(tmp_path / "data.h5", "r+") as file:
            for key in missing:
                del file[key]
        loaded = load_hdf5(tmp_path, "tiny")
        assert len(loaded.train) == len(loaded.val) == 0
        assert len(loaded.trainval) == len(tiny_dataset().trainval)


def test_a_data_set_without_validation_classes_reads_back_without_them(tmp_path: Path) -> None:
    empty = torch.empty(0, dtype=torch.int64)
    source = tiny_dataset(train=empty, val=empty)
    save_hdf5(source, tmp_path)
    assert_same_data(load_hdf5(tmp_path, "tiny"), source)


# The original layout


def test_data_h5_has_the_original_groups_and_datasets(tmp_path: Path) -> None:
    data = tiny_dataset()
    save_hdf5(data, tmp_path)
    stored = read_the_original_way(tmp_path / "data.h5")
    assert set(stored) == {"name", "train", "train_val", "val", "test"}
    assert set(stored["test"]) == {"seen", "unseen"}
    for group, index in (
        (stored["train"], data.trainval),
        (stored["train_val"], data.train),
        (stored["val"], data.val),
        (stored["test"]["seen"], data.test_seen),
        (stored["test"]["unseen"], data.test_unseen),
    ):
        labels = data.labels[index]
        assert np.array_equal(group["X"], data.features[index])
        assert np.array_equal(group["y"], labels)
        assert np.array_equal(group["Y"], labels + 1)
        assert np.array_equal(group["A"]["continuous"], data.attributes[labels])
        assert np.array_equal(group["A"]["binary"], binarize(data.attributes)[labels])
        assert set(group) == {"X", "Y", "y", "A"}
        assert set(group["A"]) == {"continuous", "binary"}


def test_knn_h5_holds_all_seen_and_unseen_classes_under_their_original_names(tmp_path: Path) -> None:
    data = tiny_dataset()
    save_hdf5(data, tmp_path)
    stored = read_the_original_way(tmp_path / "knn.h5")
    for domain, classes in (("openset", range(6)), ("openval", SEEN), ("zsl", UNSEEN)):
        group, names = stored[domain], [CLASS_NAMES[label] for label in classes]
        assert set(group) == {"data", "ids", "ys", "labels", "knn2id", "id2knn", "id2class"}
        assert np.array_equal(group["data"], data.attributes[list(classes)])
        assert group["ys"].tolist() == list(classes)
        assert group["ids"].tolist() == [label + 1 for label in classes]
        assert [name.decode() for name in group["labels"]] == names
        assert {int(row): int(number) for row, number in group["knn2id"].items()} == dict(
            enumerate(group["ids"].tolist())
        )
        assert {int(number): int(row) for number, row in group["id2knn"].items()} == {
            n: r for r, n in enumerate(group["ids"].tolist())
        }
        assert {int(number): name.decode() for number, name in group["id2class"].items()} == dict(
            zip(group["ids"], names, strict=True)
        )
    assert set(stored) == {"openset", "openval", "zsl"}


def test_a_pair_as_the_original_preparation_left_it_is_read(tmp_path: Path) -> None:
    """Written from the layout's description: doubles, names as bytes, test rows in train_val and val."""
    data = tiny_dataset()
    contaminated = {"train_val": rows_of((0, 1, 2)), "val": rows_of(VALIDATION)}
    with h5py.File(tmp_path / "data.h5", "w") as file:
        groups = {
            "train": data.trainval,
            "test/seen": data.test_seen,
            "test/unseen": data.test_unseen,
            **contaminated,
        }
        for group, index in groups.items():
            file[f"{group}/X"] = data.features[index].double().numpy()
            file[f"{group}/Y"] = (data.labels[index] + 1).numpy().astype(np.uint8)
    with h5py.File(tmp_path / "knn.h5", "w") as file:
        file["openset/data"] = data.attributes.double().numpy()
        file["openset/ids"] = np.arange(6) + 1
        file["openset/labels"] = np.array(CLASS_NAMES, dtype="S")
    assert_same_data(load_hdf5(tmp_path, "tiny"), data)


def test_test_rows_in_train_val_and_val_are_dropped(tmp_path: Path) -> None:
    data = tiny_dataset()
    with_test_rows = rows_of((0, 1, 2))

    def contaminate(file: h5py.File) -> None:
        put("train_val/X", data.features[with_test_rows].numpy())(file)
        put("train_val/Y", data.labels[with_test_rows].numpy() + 1)(file)

    assert_same_data(load_hdf5(edited_pair(tmp_path, "data.h5", contaminate), "tiny"), data)


def merged_as_the_original_does(folder: Path, domain: str, counts: str, numbers: list[int]) -> Path:
    """Write the tiny pair, with synthetic rows of classes by 1-based number after the real training rows."""
    save_hdf5(tiny_dataset(), folder)
    with h5py.File(folder / "data.h5", "r+") as file:
        rows = {"X": np.ones((len(numbers), 5)), "Y": numbers}
        rows["A/continuous"] = tiny_dataset().attributes[np.array(numbers) - 1].numpy()
        for key, more in rows.items():
            put(f"train/{key}", np.concatenate([file[f"train/{key}"][:], more]))(file)
        file["info/domain"], file["info/num_features"] = domain, counts
    return folder


def test_of_a_merged_file_of_the_original_the_real_rows_are_the_data_set(tmp_path: Path) -> None:
    one = merged_as_the_original_does(tmp_path / "one", "['unseen']", "[2]", [5, 5, 6, 6])
    numbers = [5, 5, 6, 6, 1, 2, 3, 4]
    two = merged_as_the_original_does(tmp_path / "two", "['unseen', 'seen']", "[2, 1]", numbers)
    for folder in (one, two, two / "data.h5"):
        assert_same_data(load_hdf5(folder, "tiny"), tiny_dataset())


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ("[1]", "unseen test classes with training rows: elk"),
        ("[2, 3]", "2 numbers for 1"),
        ("[8]", "16 synthetic rows"),
    ],
)
def test_a_merged_file_that_contradicts_itself_is_refused(tmp_path: Path, counts: str, found: str) -> None:
    refused(merged_as_the_original_does(tmp_path, "['unseen']", counts, [5, 5, 6, 6]), found)


def test_classes_without_labels_are_called_after_their_ids(tmp_path: Path) -> None:
    folder = edited_pair(tmp_path, "knn.h5", lambda file: file.__delitem__("openset/labels"))
    assert load_hdf5(folder, "tiny").class_names == tuple(f"class {number}" for number in range(1, 7))


def test_rows_stand_in_the_order_of_the_splits(tmp_path: Path) -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    source = tiny_dataset(trainval=tiny_dataset().trainval[order])
    save_hdf5(source, tmp_path)
    again = load_hdf5(tmp_path, "tiny")
    for split in ("trainval", "train", "val", "test_seen", "test_unseen"):
        rows, wanted = getattr(again, split), getattr(source, split)
        assert torch.equal(again.features[rows], source.features[wanted])
    assert torch.equal(again.trainval, torch.arange(12))


@pytest.mark.parametrize("number", [1, 7])
def test_an_unseen_class_with_training_rows_or_of_no_attributes_is_refused(
    tmp_path: Path, number: int
) -> None:
    folder = edited_pair(tmp_path, "knn.h5", put("zsl/ids", [5, 6, number]))
    refused(folder, tmp_path / "knn.h5", "zsl/ids", f"found class {number}", "no rows in train")


def test_attributes_of_rows_that_are_another_class_s_are_refused(tmp_path: Path) -> None:
    def swap(file: h5py.File) -> None:
        stored = file["train/A/continuous"]
        stored[3] = stored[2]

    refused(edited_pair(tmp_path, "data.h5", swap), "train/A/continuous", "row 4", "in knn.h5")
    refused(edited_pair(tmp_path, "data.h5", put("train/A/continuous", np.ones((12, 2)))), "shape (12, 2)")


def test_classes_are_ordered_by_their_ids_not_by_where_they_are_stored(tmp_path: Path) -> None:
    data, order = tiny_dataset(), [4, 2, 0, 5, 1, 3]

    def shuffle(file: h5py.File) -> None:
        for key in ("openset/data", "openset/ids", "openset/labels"):
            put(key, file[key][:][order])(file)

    assert_same_data(load_hdf5(edited_pair(tmp_path, "knn.h5", shuffle), "tiny"), data)


def test_ids_may_have_gaps(tmp_path: Path) -> None:
    spread = {number: 10 * number for number in range(1, 7)}
    edited_pair(tmp_path, "knn.h5", put("openset/ids", [10, 20, 30, 40, 50, 60]))
    with h5py.File(tmp_path / "knn.h5", "r+") as file:
        put("zsl/ids", [50, 60])(file)
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        for group in ("train", "train_val", "val", "test/seen", "test/unseen"):
            put(f"{group}/Y", [spread[number] for number in file[f"{group}/Y"][:].tolist()])(file)
    assert_same_data(load_hdf5(tmp_path, "tiny"), tiny_dataset())


# Writing whole or not at all


def test_writing_leaves_two_files_and_replaces_older_ones(tmp_path: Path) -> None:
    save_hdf5(tiny_dataset(attributes=torch.eye(6, 3)), tmp_path)
    save_hdf5(tiny_dataset(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5", "knn.h5"]
    assert_same_data(load_hdf5(tmp_path, "tiny"), tiny_dataset())


@pytest.mark.parametrize("old", [True, False])
def test_writing_that_fails_changes_neither_file(tmp_path: Path, old: bool) -> None:
    if old:
        save_hdf5(tiny_dataset(), tmp_path)
    unwritable = tiny_dataset(name="no\0name", attributes=torch.eye(6, 3))
    with pytest.raises(ValueError, match="NULL"):
        save_hdf5(unwritable, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["data.h5", "knn.h5"] if old else [])
    if old:
        assert_same_data(load_hdf5(tmp_path, "tiny"), tiny_dataset())


# Bad input


@pytest.mark.parametrize("name", ["data.h5", "knn.h5"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    (tmp_path / name).unlink()
    refused(tmp_path, tmp_path / name, "nothing there")


@pytest.mark.parametrize("name", ["data.h5", "knn.h5"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    whole = (tmp_path / name).read_bytes()
    for damaged in (
        b"",
        b"text",
        whole[:64],
        whole[:-1],
        whole.replace(b"TREE", b"????"),
        whole.replace(b"SNOD", b"????"),
    ):
        (tmp_path / name).write_bytes(damaged)
        refused(tmp_path, tmp_path / name, "unreadable")


@pytest.mark.parametrize(
    "key", ["train/X", "train/Y", "test/seen/X", "test/unseen/Y", "train_val/X", "val/Y"]
)
def test_a_missing_dataset_of_rows_is_named(tmp_path: Path, key: str) -> None:
    refused(
        edited_pair(tmp_path, "data.h5", lambda file: file.__delitem__(key)),
        tmp_path / "data.h5",
        key,
        "nothing there",
    )


@pytest.mark.parametrize("key", ["openset", "openset/data", "openset/ids"])
def test_a_missing_dataset_of_classes_is_named(tmp_path: Path, key: str) -> None:
    refused(
        edited_pair(tmp_path, "knn.h5", lambda file: file.__delitem__(key)),
        tmp_path / "knn.h5",
        key,
        "nothing there",
    )


@pytest.mark.parametrize("key", ["train/X", "test/seen/X", "test/unseen/X", "train_val/X", "val/X"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.ones(5), "shape (5,)"),
        (np.ones((4, 5, 1)), "shape (4, 5, 1)"),
        (1.0, "shape ()"),
        (np.ones((12, 5), dtype=complex), "complex128"),
        (np.ones((12, 5), dtype=bool), "bool"),
        (np.full((12, 5), b"a"), "|S1"),
        (h5py.Empty("f4"), "shape None"),
    ],
    ids=["vector", "cube", "number", "complex", "bool", "text", "empty"],
)
def test_features_that_are_no_matrix_of_numbers_are_refused(
    tmp_path: Path, key: str, value: object, found: str
) -> None:
    refused(edited_pair(tmp_path, "data.h5", put(key, value)), tmp_path / "data.h5", key, found)


@pytest.mark.parametrize("key", ["test/seen/X", "test/unseen/X", "train_val/X", "val/X"])
def test_another_number_of_features_than_in_train_is_refused(tmp_path: Path, key: str) -> None:
    refused(
        edited_pair(tmp_path, "data.h5", put(key, np.ones((12, 4)))),
        tmp_path / "data.h5",
        key,
        "4 columns",
        "5, as in train/X",
    )


@pytest.mark.parametrize("group", ["train", "test/seen", "test/unseen", "train_val", "val"])
def test_another_number_of_labels_than_of_rows_is_refused(tmp_path: Path, group: str) -> None:
    refused(
        edited_pair(tmp_path, "data.h5", put(f"{group}/Y", np.ones(7))),
        tmp_path / "data.h5",
        f"{group}/Y",
        "7 labels",
    )


@pytest.mark.parametrize("group", ["train", "test/seen", "test/unseen", "train_val", "val"])
@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (0, "whole numbers from 1"),
        (1.5, "whole numbers from 1"),
        (np.nan, "whole numbers from 1"),
        (7, "the 6 ids"),
        (2**40, "the 6 ids"),
    ],
)
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, group: str, value: float, allowed: str) -> None:
    rows = {"train": 12, "train_val": 9, "val": 3, "test/seen": 8, "test/unseen": 10}[group]
    folder = edited_pair(tmp_path, "data.h5", put(f"{group}/Y", np.full(rows, value)))
    refused(folder, tmp_path / "data.h5", f"{group}/Y", f"{value:.15g}", allowed)


def test_no_training_rows_are_refused_and_test_rows_may_be_empty_or_left_out(tmp_path: Path) -> None:
    def edit(*keys: str) -> Callable[[h5py.File], None]:
        def empty(file: h5py.File) -> None:
            for key in keys:
                put(f"{key}/X", np.empty((0, 5)))(file)
                put(f"{key}/Y", np.empty(0))(file)

        return empty

    refused(edited_pair(tmp_path / "a", "data.h5", edit("train")), "trainval", "no rows")
    folder = edited_pair(tmp_path / "b", "data.h5", edit("test/unseen"))
    with h5py.File(folder / "data.h5", "r+") as file:
        del file["test/seen"]
    dataset = load_hdf5(folder, "tiny")
    assert (len(dataset.test_seen), len(dataset.test_unseen)) == (0, 0)
    assert dataset.unseen_classes.tolist() == list(UNSEEN)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize(
    ("name", "key", "field"),
    [("data.h5", "test/seen/X", "features"), ("knn.h5", "openset/data", "attributes")],
)
def test_values_that_are_not_finite_in_float32_are_refused(
    tmp_path: Path, name: str, key: str, field: str, value: float
) -> None:
    def edit(file: h5py.File) -> None:
        values = file[key][:].astype(np.float64)
        values[1, 2] = value
        put(key, values)(file)

    refused(edited_pair(tmp_path, name, edit), field, "NaN or infinity in 1 rows")


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("ids", [1, 2, 3, 4, 5, 5], "5 different ids"),
        ("ids", [1, 2, 3, 4, 5], "5 different ids, 6 rows of data, 6 labels"),
        ("ids", [0, 1, 2, 3, 4, 5], "found 0"),
        ("ids", [1, 2, 3, 4, 5, np.nan], "found nan"),
        ("ids", np.ones((6, 1)), "shape (6, 1)"),
        ("data", np.ones((5, 3)), "5 rows of data"),
        ("data", np.ones(6), "shape (6,)"),
        ("data", np.ones((6, 0)), "no columns"),
        ("labels", np.array(CLASS_NAMES[:5], dtype="S"), "5 labels"),
        ("labels", np.array(["ant", "ant", *CLASS_NAMES[2:]], dtype="S"), "'ant', 2 times"),
        ("labels", np.arange(6), "int64"),
        ("labels", np.array([b"\xff\xfe"] * 6), "unreadable ('utf-8' codec"),
    ],
)
def test_classes_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, key: str, value: object, found: str
) -> None:
    refused(edited_pair(tmp_path, "knn.h5", put(f"openset/{key}", value)), tmp_path, found)


def test_an_empty_list_of_classes_is_refused(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        for key, value in (
            ("ids", np.empty(0)),
            ("data", np.empty((0, 3))),
            ("labels", np.empty(0, dtype="S3")),
        ):
            put(f"openset/{key}", value)(file)

    refused(edited_pair(tmp_path, "knn.h5", edit), "train/Y", "the 0 ids of openset in knn.h5")


def test_a_class_that_is_seen_and_unseen_is_refused(tmp_path: Path) -> None:
    folder = edited_pair(tmp_path, "data.h5", put("test/unseen/Y", [1] + [5] * 9))
    refused(folder, "1 unseen test classes with training rows: ant", "disjoint classes")


def test_links_out_of_the_pair_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    save_hdf5(tiny_dataset(), tmp_path / "whole")
    for number, (name, key) in enumerate(
        (("data.h5", "train"), ("data.h5", "train_val"), ("data.h5", "val/X"), ("knn.h5", "openset/ids"))
    ):
        other = h5py.ExternalLink(tmp_path / "whole" / name, f"/{key}")
        refused(edited_pair(tmp_path / str(number), name, put(key, other)), key, "a link")
    refused(
        edited_pair(tmp_path / "dangling", "data.h5", put("val", h5py.SoftLink("/none"))), "val/X", "a link"
    )


def test_a_pair_that_declares_8_terabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for key in ("train/X", "test/unseen/X", "val/X"):

        def edit(file: h5py.File, key: str = key) -> None:
            del file[key]
            file.create_dataset(key, (10**6, 2 * 10**6), "f4")

        refused(edited_pair(tmp_path, "data.h5", edit), key, "over 0 stored bytes")
