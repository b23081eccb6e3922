"""ESZSL, the closed-form baseline: a bilinear map from features to attributes, fitted on real rows alone.

    W = A V^T,   V = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1

X holds the training features, Y 1 for a row's class and -1 for the other seen ones, S the attributes of the
seen classes, A those of all. Row c of W holds class c's weights: the answers are a linear classifier's. The
penalties g and l are in units of the mean eigenvalue of the matrix they are added to, so they fit any scale.

Source: Romera-Paredes and Torr 2015, An Embarrassingly Simple Approach to Zero-Shot Learning (ICML), eq. 5.
"""

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float64
from torch import Tensor

from cwgan.gan.shapes import ClassAttributes, Features, Labels
from cwgan.scoring.calibration import class_mean

PENALTIES = tuple(10.0**power for power in range(-4, 4))
DRAWS = 3  # of classes that stand in for unseen ones
Weights = Float64[Tensor, "features classes"]


@dataclass(frozen=True)
class _Parts:
    """X^T X = Q_x diag(x) Q_x^T, S^T S = Q_s diag(s) Q_s^T, and Q_x^T X^T Y S Q_s; in means of x and s."""

    x: Tensor
    q_x: Tensor
    s: Tensor
    q_s: Tensor
    middle: Tensor

    def solve(self, attributes: ClassAttributes, penalty_x: float, penalty_s: float) -> Weights:
        """Return the weights of classes, a column each, before their multiplication by Q_x."""
        rotated = (attributes.double() @ self.q_s) / (self.s + penalty_s)
        return (self.middle @ rotated.t()) / (self.x + penalty_x)[:, None]


def fit_eszsl(
    features: Features, labels: Labels, attributes: ClassAttributes, unseen_share: float, rng: torch.Generator
) -> Weights:
    """Return the weights of every class, with the penalties of highest T1 on classes held out of the seen.

    Features and labels are those of the training rows. Three times, the share `unseen_share` of their classes
    is drawn, and the map fitted on the other classes' rows. T1 is then the accuracy on the drawn classes'
    rows where only these classes can be answered, as a mean over classes. The weights are scaled to scores of
    deviation 1 over the training rows, which changes no answer and lets a bias carry over to other penalties.
    """
    seen = labels.unique()
    count = min(max(1, round(len(seen) * unseen_share)), len(seen) - 1)
    scores = dict.fromkeys(product(PENALTIES, PENALTIES), 0.0)
    for _ in range(DRAWS):
        drawn = seen[torch.randperm(len(seen), generator=rng)[:count]]
        held = torch.isin(labels, drawn)
        parts, truth = _decompose(features[~held], labels[~held], attributes), labels[held]
        rows = features[held].double() @ parts.q_x
        for penalties in scores:
            answers = drawn[(rows @ parts.solve(attributes[drawn], *penalties)).argmax(1)]
            scores[penalties] += class_mean(answers == truth, truth)
    parts = _decompose(features, labels, attributes)
    weights = parts.q_x @ parts.solve(attributes, *max(scores, key=lambda penalties: scores[penalties]))
    return weights / (features.double() @ weights).std()


def _decompose(features: Features, labels: Labels, attributes: ClassAttributes) -> _Parts:
    rows, (seen, place) = features.double(), labels.unique(return_inverse=True)
    known = attributes[seen].double()
    sums = torch.zeros(len(seen), rows.shape[1], dtype=torch.float64).index_add_(0, place, rows)
    (x, q_x), (s, q_s) = torch.linalg.eigh(rows.t() @ rows), torch.linalg.eigh(known.t() @ known)
    middle = q_x.t() @ (2 * sums - sums.sum(0)).t() @ known @ q_s
    return _Parts(x / x.mean(), q_x, s / s.mean(), q_s, middle / (x.mean() * s.mean()))
