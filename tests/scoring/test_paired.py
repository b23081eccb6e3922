import math

import pytest
from scipy.stats import ttest_rel

from cwgan.scoring.paired import PairedDifference, compare_pairs, tabulate_pairs

OURS, OTHERS = [0.6, 0.55, 0.7, 0.4], [0.5, 0.56, 0.6, 0.35]


def test_the_test_is_scipys_paired_t_test() -> None:
    found = compare_pairs(OURS, OTHERS)
    assert (found.wins, found.count) == (3, 4)
    assert found.mean == pytest.approx(0.06)
    assert found.p == pytest.approx(ttest_rel(OURS, OTHERS).pvalue)


def test_what_cannot_be_tested_is_not() -> None:
    alone = compare_pairs([0.5], [0.25])
    assert (alone.mean, alone.wins, alone.count) == (0.25, 1, 1)
    assert math.isnan(alone.p)
    assert compare_pairs(OURS, OURS) == PairedDifference(0, 0, 4, 1)
    with pytest.raises(ValueError):
        compare_pairs(OURS, OTHERS[1:])


def test_a_pair_is_a_seed_or_with_several_divisions_the_mean_over_a_divisions_seeds() -> None:
    def runs(values: list[float]) -> list[dict[str, float]]:
        return [{"H": value} for value in values]

    seeds = tabulate_pairs({"a": [runs([0.5, 0.5])], "b": [runs([0.6, 0.52])]})
    assert "+6.0 (2 of 2, p 0.37)" in seeds and "A pair is a seed." in seeds
    divided = tabulate_pairs(
        {"a": [runs([0.5, 0.5])] * 3, "b": [runs([0.9, 0.1]), runs([1, 0.1]), runs([1, 0])]}
    )
    assert "+1.7 (1 of 3, p 0.42)" in divided and "mean over its seeds" in divided
    validation = tabulate_pairs({"a": [[{"val_H": 0.5}] * 2], "b": [[{"val_H": 0.25}, {"val_H": 0.5}]]})
    assert "-12.5 (0 of 2, p 0.5)" in validation
    assert tabulate_pairs({"a": [runs([0.5])], "b": [runs([0.6])]}) == ""
