"""Pictures of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from torch import Tensor

from cwgan.data.dataset import GzslDataset
from cwgan.files import written_whole
from cwgan.scoring.calibration import SeenUnseenCurve
from cwgan.scoring.comparison import Spread
from cwgan.scoring.evaluation import Evaluation

SEEN, UNSEEN, GREY = "#4878a8", "#d1603d", "#777777"


def draw_classes(path: Path, result: Evaluation, dataset: GzslDataset, scores: Mapping[str, float]) -> None:
    """Draw the accuracy of every class, sorted, seen and unseen apart, with the scores in the title."""
    groups = [("seen", SEEN, result.seen_accuracy), ("unseen", UNSEEN, result.unseen_accuracy)]
    if not len(result.unseen_accuracy):
        groups[1] = ("unseen, among unseen", UNSEEN, result.conventional_accuracy)
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    start = 0
    for label, colour, values in groups:
        if len(values):
            heights, stop = 100 * values.sort(descending=True).values.numpy(), start + len(values)
            counted = f"{label} ({len(heights)} classes)"
            axes.bar(range(start, stop), heights, width=0.9, color=colour, label=counted)
            mean = 100 * values.mean().item()
            axes.hlines(mean, start - 0.5, stop - 0.5, color="black", linewidth=1.2, linestyle="--")
            start = stop + 2
    axes.set(ylabel="test accuracy [%]", ylim=(0, 100), xticks=[], xlabel="classes, best first; dashed: mean")
    shown = "   ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items())
    axes.set_title(f"{dataset.name}:  {shown}", fontsize=11)
    axes.legend(loc="lower left", frameon=True, fontsize=9)
    save(figure, axes, path)


def draw_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Draw one small panel per term over epochs."""
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    size = (2.9 * columns, 2.1 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for panel in panels.flat[len(curves) :]:
        panel.set_axis_off()
    for panel, (name, points) in zip(panels.flat, curves.items(), strict=False):
        mark = "." if len(points) < 3 else None
        panel.plot(*zip(*points, strict=True), color=SEEN, linewidth=1.3, marker=mark)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", fontsize=9)
    save(figure, None, path)


def draw_variants(path: Path, spreads: Mapping[str, Mapping[str, Spread]]) -> None:
    """Draw S, U, H, T1 and AUSUC of every variant as bars, with a standard deviation over seeds each way."""
    names = [name for name in ("S", "U", "H", "T1", "AUSUC") if all(name in row for row in spreads.values())]
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    width, last = 0.8 / len(spreads), max(1, len(spreads) - 1)
    for place, (variant, row) in enumerate(spreads.items()):
        positions = [column + (place - (len(spreads) - 1) / 2) * width for column in range(len(names))]
        means = [100 * row[name].mean for name in names]
        errors = [100 * row[name].deviation for name in names]
        colour, lines = plt.get_cmap("viridis")(place / last * 0.9), {"linewidth": 0.9}
        axes.bar(positions, means, width, yerr=errors, capsize=2, color=colour, label=variant, error_kw=lines)
    axes.set(ylabel="test score [%]", xticks=range(len(names)), xticklabels=names)
    axes.legend(frameon=False, fontsize=8, ncols=len(spreads), loc="upper center", bbox_to_anchor=(0.5, 1.14))
    save(figure, axes, path)


def draw_seen_unseen(path: Path, curve: SeenUnseenCurve, scores: Mapping[str, float]) -> None:
    """Draw S over U for every bias, with the plain and the calibrated scores on it."""
    figure, axes = plt.subplots(figsize=(4, 3.6), layout="constrained")
    unseen, seen = (100 * curve.unseen).tolist(), (100 * curve.seen).tolist()
    axes.plot(unseen, seen, color=SEEN, linewidth=1.6)
    axes.fill_between(unseen, seen, color=SEEN, alpha=0.15, linewidth=0)
    for prefix, mark, label in (("", "o", "as it is"), ("calibrated_", "D", f"gamma {scores['gamma']:.2f}")):
        axes.plot(100 * scores[f"{prefix}U"], 100 * scores[f"{prefix}S"], mark, color=UNSEEN, label=label)
    title = f"AUSUC {100 * scores['AUSUC']:.1f} %"
    axes.set(xlabel="U [%]", ylabel="S [%]", xlim=(0, None), ylim=(0, None), title=title)
    axes.legend(frameon=False, fontsize=8)
    save(figure, axes, path)


def draw_imagined(
    path: Path, rows: Float[Tensor, "made features"], dataset: GzslDataset, height: int, width: int
) -> None:
    """Draw rows of unseen classes, as many of each, below a real test row; a row holds two images."""
    classes = dataset.unseen_classes.tolist()
    samples = len(rows) // len(classes)
    size = (0.62 * len(classes) + 0.9, 0.4 * (samples + 1) + 0.7)
    figure, panels = plt.subplots(samples + 1, len(classes), figsize=size)
    figure.subplots_adjust(left=0.09, right=0.995, top=0.82, bottom=0.02, wspace=0.12, hspace=0.12)
    for column, label in enumerate(classes):
        real = dataset.features[dataset.test_unseen[dataset.labels[dataset.test_unseen] == label][0]]
        for row, features in enumerate([real, *rows[column * samples :][:samples]]):
            image, panel = (
                torch.cat([*features.reshape(2, height, width)], dim=1).numpy(),
                panels[row, column],
            )
            panel.imshow(image, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set(color=GREY if row == 0 else UNSEEN, linewidth=1.2 if row == 0 else 0.6)
        panels[0, column].set_title(dataset.class_names[label], fontsize=9, color=GREY)
    for row, label, colour in ((0, "real", GREY), (1, "imagined", UNSEEN)):
        panels[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9, color=colour)
    title = "Numbers the GAN never saw: a real test row, and what it imagines from tens and units alone"
    figure.suptitle(title, fontsize=10)
    save(figure, None, path)


def save(figure: plt.Figure, axes: plt.Axes | None, path: Path) -> None:
    """Write a picture and close it; axes, if given, lose their upper and right border."""
    if axes is not None:
        axes.spines[["top", "right"]].set_visible(False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", facecolor="white")
    plt.close(figure)
