"""The data set that every stage works on: one feature matrix, class attributes, and index tensors for the splits.

Definitions follow Xian et al. 2018, "Zero-Shot Learning: A Comprehensive Evaluation of the Good, the Bad and the
Ugly" (arXiv 1707.00600): `trainval` holds rows of the seen classes, `train` and `val` divide it by class for the
validation protocol, `test_seen` and `test_unseen` are scored once.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.errors import InputError
from cwgan.files import fingerprint

SPLITS = ("trainval", "train", "val", "test_seen", "test_unseen")


@dataclass(frozen=True, eq=False)
class GzslDataset:
    """Features, attributes and splits of one benchmark, checked when made.

    Args:
        name: what it is called in MLflow.
        source: the folder or file it was read from; named in errors.
        features: one row per image.
        labels: class of every row, 0 to classes - 1.
        attributes: one row per class, in the order of the labels.
        class_names: one per class.
        trainval, train, val, test_seen, test_unseen: row indices; `train` and `val` may be empty.
        test_concealed: whether the features of test rows are not looked at, not even for NaN.

    Raises:
        InputError: sizes disagree, a value is not finite, a label has no class, class names repeat, a split is empty or
            names a row twice, `train` or `val` leaves `trainval`, or seen and unseen overlap.
    """

    name: str
    source: str
    features: Float32[Tensor, "rows features"]
    labels: Int64[Tensor, " rows"]
    attributes: Float32[Tensor, "classes attributes"]
    class_names: tuple[str, ...]
    trainval: Int64[Tensor, " trainval"]
    train: Int64[Tensor, " train"]
    val: Int64[Tensor, " val"]
    test_seen: Int64[Tensor, " test_seen"]
    test_unseen: Int64[Tensor, " test_unseen"]
    test_concealed: bool = False

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_labels()
        self._check_splits()
        self._check_values()

    @property
    def feature_size(self) -> int:
        return self.features.shape[1]

    @property
    def attribute_size(self) -> int:
        return self.attributes.shape[1]

    @property
    def class_count(self) -> int:
        return self.attributes.shape[0]

    @property
    def seen_classes(self) -> Int64[Tensor, " seen"]:
        """Classes with training rows, ascending."""
        return self.labels[self.trainval].unique()

    @property
    def unseen_classes(self) -> Int64[Tensor, " unseen"]:
        """Classes of the unseen test rows, ascending."""
        return self.labels[self.test_unseen].unique()

    @cached_property
    def split_hash(self) -> str:
        """First 16 hex digits of a SHA-256 of which rows, by content, lie in which split; the same in either file layout."""
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(
                split.encode()
                + b"".join(sorted(self._row_prints[row] for row in getattr(self, split).tolist()))
            )
        return digest.hexdigest()[:16]

    @cached_property
    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 of the splits, the labels of their rows, and the attributes; as `split_hash`."""
        digest = hashlib.sha256(self.split_hash.encode())
        rows = torch.cat([self.trainval, self.test_seen, self.test_unseen])
        digest.update(
            b"".join(
                sorted(
                    self._row_prints[row] + bytes(str(self.labels[row].item()), "ascii")
                    for row in rows.tolist()
                )
            )
        )
        digest.update(self.attributes.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    @cached_property
    def _row_prints(self) -> list[bytes]:
        return [fingerprint(row) for row in self.features.contiguous().numpy()]

    def summary(self) -> str:
        """Return one line that says what is in it."""
        seen, unseen = len(self.seen_classes), len(self.unseen_classes)
        rows = f"{len(self.trainval)} training, {len(self.test_seen)} seen and {len(self.test_unseen)} unseen test rows"
        return f"{self.name}: {seen} seen + {unseen} unseen classes, {self.feature_size} features, {self.attribute_size} attributes, {rows}"

    def _check_sizes(self) -> None:
        if self.feature_size == 0 or self.attribute_size == 0:
            raise InputError(self.source, "features, attributes", "no columns", "at least one column each")
        if len(self.class_names) != self.class_count:
            raise InputError(
                self.source,
                "class names",
                f"{len(self.class_names)} names",
                f"{self.class_count}, one per row of attributes",
            )
        odd = [
            name
            for name, times in Counter(self.class_names).items()
            if times > 1 or not name or not name.isprintable()
        ]
        if odd:
            raise InputError(
                self.source,
                "class names",
                f"{odd[0]!r}, {self.class_names.count(odd[0])} times",
                "printable names, each once",
            )

    def _check_values(self) -> None:
        looked_at = self.features[self.trainval] if self.test_concealed else self.features
        for field, matrix in (("features", looked_at), ("attributes", self.attributes)):
            # One pass and no mask in memory: a sum of finite values overflows only past 1e38, where each row is asked.
            if not torch.isfinite(matrix.sum()):
                bad = [row for row, values in enumerate(matrix) if not torch.isfinite(values).all()]
                if bad:
                    raise InputError(
                        self.source,
                        field,
                        f"NaN or infinity in {len(bad)} rows, first row {bad[0] + 1}",
                        "finite numbers",
                    )

    def _check_labels(self) -> None:
        outside = (self.labels < 0) | (self.labels >= self.class_count)
        if outside.any():
            label = int(self.labels[outside][0]) + 1
            raise InputError(
                self.source,
                "labels",
                f"class {label}",
                f"1 to {self.class_count}, the classes that have attributes",
            )

    def _check_splits(self) -> None:
        for split in SPLITS:
            index = getattr(self, split)
            if len(index) == 0 and split not in ("train", "val"):
                raise InputError(self.source, split, "no rows", "at least one row")
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.features):
                found = f"rows {int(index.min()) + 1} to {int(index.max()) + 1}"
                raise InputError(self.source, split, found, f"rows 1 to {len(self.features)}")
            if len(index.unique()) < len(index):
                raise InputError(
                    self.source,
                    split,
                    f"{len(index)} rows, of which {len(index.unique())} different",
                    "each row once",
                )
            if split in ("train", "val") and not torch.isin(index, self.trainval).all():
                raise InputError(self.source, split, "rows that are not in trainval", "rows of trainval")
        if 0 in (len(self.train), len(self.val)) and len(self.train) + len(self.val) > 0:
            raise InputError(
                self.source,
                "train, val",
                f"{len(self.train)} and {len(self.val)} rows",
                "rows in both, or in neither",
            )
        for left, right, what in (
            (self.trainval, self.test_unseen, "unseen test classes with training rows"),
            (self.train, self.val, "validation classes with rows in train"),
        ):
            shared = sorted(
                set(self.labels[left].unique().tolist()) & set(self.labels[right].unique().tolist())
            )
            if shared:
                names = ", ".join(self.class_names[label] for label in shared[:3])
                raise InputError(self.source, "splits", f"{len(shared)} {what}: {names}", "disjoint classes")
        stray = sorted(set(self.labels[self.test_seen].unique().tolist()) - set(self.seen_classes.tolist()))
        if stray:
            raise InputError(
                self.source,
                "test_seen",
                f"class {self.class_names[stray[0]]} without training rows",
                "seen classes",
            )
        if len(set(self.trainval.tolist()) & set(self.test_seen.tolist())):
            raise InputError(self.source, "test_seen", "rows that are also in trainval", "disjoint rows")


def validation_view(dataset: GzslDataset, holdout: float, seed: int) -> GzslDataset:
    """Return the data set of the validation protocol: no test row, validation classes in the place of unseen ones.

    Training rows are those of `train` less a per-class hold-out, which takes the place of `test_seen`; the rows of
    `val` take the place of `test_unseen`. Classes that have no row left leave the label space. Where the files name
    no validation classes, a seeded draw of seen classes, in the proportion of unseen to all classes, serves.

    Args:
        dataset: the data set of the final protocol.
        holdout: share of each remaining seen class's rows that is held out, at least one and never all.
        seed: of both draws.

    Raises:
        InputError: too few classes to draw from, or no class with a row to spare for the hold-out.
    """
    rng = torch.Generator().manual_seed(seed)
    train, val = dataset.train, dataset.val
    if len(val) == 0:
        seen = dataset.seen_classes
        if len(seen) < 2:
            raise InputError(
                dataset.source, "trainval", "one class", "two or more, some of which can validate"
            )
        share = len(dataset.unseen_classes) / dataset.class_count
        count = min(max(1, round(len(seen) * share)), len(seen) - 1)
        chosen = seen[torch.randperm(len(seen), generator=rng)[:count]]
        held = torch.isin(dataset.labels[dataset.trainval], chosen)
        train, val = dataset.trainval[~held], dataset.trainval[held]
    kept, scored = hold_out(dataset.labels, train, holdout, rng)
    classes = dataset.labels[torch.cat([train, val])].unique()
    position = torch.full((dataset.class_count,), -1).scatter_(0, classes, torch.arange(len(classes)))
    rows = torch.cat([kept, scored, val])
    bounds = [len(kept), len(kept) + len(scored)]
    empty = torch.empty(0, dtype=torch.int64)
    return GzslDataset(
        name=f"{dataset.name} (validation)",
        source=dataset.source,
        features=dataset.features[rows],
        labels=position[dataset.labels[rows]],
        attributes=dataset.attributes[classes],
        class_names=tuple(dataset.class_names[label] for label in classes.tolist()),
        trainval=torch.arange(bounds[0]),
        train=empty,
        val=empty,
        test_seen=torch.arange(*bounds),
        test_unseen=torch.arange(bounds[1], len(rows)),
    )


def hold_out(
    labels: Int64[Tensor, " rows"], index: Int64[Tensor, " chosen"], share: float, rng: torch.Generator
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
    """Divide rows into kept and held-out ones, class by class; a class of one row stays whole.

    Args:
        labels: class of every row of the data set.
        index: the rows to divide.
        share: of each class that is held out, 0 to 1, rounded; 0 holds out nothing.
        rng: decides which.

    Returns:
        Both parts, each in ascending order of row.
    """
    if share == 0:
        return index.sort().values, index[:0]
    index = index[torch.randperm(len(index), generator=rng)]
    of_row = labels[index]
    kept, held = [], []
    for label in of_row.unique():
        rows = index[of_row == label]
        count = min(max(1, round(len(rows) * share)), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    return torch.cat(kept).sort().values, torch.cat(held).sort().values


def binarize(attributes: Float32[Tensor, "classes attributes"]) -> Float32[Tensor, "classes attributes"]:
    """Return 1 where an attribute reaches the mean of all entries, else 0 (the original data preparation)."""
    return (attributes >= attributes.double().mean()).float()
