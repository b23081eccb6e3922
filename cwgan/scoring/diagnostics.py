"""How far synthetic features lie from real ones, class by class."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def class_distances(
    real: Float[Tensor, "real features"],
    real_labels: Int64[Tensor, " real"],
    synthetic: Float[Tensor, "synthetic features"],
    synthetic_labels: Int64[Tensor, " synthetic"],
) -> dict[str, float]:
    """Compare real and synthetic features of the same classes by their first two moments; 0 is best.

    Every class of the one must be among those of the other. With means m, n and variances s^2, t^2 of each
    feature over a class's real and synthetic rows:

        class_mean_distance = mean over classes of |m - n|
        frechet             = mean over classes of |m - n|^2 + |s - t|^2

    The second is the Fréchet distance of two normal distributions whose covariances are diagonal.

    Source: Dowson and Landau 1982, The Fréchet distance between multivariate normal distributions; as a score
    of generators Heusel et al. 2017 (arXiv 1706.08500).
    """
    distances, frechet = [], []
    for label in real_labels.unique():
        ours, theirs = real[real_labels == label], synthetic[synthetic_labels == label]
        squared = (ours.mean(0) - theirs.mean(0)).square().sum()
        distances.append(squared.sqrt())
        frechet.append(squared + (ours.std(0, correction=0) - theirs.std(0, correction=0)).square().sum())
    values = {"class_mean_distance": distances, "frechet": frechet}
    return {name: torch.stack(of_class).mean().item() for name, of_class in values.items()}
