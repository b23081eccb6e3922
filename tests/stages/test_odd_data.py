"""Data of unusual shape or size: each goes through all stages, or is refused with the reason."""

from pathlib import Path

import pytest
import torch
from make_data import CLASS_NAMES, LABELS, SEEN, rows, tiny_dataset

from cwgan.command_line import override
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.stages.classify import train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import GAN_FILE, PRETRAINED_FILE, Job, view_data
from cwgan.stages.train import train

SHORT = {
    **{
        "monitor.epochs": 1,
        "regressor.epochs": 1,
        "gan.epochs": 2,
        "gan.epoch_steps": 2,
        "gan.hidden_size": 8,
    },
    **{"generate.counts": [3], "classifier.epochs": 1},
}
EMPTY = torch.empty(0, dtype=torch.int64)
FEATURES, ATTRIBUTES = tiny_dataset().features, tiny_dataset().attributes
NO_VALIDATION = {"train": EMPTY, "val": EMPTY}
FEW = {
    "attributes": ATTRIBUTES[:5],
    "class_names": CLASS_NAMES[:5],
    "labels": torch.from_numpy(LABELS).clamp(max=4),
}


def run(folder: Path, changes: dict[str, object], **settings: object) -> dict[str, float]:
    """Run all stages on the tiny data set with some fields changed; return the scores."""
    config = override(Config(), SHORT | settings)
    job = Job(config, view_data(config, tiny_dataset(**changes)), folder, lambda terms, epoch: None)
    synthetic, _ = generate(job, train(job))
    return train_classifier(job, synthetic).scores


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({"features": torch.ones(30, 5)}, "SUH"),
        ({"features": torch.zeros(30, 5)}, "SUH"),
        ({"features": FEATURES[:6].repeat(5, 1)}, "SUH"),
        ({"features": FEATURES[:, :1]}, "SUH"),
        ({"features": FEATURES * 1e38}, "SUH"),
        ({"features": FEATURES * 1e-42}, "SUH"),
        ({"attributes": ATTRIBUTES[:, :1]}, "SUH"),
        ({"trainval": rows(SEEN, 0, 1), **NO_VALIDATION}, "SUH"),
        (FEW, "SUH"),
        ({"test_seen": EMPTY, "test_unseen": EMPTY}, ""),
        ({"test_unseen": EMPTY}, "S"),
        ({"test_seen": EMPTY}, "U"),
        ({"test_unseen": rows((4,), 0, 5)}, "SUH"),
    ],
    ids=[
        *("constant features", "zeros", "duplicated rows", "one feature", "huge features", "tiny features"),
        *("one attribute", "one row a class", "one unseen class", "no test rows", "no unseen test rows"),
        *("no seen test rows", "a class without test rows"),
    ],
)
@pytest.mark.parametrize("scaling", ["overall", "per_feature", "min_max"])
def test_odd_data_go_through_all_stages(
    tmp_path: Path, changes: dict[str, object], scored: str, scaling: str
) -> None:
    scores = run(tmp_path, changes, **{"data.scaling": scaling})
    assert {name for name in "SUH" if name in scores} == set(scored)
    assert all(0 <= scores[name] <= 1 for name in scored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attributes": torch.zeros(6, 3)}, "attributes: found the same for all classes"),
        (
            {"trainval": rows((0,), 0, 3), "test_seen": rows((0,), 3, 5), **NO_VALIDATION},
            "attributes: found one seen class to learn from; allowed: two or more",
        ),
        ({"attributes": ATTRIBUTES * 1e30}, r"attributes: found differences of .*e\+29; allowed: 1e-15 to"),
        ({"attributes": ATTRIBUTES * 1e-30}, "attributes: found differences of .*e-31; allowed: 1e-15 to"),
    ],
    ids=["no attributes", "one seen class", "huge attributes", "tiny attributes"],
)
def test_data_that_nothing_can_be_learnt_from_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path, changes)


def test_one_seen_class_works_with_attributes_as_they_are(tmp_path: Path) -> None:
    one = {"trainval": rows((0,), 0, 3), "test_seen": rows((0,), 3, 5), **NO_VALIDATION}
    assert "H" in run(tmp_path, one, **{"data.attribute_norm": 0.0})


def test_a_batch_larger_than_the_data_is_all_of_them(tmp_path: Path) -> None:
    sizes = {f"{stage}.batch_size": 10**6 for stage in ("monitor", "regressor", "gan", "classifier")}
    assert "H" in run(tmp_path, {}, **sizes)


def test_features_that_no_loss_can_bear_stop_the_first_step_and_leave_what_is_whole(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"Regressor: the loss is inf in epoch 1, step 1 of 1"):
        run(tmp_path, {"features": FEATURES * 1e38}, **{"data.scaling": "none", "gan.cycle_weight": 1})
    with pytest.raises(FloatingPointError, match=r"GAN: the term \w+ is .* in epoch \d, step \d of 2"):
        run(tmp_path, {}, **{"gan.critic_lr": 1e30, "gan.generator_lr": 1e30, "gan.save.every": 1})
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert PRETRAINED_FILE in left
    assert GAN_FILE not in left
