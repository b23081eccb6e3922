"""Finding out what kind of data set a path is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from make_data import CLASS_NAMES, assert_same_data, tiny_dataset, write_xlsa17

from cwgan.data.dataset import GzslDataset, binarize
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.sources import load_dataset
from cwgan.errors import InputError


def test_numbers_is_the_built_in_data_set(numbers: GzslDataset) -> None:
    assert_same_data(load_dataset("numbers"), numbers)
    assert load_dataset("numbers", seed=1).split_hash != numbers.split_hash


def test_a_folder_is_read_in_whichever_layout_it_holds(tmp_path: Path) -> None:
    write_xlsa17(tmp_path / "mat")
    save_hdf5(tiny_dataset(), tmp_path / "pair")
    assert_same_data(load_dataset(str(tmp_path / "mat")), tiny_dataset())
    assert_same_data(load_dataset(str(tmp_path / "pair")), tiny_dataset())


def test_a_data_set_is_called_after_its_folder_unless_it_is_given_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_xlsa17(tmp_path / "Tiny Set")
    save_hdf5(tiny_dataset(), tmp_path / "pair")
    assert load_dataset(str(tmp_path / "Tiny Set")).name == "Tiny Set"
    assert load_dataset(str(tmp_path / "pair")).name == "pair"
    assert load_dataset(str(tmp_path / "pair"), name="other").name == "other"
    assert load_dataset("numbers").name == "numbers"
    assert load_dataset("numbers", name="digits").name == "digits"
    monkeypatch.chdir(tmp_path / "pair")
    assert load_dataset(".").name == "pair"


def test_binary_attributes_are_one_where_they_reach_the_mean_of_all_entries(tmp_path: Path) -> None:
    table = np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 0.0], [6.0, 0.0], [1.5, 1.4], [1.6, 1.5]])  # mean 1.5
    np.save(tmp_path / "table.npy", table)
    loaded = load_dataset(
        str(write_xlsa17(tmp_path)), attributes=str(tmp_path / "table.npy"), att_type="binary"
    )
    assert loaded.attributes.tolist() == [[0, 0], [1, 1], [0, 0], [1, 0], [1, 0], [1, 1]]
    assert loaded.digest != load_dataset(str(tmp_path), attributes=str(tmp_path / "table.npy")).digest


def test_equal_attributes_all_reach_their_mean() -> None:
    assert binarize(torch.full((7, 3), 0.1)).eq(1).all()


@pytest.mark.parametrize("layout", ["mat", "pair"])
def test_attributes_of_a_file_replace_those_of_either_layout(tmp_path: Path, layout: str) -> None:
    write_xlsa17(tmp_path / "mat")
    save_hdf5(tiny_dataset(), tmp_path / "pair")
    order = [5, 4, 3, 2, 1, 0]
    np.save(tmp_path / "table.npy", np.eye(6)[order])
    (tmp_path / "table.txt").write_text("\n".join(CLASS_NAMES[label] for label in order))
    loaded = load_dataset(str(tmp_path / layout), attributes=str(tmp_path / "table.npy"))
    assert torch.equal(loaded.attributes, torch.eye(6))


def test_the_built_in_data_takes_no_other_attributes() -> None:
    with pytest.raises(InputError, match=r"data\.attributes: found table\.npy; allowed: nothing"):
        load_dataset("numbers", attributes="table.npy")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("none", "No such file"),
        ("empty", "neither layout"),
        ("mat/res101.mat", "Not a directory"),
        ("loop", "symbolic link"),
        ("a" * 300, "too long"),
    ],
)
def test_a_path_without_a_data_set_is_refused_with_what_is_allowed(
    tmp_path: Path, path: str, found: str
) -> None:
    write_xlsa17(tmp_path / "mat")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError) as caught:
        load_dataset(str(tmp_path / path))
    for part in (tmp_path / path, "data.path", "found", found, "'numbers'", "res101.mat", "data.h5"):
        assert str(part) in str(caught.value)


@pytest.mark.parametrize(("present", "absent"), [("data.h5", "knn.h5"), ("knn.h5", "data.h5")])
def test_half_a_pair_is_refused_with_the_half_that_is_missing(
    tmp_path: Path, present: str, absent: str
) -> None:
    save_hdf5(tiny_dataset(), tmp_path)
    (tmp_path / absent).unlink()
    assert (tmp_path / present).is_file()
    with pytest.raises(InputError, match=f"{absent}: file: found nothing there"):
        load_dataset(str(tmp_path))


def test_half_a_pair_beside_a_whole_xlsa17_pair_is_refused_and_the_whole_one_is_named(tmp_path: Path) -> None:
    save_hdf5(tiny_dataset(), write_xlsa17(tmp_path))
    load_dataset(str(tmp_path))
    (tmp_path / "knn.h5").unlink()
    with pytest.raises(InputError) as caught:
        load_dataset(str(tmp_path))
    found, allowed = str(caught.value).split("; allowed: ")
    assert "data.h5 without knn.h5, beside res101.mat and att_splits.mat" in found
    assert "without data.h5" in allowed
