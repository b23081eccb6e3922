"""Pictures of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch

from cwgan.data.dataset import GzslDataset
from cwgan.files import written_whole
from cwgan.gan.shapes import AllFeatures
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
    width, height = 2.9 * columns, 2.1 * rows
    figure, panels = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    # In inches. A constrained layout looks the same, and takes as long as a short training.
    figure.subplots_adjust(0.55 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height, 0.27, 0.35)
    for panel in panels.flat[len(curves) :]:
        panel.set_axis_off()
    for panel, (name, points) in zip(panels.flat, curves.items(), strict=False):
        mark = "." if len(points) < 3 else None
        panel.plot(*zip(*points, strict=True), color=SEEN, linewidth=1.3, marker=mark)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", fontsize=9, y=0.1 / height)
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
    """Draw S over U for every bias, with the raw scores and those of the chosen bias on it."""
    figure, axes = plt.subplots(figsize=(4, 3.6), layout="constrained")
    unseen, seen = (100 * curve.unseen).tolist(), (100 * curve.seen).tolist()
    axes.plot(unseen, seen, color=SEEN, linewidth=1.6)
    axes.fill_between(unseen, seen, color=SEEN, alpha=0.15, linewidth=0)
    for prefix, mark, label in (("raw_", "o", "bias 0"), ("", "D", f"bias {scores['gamma']:.2f}")):
        axes.plot(100 * scores[f"{prefix}U"], 100 * scores[f"{prefix}S"], mark, color=UNSEEN, label=label)
    title = f"AUSUC {100 * scores['AUSUC']:.1f} %"
    axes.set(xlabel="U [%]", ylabel="S [%]", xlim=(0, None), ylim=(0, None), title=title)
    axes.legend(frameon=False, fontsize=8)
    save(figure, axes, path)


def draw_imagined(path: Path, rows: AllFeatures, dataset: GzslDataset, height: int, width: int) -> None:
    """Draw rows of unseen classes, as many of each, below a real test row; a row holds two images."""
    classes = dataset.unseen_classes.tolist()
    samples, gap = len(rows) // len(classes), 0.06
    figure, axes = plt.subplots(figsize=(0.62 * len(classes) + 0.9, 0.4 * (samples + 1) + 0.7))
    figure.subplots_adjust(left=0.09, right=0.995, top=0.82, bottom=0.02)
    for column, label in enumerate(classes):
        real = dataset.features[dataset.test_unseen[dataset.labels[dataset.test_unseen] == label][0]]
        for row, features in enumerate([real, *rows[column * samples :][:samples]]):
            pixels = dataset.in_file_units(features)
            image = torch.cat([*pixels.reshape(2, height, width)], dim=1).numpy()
            extent = (column + gap, column + 1 - gap, row + 1 - gap, row + gap)
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, aspect="auto", extent=extent)
            colour, line = (GREY, 1.2) if row == 0 else (UNSEEN, 0.6)
            corner, side = (column + gap, row + gap), 1 - 2 * gap
            axes.add_patch(plt.Rectangle(corner, side, side, fill=False, color=colour, linewidth=line))
    axes.set(xlim=(0, len(classes)), ylim=(samples + 1, 0))
    names = [dataset.class_names[label] for label in classes]
    axes.set_xticks([column + 0.5 for column in range(len(classes))], names, fontsize=9, color=GREY)
    axes.set_yticks([0.5, 1.5], ["real", "imagined"], fontsize=9)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for label, colour in zip(axes.get_yticklabels(), (GREY, UNSEEN), strict=True):
        label.set_color(colour)
    axes.spines[:].set_visible(False)
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
