from pathlib import Path

import pytest
import torch
from make_data import tiny_dataset

from cwgan.data.new_classes import add_new_classes
from cwgan.data.views import redivide
from cwgan.errors import InputError

TINY = tiny_dataset()


def test_another_division_draws_as_many_unseen_classes_from_all_and_holds_out_rows_of_the_others() -> None:
    drawn = [redivide(TINY, draw, 0.2) for draw in range(1, 9)]
    assert {len(each.unseen_classes) for each in drawn} == {len(TINY.unseen_classes)}
    assert len({tuple(each.unseen_classes.tolist()) for each in drawn}) > 1
    for each in drawn:
        assert torch.equal(each.labels[each.test_unseen].unique(), each.unseen_classes)
        assert torch.equal(each.labels[each.test_seen].unique(), each.seen_classes)
        used = torch.cat([each.trainval, each.test_seen, each.test_unseen])
        before = torch.cat([TINY.trainval, TINY.test_seen, TINY.test_unseen])
        assert torch.equal(used.sort().values, before.sort().values)
    assert drawn[0].split_hash == redivide(TINY, 1, 0.2).split_hash != drawn[1].split_hash


def test_a_division_leaves_two_seen_classes_at_least() -> None:
    assert len(redivide(TINY, 1, 0.2, TINY.class_count - 2).seen_classes) == 2
    with pytest.raises(InputError, match=r"data\.division"):
        redivide(TINY, 1, 0.2, TINY.class_count - 1)


def test_classes_that_were_added_to_the_files_change_no_division(tmp_path: Path) -> None:
    line = ",".join(["new", *["1"] * TINY.attribute_size])
    (tmp_path / "new.csv").write_text(line)
    more = add_new_classes(TINY, str(tmp_path / "new.csv"))
    assert torch.equal(redivide(more, 1, 0.2).trainval, redivide(TINY, 1, 0.2).trainval)
