"""Is one model better than another on more classes than chance explains?"""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class SignTest:
    """How many classes are better, worse and equally good, and the p of a two-sided sign test.

    p, 0 to 1, is the probability of so uneven a division, or a more uneven one, if a class that differs were
    as likely better as worse. Equal classes are left out; 1 where no class differs.
    """

    better: int
    worse: int
    equal: int
    p: float


def compare_classes(ours: Mapping[str, float], theirs: Mapping[str, float]) -> SignTest:
    """Compare accuracies of classes by name, of those classes that both have.

    Source: Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, section 3.1.4.
    """
    differences = [ours[name] - theirs[name] for name in ours if name in theirs]
    better, worse = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return SignTest(better, worse, len(differences) - better - worse, p)
