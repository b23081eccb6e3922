import pytest
from scipy.stats import binom

from cwgan.scoring.sign_test import SignTest, compare_classes


def test_the_sign_test_is_that_of_the_binomial_distribution_and_leaves_equal_classes_out() -> None:
    theirs = {f"class {place}": 0.5 for place in range(12)}
    ours = {name: 0.5 + 0.1 * ((place < 8) - (place == 8)) for place, name in enumerate(theirs)}
    found = compare_classes(ours, theirs | {"of one run only": 0.0})
    assert (found.better, found.worse, found.equal) == (8, 1, 3)
    assert found.p == pytest.approx(2 * binom.cdf(1, 9, 0.5))
    assert compare_classes(theirs, theirs) == SignTest(0, 0, 12, 1.0)
