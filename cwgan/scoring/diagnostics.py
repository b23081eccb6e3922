"""Where synthetic features lie beside real ones: distances class by class, and a plane to look at."""

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


def project(
    real: Float[Tensor, "real features"], synthetic: Float[Tensor, "synthetic features"], method: str
) -> tuple[Float[Tensor, "real 2"], Float[Tensor, "synthetic 2"], float | None]:
    """Lay features out on a plane; return both sets of points, and the share of the real variance it keeps.

    "pca" takes the two directions in which the real rows vary most, and projects all rows on them. "tsne"
    places all rows so that neighbours stay neighbours, takes seconds, and keeps no share (None): distances
    between groups mean nothing there.

    Source: van der Maaten and Hinton 2008, Visualizing Data using t-SNE.
    """
    if method == "tsne":
        from sklearn.manifold import TSNE  # slow to import, and seldom wanted

        everything = torch.cat([real, synthetic]).numpy()
        perplexity = min(30.0, (len(everything) - 1) / 3)
        points = torch.from_numpy(TSNE(perplexity=perplexity, random_state=0).fit_transform(everything))
        return points[: len(real)], points[len(real) :], None
    centre = real.mean(0)
    _, deviations, directions = torch.linalg.svd(real - centre, full_matrices=False)
    plane, squares = directions[:2].T, deviations.square()
    return (real - centre) @ plane, (synthetic - centre) @ plane, (squares[:2].sum() / squares.sum()).item()
