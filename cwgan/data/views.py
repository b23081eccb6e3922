"""Other views of a data set: for the validation protocol, and with other unseen classes."""

import dataclasses

import torch
from jaxtyping import Int64
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.data.matrix import View
from cwgan.errors import InputError


def redivide(dataset: GzslDataset, draw: int, holdout: float, unseen_count: int = 0) -> GzslDataset:
    """Return the data set with other unseen classes, drawn by `draw` from all that have rows.

    They are `unseen_count`; 0 stands for as many as are unseen in the files. Of every other class `hold_out`
    takes the share `holdout` of its rows as test rows. There are no validation classes then: they have to be
    drawn. InputError if fewer than two classes with rows would stay seen.
    """
    rng = torch.Generator().manual_seed(draw)
    rows = torch.cat([dataset.trainval, dataset.test_seen, dataset.test_unseen])
    classes = dataset.labels[rows].unique()
    added = torch.empty(0) if dataset.added is None else dataset.added
    count = unseen_count or len(dataset.unseen_classes) - len(added)
    if count > len(classes) - 2:
        allowed = f"at most {len(classes) - 2}, as {len(classes)} classes have rows"
        raise InputError(dataset.source, "data.division", f"{count} unseen classes", allowed)
    unseen = classes[torch.randperm(len(classes), generator=rng)[:count]]
    is_unseen = torch.isin(dataset.labels[rows], unseen)
    trainval, test_seen = hold_out(dataset.labels, rows[~is_unseen], holdout, rng)
    none = trainval[:0]
    named = dataclasses.replace(dataset, name=f"{dataset.name} (division {draw})", train=none, val=none)
    return dataclasses.replace(named, trainval=trainval, test_seen=test_seen, test_unseen=rows[is_unseen])


def make_validation_view(dataset: GzslDataset, holdout: float, seed: int, fold: int = 0) -> GzslDataset:
    """Return the data set of the validation protocol, which holds no test row.

    `val` becomes `test_unseen`, rows held out of each class of `train` become `test_seen`, and the others
    `trainval`; `hold_out` divides them by the share `holdout`. Other classes leave the label space. For a
    `fold` above 0, or if the files name no validation classes, seen classes are drawn: as large a share of
    them as the unseen ones are of all. InputError if there are too few classes to draw from, or no class with
    a row to spare.
    """
    rng = torch.Generator().manual_seed((seed + 1_000_003 * fold) % 2**63)
    train, val = dataset.train, dataset.val
    if fold or len(val) == 0:
        seen = dataset.seen_classes
        if len(seen) < 2:
            raise InputError(dataset.source, "trainval", "one class", "two or more, to validate on some")
        share = len(dataset.unseen_classes) / dataset.class_count
        count = min(max(1, round(len(seen) * share)), len(seen) - 1)
        chosen = seen[torch.randperm(len(seen), generator=rng)[:count]]
        held = torch.isin(dataset.labels[dataset.trainval], chosen)
        train, val = dataset.trainval[~held], dataset.trainval[held]
    kept, scored = hold_out(dataset.labels, train, holdout, rng)
    if len(scored) == 0:
        raise InputError(dataset.source, "trainval", "one row a class", "more, to hold some out and score S")
    classes = dataset.labels[torch.cat([train, val])].unique()
    position = torch.full((dataset.class_count,), -1).scatter_(0, classes, torch.arange(len(classes)))
    rows = torch.cat([kept, scored, val])
    trainval, test_seen, test_unseen = torch.arange(len(rows)).split([len(kept), len(scored), len(val)])
    features = View(dataset.features, rows)
    tensors = features, position[dataset.labels[rows]], dataset.attributes[classes]
    names = tuple(dataset.class_names[label] for label in classes.tolist())
    splits = trainval, trainval[:0], trainval[:0], test_seen, test_unseen
    return GzslDataset(f"{dataset.name} (validation)", dataset.source, *tensors, names, *splits, origins=rows)


def hold_out(
    labels: Int64[Tensor, " rows"], index: Int64[Tensor, " chosen"], share: float, rng: torch.Generator
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
    """Divide the rows `index`, class by class, into kept and held-out ones, both in the order of `index`.

    `share`, 0 to 1, of each class is held out, at least one row and never all; 0 holds out nothing. `labels`
    are those of the whole data set.
    """
    is_held = torch.zeros(len(index), dtype=torch.bool)
    if share:
        order = torch.randperm(len(index), generator=rng)
        of_row = labels[index[order]]
        for label in of_row.unique():
            places = order[of_row == label]
            is_held[places[: min(max(1, round(len(places) * share)), len(places) - 1)]] = True
    return index[~is_held], index[is_held]
