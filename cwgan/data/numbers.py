"""The built-in data set "numbers": two-digit handwritten numbers, made from scikit-learn's digit images.

A class is a number from 00 to 99. Its features are two 8 x 8 images of real handwriting side by side, the
tens digit and the units digit, in [0, 1]. Its attributes are both digits, each one-hot. As features are
pixels, one can look at what a generator makes of a number that it never saw.

Source of the images: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository,
1998 (the test part, 1,797 images by 13 writers), in scikit-learn's file; to import that takes a second.
"""

from importlib.metadata import distribution

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset

TRAIN_ROWS, TEST_ROWS = 50, 25  # of each class in trainval, and in its test split
IMAGE_SHAPE = (8, 8)


def load_numbers(seed: int = 0) -> GzslDataset:
    """Build the data set; the same seed gives the same tensors.

    20 classes are unseen and 16 of the 80 seen ones validate; every digit keeps its share in both places. Of
    the images of each digit six ninths appear in rows of `train` only, one ninth in rows of `val` only, and
    two ninths in test rows only.

    Note: rows that the validation view holds out of `train`, to measure S, share images with those it keeps,
    as classes have digits in common. So S is too high there; U and T1, of rows of `val`, are not.
    """
    rng = torch.Generator().manual_seed(seed)
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    digits = np.loadtxt(str(file), delimiter=",")
    images = torch.tensor(digits[:, :-1] / 16.0, dtype=torch.float32)
    digit = torch.tensor(digits[:, -1], dtype=torch.int64)
    train_pool, val_pool, test_pool = [], [], []
    for value in range(10):
        rows = torch.nonzero(digit == value).flatten()
        rows = rows[torch.randperm(len(rows), generator=rng)]
        ninth = len(rows) // 9
        train_pool.append(rows[: 6 * ninth])
        val_pool.append(rows[6 * ninth : 7 * ninth])
        test_pool.append(rows[7 * ninth :])

    unseen, validation = _draw_classes(rng)
    seen = torch.tensor([label for label in range(100) if label not in set(unseen.tolist())])
    fitted = seen[~torch.isin(seen, validation)]
    blocks = [(fitted, train_pool, TRAIN_ROWS), (validation, val_pool, TRAIN_ROWS)]
    blocks += [(seen, test_pool, TEST_ROWS), (unseen, test_pool, TEST_ROWS)]
    features, labels, sizes = [], [], []
    for classes, pool, count in blocks:
        for label in classes.tolist():
            pools = pool[label // 10], pool[label % 10]
            drawn = [rows[torch.randint(len(rows), (count,), generator=rng)] for rows in pools]
            features.append(torch.cat([images[rows] for rows in drawn], dim=1))
            labels.append(torch.full((count,), label))
        sizes.append(len(classes) * count)
    train, val, test_seen, test_unseen = torch.arange(sum(sizes)).split(sizes)
    one_hot, number = torch.eye(10), torch.arange(100)
    attributes = torch.cat([one_hot[number // 10], one_hot[number % 10]], dim=1)
    names = tuple(f"{label:02d}" for label in range(100))
    tensors = torch.cat(features), torch.cat(labels), attributes
    splits = torch.cat([train, val]), train, val, test_seen, test_unseen
    return GzslDataset("numbers", "numbers (built in)", *tensors, names, *splits)


def _draw_classes(rng: torch.Generator) -> tuple[Int64[Tensor, " unseen"], Int64[Tensor, " validation"]]:
    """Draw 20 unseen and 16 validation classes.

    In two random orders of the digits, the numbers whose places differ by a constant (modulo 10) hold every
    digit once as tens and once as units. Two such diagonals are unseen; 8 numbers of two others validate.
    """
    tens, units = torch.randperm(10, generator=rng), torch.randperm(10, generator=rng)
    place = torch.arange(10)
    diagonals = [tens * 10 + units[(place + k) % 10] for k in range(4)]
    validation = torch.cat([diagonals[2][:8], diagonals[3][2:]])
    return torch.cat(diagonals[:2]).sort().values, validation.sort().values
