from pathlib import Path

import pytest

from cwgan.errors import InputError
from cwgan.gan.savepoints import Savepoints
from cwgan.gan_config import SaveConfig


def save_by(
    tmp_path: Path, rule: SaveConfig, epochs: int, metrics: dict[int, float] | None = None, name: str = ""
) -> list[int]:
    """Return which epochs stay on disk after a training that saves by a rule."""
    saves = Savepoints(tmp_path, "gan", rule)
    for epoch in range(1, epochs + 1):
        if saves.is_due(epoch):
            saves.path(epoch).touch()
            saves.keep(epoch, {name or rule.best_by: metrics[epoch]} if metrics else {})
    return sorted(int(path.stem.rpartition("-")[2]) for path in tmp_path.iterdir())


def test_nothing_is_saved_without_a_rule(tmp_path: Path) -> None:
    assert save_by(tmp_path, SaveConfig(), 10) == []


def test_savepoints_are_saved_and_stay(tmp_path: Path) -> None:
    assert save_by(tmp_path, SaveConfig(epochs=[2, 5, 99], every=4, keep=1), 12) == [2, 5, 9]


def test_every_so_many_epochs_from_an_epoch_on(tmp_path: Path) -> None:
    assert save_by(tmp_path, SaveConfig(every=3, start=4), 12) == [4, 7, 10]


def test_the_newest_stay(tmp_path: Path) -> None:
    assert save_by(tmp_path, SaveConfig(every=1, keep=2), 6) == [5, 6]


def test_the_best_by_a_metric_stay_the_lowest_where_it_is_a_loss_or_a_leak(tmp_path: Path) -> None:
    metrics = {1: 0.2, 2: 0.9, 3: 0.1, 4: 0.8, 5: 0.3}
    assert save_by(tmp_path, SaveConfig(every=1, keep=2, best_by="val_H"), 5, metrics) == [2, 4]
    for name in ("val_loss", "val_leak_seen_to_unseen", "val_leak_unseen_to_seen"):
        for path in tmp_path.iterdir():
            path.unlink()
        assert save_by(tmp_path, SaveConfig(every=1, keep=2, best_by=name), 5, metrics) == [1, 3]


def test_a_metric_that_is_not_measured_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gan\.save\.best_by: found 'val_X'; allowed: one of val_H"):
        save_by(tmp_path, SaveConfig(every=1, keep=1, best_by="val_X"), 2, {1: 0.1, 2: 0.2}, "val_H")
