"""Is one recipe better than another? Differences of their scores on the same divisions and seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtr

from cwgan.scoring.comparison import Scores, format_table

COMPARED = ("H", "T1", "AUSUC")
LEGEND = """Mean differences in points; in brackets how many of {count} are above 0, and p of a paired t-test,
the chance of a mean so far from 0 if nothing differs. A pair is {pair}."""


@dataclass(frozen=True)
class PairedDifference:
    """Mean of the differences of `count` pairs, how many are above 0, and p of a paired t-test.

    p is how likely a mean as far from 0 would be if there were no difference; nan for a single pair.
    """

    mean: float
    wins: int
    count: int
    p: float


def compare_pairs(values: Sequence[float], reference: Sequence[float]) -> PairedDifference:
    """Compare scores with the reference's, place by place; ValueError if there are not as many."""
    differences = [one - other for one, other in zip(values, reference, strict=True)]
    mean, count = statistics.mean(differences), len(differences)
    error = statistics.stdev(differences) / math.sqrt(count) if count > 1 else math.nan
    if error == 0:
        p = 0.0 if mean else 1.0
    else:
        p = 2 * float(stdtr(count - 1, -abs(mean) / error)) if count > 1 else math.nan
    return PairedDifference(mean, sum(each > 0 for each in differences), count, p)


def tabulate_pairs(found: Mapping[str, Sequence[Sequence[Scores]]]) -> str:
    """Return every variant's differences to the first one as a table, and a sentence that explains it.

    `found` has for each variant a list per division, with the scores of each seed. Where there are several
    divisions, the mean over a division's seeds is one value: other seeds are no other data. A single pair
    compares nothing: the table is empty then.
    """
    first, *others = found
    prefix = "" if "H" in found[first][0][0] else "val_"
    names = [name for name in COMPARED if prefix + name in found[first][0][0]]
    several = len(found[first]) > 1

    def collect(variant: str, name: str) -> list[float]:
        divisions = [[each[prefix + name] for each in scores] for scores in found[variant]]
        return [statistics.mean(values) for values in divisions] if several else divisions[0]

    rows, count = list[list[str]](), 0
    for variant in others:
        pairs = [compare_pairs(collect(variant, name), collect(first, name)) for name in names]
        rows.append([variant, *map(_format, pairs)])
        count = pairs[0].count if pairs else 0
    if count < 2:
        return ""
    pair = "a division's mean over its seeds" if several else "a seed"
    legend = LEGEND.format(count=count, pair=pair)
    return f"{format_table([f'less {first}', *names], rows)}\n{legend}\n"


def _format(pair: PairedDifference) -> str:
    tested = "" if math.isnan(pair.p) else f", p {pair.p:.2g}"
    return f"{100 * pair.mean:+.1f} ({pair.wins} of {pair.count}{tested})"
