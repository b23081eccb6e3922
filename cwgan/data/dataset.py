"""The data set that every stage works on: one feature matrix, class attributes, and the rows of every split.

Splits as in Xian et al. 2018, "Zero-Shot Learning: A Comprehensive Evaluation of the Good, the Bad and the
Ugly" (arXiv 1707.00600): `trainval` holds rows of the seen classes, `train` and `val` divide it by class for
the validation protocol, `test_seen` and `test_unseen` are scored once.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from cwgan.data.matrix import Matrix
from cwgan.data.stored import find_bad, fingerprint_rows
from cwgan.errors import InputError

SPLITS = ("trainval", "train", "val", "test_seen", "test_unseen")
Faults = Iterator[tuple[str, str, str]]  # field, found, allowed


@dataclass(frozen=True, eq=False)
class GzslDataset:
    """Features, attributes and splits of one benchmark, checked when made.

    `features` has a row for each label, and a column for each feature; it is only read by rows.
    `name` is for MLflow, `source`, the folder it was read from, for errors. Labels are 0 to classes - 1, the
    rows of attributes. Splits are row indices; all but `trainval` may be empty. With `test_concealed` the
    features of test rows are not looked at, not even for NaN. `origins` are the rows' numbers in the data set
    that this is a view of, `divisor` is what the features of the files were divided by, `unscaled` are the
    attributes of the files, where others took their place. `backbone` says, in JSON, how features were made
    of images, where that is known. `added` are the classes that are not of the files.

    InputError if sizes disagree, a value is not finite, a label has no class, class names repeat, `trainval`
    is empty or has rows of all classes, a split names a row twice, `train` or `val` leaves `trainval`, or
    seen and unseen overlap.
    """

    name: str
    source: str
    features: Matrix
    labels: Int64[Tensor, " rows"]
    attributes: Float32[Tensor, "classes attributes"]
    class_names: tuple[str, ...]
    trainval: Int64[Tensor, " trainval"]
    train: Int64[Tensor, " train"]
    val: Int64[Tensor, " val"]
    test_seen: Int64[Tensor, " test_seen"]
    test_unseen: Int64[Tensor, " test_unseen"]
    test_concealed: bool = False
    origins: Int64[Tensor, " rows"] | None = None
    divisor: Float32[Tensor, " features"] | None = None
    unscaled: Float32[Tensor, "classes attributes"] | None = None
    backbone: str = ""
    added: Int64[Tensor, " added"] | None = None

    def __post_init__(self) -> None:
        faults = chain(self._check_classes(), self._check_splits(), self._check_values())
        if first := next(faults, None):
            raise InputError(self.source, *first)

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
        """Classes that have attributes and no training row, ascending, whether or not they have test rows."""
        everything = torch.arange(self.class_count)
        return everything[~torch.isin(everything, self.seen_classes)]

    @cached_property
    def split_hash(self) -> str:
        """16 hex digits of a SHA-256 of the content of each split's rows, and of what they are divided by.

        It is the same in either file layout.
        """
        digest = hashlib.sha256(b"" if self.divisor is None else self.divisor.numpy().tobytes())
        for split in SPLITS:
            rows = getattr(self, split).tolist()
            digest.update(split.encode() + b"".join(sorted(self._row_prints[row] for row in rows)))
        return digest.hexdigest()[:16]

    @cached_property
    def digest(self) -> str:
        """16 hex digits of a SHA-256 of the splits, the labels of their rows, and the attributes."""
        rows = torch.cat([self.trainval, self.test_seen, self.test_unseen])
        labelled = zip(rows.tolist(), self.labels[rows].tolist(), strict=True)
        prints = sorted(self._row_prints[row] + str(label).encode() for row, label in labelled)
        digest = hashlib.sha256(self.split_hash.encode() + b"".join(prints))
        digest.update(self.attributes.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    @cached_property
    def _row_prints(self) -> list[bytes]:
        return fingerprint_rows(self.features, torch.arange(len(self.features)))

    def in_file_units(self, features: Float32[Tensor, "*any features"]) -> Float32[Tensor, "*any features"]:
        """Return scaled features in the units of the files."""
        return features if self.divisor is None else features * self.divisor

    @property
    def file_attributes(self) -> Float32[Tensor, "classes attributes"]:
        """The attributes before any scaling."""
        return self.attributes if self.unscaled is None else self.unscaled

    def summarize(self) -> str:
        """Return one line that says what is in it."""
        classes = f"{len(self.seen_classes)} seen + {len(self.unseen_classes)} unseen classes"
        sizes = f"{self.feature_size} features, {self.attribute_size} attributes"
        test_rows = f"{len(self.test_seen)} seen and {len(self.test_unseen)} unseen test rows"
        return f"{self.name}: {classes}, {sizes}, {len(self.trainval)} training, {test_rows}"

    def _check_classes(self) -> Faults:
        if 0 in (self.feature_size, self.attribute_size):
            yield "features, attributes", "no columns", "at least one column each"
        named, classes = len(self.class_names), self.class_count
        if named != classes:
            yield "class names", f"{named} names", f"{classes}, one per row of attributes"
        for name, times in Counter(self.class_names).items():
            if times > 1 or not name or not name.isprintable():
                yield "class names", f"{name!r}, {times} times", "printable names, each once"
        for label in self.labels[(self.labels < 0) | (self.labels >= classes)].tolist():
            yield "labels", f"class {label + 1}", f"1 to {classes}, the classes that have attributes"

    def _check_splits(self) -> Faults:
        for split in SPLITS:
            index, is_part = getattr(self, split), split in ("train", "val")
            if len(index) == 0:
                if split == "trainval":
                    yield split, "no rows", "at least one row"
                continue
            low, high, different = int(index.min()), int(index.max()), len(index.unique())
            if low < 0 or high >= len(self.features):
                yield split, f"rows {low + 1} to {high + 1}", f"rows 1 to {len(self.features)}"
            if different < len(index):
                yield split, f"{len(index)} rows, of which {different} different", "each row once"
            if is_part and not torch.isin(index, self.trainval).all():
                yield split, "rows that are not in trainval", "rows of trainval"
        if (len(self.train) == 0) != (len(self.val) == 0):
            yield "train, val", f"{len(self.train)} and {len(self.val)} rows", "rows in both, or in neither"
        classes = {split: set(self.labels[getattr(self, split)].tolist()) for split in SPLITS}
        unseen = classes["test_unseen"] & classes["trainval"], "unseen test classes with training rows"
        validation = classes["val"] & classes["train"], "validation classes with rows in train"
        for shared, what in (unseen, validation):
            if shared:
                names = ", ".join(self.class_names[label] for label in sorted(shared)[:3])
                yield "splits", f"{len(shared)} {what}: {names}", "disjoint classes"
        for label in sorted(classes["test_seen"] - classes["trainval"]):
            yield "test_seen", f"class {self.class_names[label]} without training rows", "seen classes"
        if len(classes["trainval"]) == self.class_count:
            yield (
                "trainval",
                f"rows of all {self.class_count} classes",
                "a class without any, which is unseen",
            )
        if torch.isin(self.test_seen, self.trainval).any():
            yield "test_seen", "rows that are also in trainval", "disjoint rows"

    def _check_values(self) -> Faults:
        looked_at = self.trainval if self.test_concealed else torch.arange(len(self.labels))
        everything = torch.arange(self.class_count)
        tables = ("features", self.features, looked_at), ("attributes", self.attributes, everything)
        for field, matrix, rows in tables:
            if len(bad := find_bad(matrix, rows)):
                first = int(bad[0]) + 1
                yield field, f"NaN or infinity in {len(bad)} rows, first row {first}", "finite numbers"
        if (self.attributes == self.attributes[0]).all():
            yield "attributes", "the same for all classes", "different ones, which tell classes apart"


def binarize(
    attributes: Float32[Tensor, "classes attributes"], threshold: float | None = None
) -> Float32[Tensor, "classes attributes"]:
    """Return 1 where an attribute reaches the threshold, by default the mean of all entries, else 0.

    Source: the original data preparation.
    """
    return (attributes >= (attributes.double().mean() if threshold is None else threshold)).float()
