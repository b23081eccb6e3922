"""The seen-unseen curve, the area under it, and calibrated stacking.

A classifier over all classes answers with the best seen class if its logit beats the best unseen one by more
than a bias gamma, which is 0 unless it is calibrated:

    margin(x) = max_seen logit - max_unseen logit,      answer seen  <=>  margin(x) > gamma

So of equal logits the unseen class is the answer. As gamma goes from minus to plus infinity, S falls from its
largest value to 0 and U rises from 0 to T1. Both are step functions that change only at margins of scored
rows, so the whole curve is one sort.

Source: Chao et al. 2016, An Empirical Study and Analysis of Generalized Zero-Shot Learning for Object
Recognition in the Wild, sections 3.2 and 3.3 (arXiv 1605.04253).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from cwgan.scoring.metrics import harmonic_mean

Margins = Float[Tensor, " rows"]
Mask = Bool[Tensor, " rows"]
Labels = Int64[Tensor, " rows"]


@dataclass(frozen=True)
class SeenUnseenCurve:
    """S and U as functions of the bias, one point per interval of biases that give the same answers.

    `gammas` are the middles of the intervals, ascending; at both ends 1 beyond the last margin.
    """

    gammas: Float64[Tensor, " points"]
    seen: Float64[Tensor, " points"]
    unseen: Float64[Tensor, " points"]

    @property
    def area(self) -> float:
        """AUSUC: the area under S over U, by trapezoids between neighbouring points."""
        return torch.trapezoid(self.seen, self.unseen).item()

    @property
    def best_gamma(self) -> float:
        """The bias of highest H = 2 S U / (S + U); of several, the smallest."""
        product, total = 2 * self.seen * self.unseen, self.seen + self.unseen
        return self.gammas[torch.where(total > 0, product / total, 0.0).argmax()].item()


def seen_unseen_curve(margins: Margins, hits: Mask, labels: Labels, is_unseen: Mask) -> SeenUnseenCurve:
    """Return S and U for every bias, as means over classes of the share of rows answered rightly.

    `hits` says whether the best class of the row's own side, seen or unseen, is the right one; `is_unseen`
    whether the row's true class, its label, is unseen.
    """
    row_weights = hits / torch.bincount(labels).double()[labels]
    seen_weights = torch.where(is_unseen, 0.0, row_weights) / len(labels[~is_unseen].unique())
    unseen_weights = torch.where(is_unseen, row_weights, 0.0) / len(labels[is_unseen].unique())
    breakpoints, place = margins.double().unique(return_inverse=True)
    lost, gained = (
        breakpoints.new_zeros(len(breakpoints)).index_add_(0, place, weights)
        for weights in (seen_weights, unseen_weights)
    )
    # The end points are exact; sums of many small steps would leave a trace of S where none is.
    seen = torch.cat([lost.flip(0).cumsum(0).flip(0), lost.new_zeros(1)])
    unseen = torch.cat([gained.new_zeros(1), gained.cumsum(0)])
    middles = (breakpoints[1:] + breakpoints[:-1]) / 2
    return SeenUnseenCurve(torch.cat([breakpoints[:1] - 1, middles, breakpoints[-1:] + 1]), seen, unseen)


def scores_at(
    margins: Margins, hits: Mask, labels: Labels, is_unseen: Mask, gamma: float
) -> tuple[float, float, float]:
    """Return S, U and H with a bias off the seen logits; all but gamma, the bias, as for the curve."""
    answered = hits & ((margins.double() <= gamma) == is_unseen)  # float32 would round gamma, too
    seen, unseen = (class_mean(answered[side], labels[side]) for side in (~is_unseen, is_unseen))
    return seen, unseen, harmonic_mean(seen, unseen)


def class_mean(rows: Mask, labels: Labels) -> float:
    """Return the mean over classes of the share of their rows that are true."""
    counts = torch.bincount(labels)
    shares = torch.bincount(labels[rows], minlength=len(counts)).double() / counts
    return shares[counts > 0].mean().item()
