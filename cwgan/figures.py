"""Pictures of results; the only module that draws."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Literal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.tri import Triangulation
from torch import Tensor

from cwgan.calibration import SeenUnseenCurve
from cwgan.comparison import Spread
from cwgan.data import GzslDataset
from cwgan.evaluation import Evaluation
from cwgan.files import written_whole
from cwgan.search_space import Choices, Range, Space
from cwgan.trials import Trial, in_state

SEEN, UNSEEN, GREY = "#4878a8", "#d1603d", "#777777"


def class_accuracies(path: Path, result: Evaluation, dataset: GzslDataset, scores: Mapping[str, float]) -> None:
    """Draw the accuracy of every class, sorted, seen and unseen apart, with the scores in the title."""
    groups = [("seen", SEEN, result.seen_accuracy), ("unseen", UNSEEN, result.unseen_accuracy)]
    if not len(result.unseen_accuracy):
        groups[1] = ("unseen, among unseen", UNSEEN, result.conventional_accuracy)
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    start = 0
    for label, colour, values in groups:
        if len(values):
            heights = values.sort(descending=True).values
            axes.bar(
                range(start, start + len(heights)),
                100 * heights.numpy(),
                width=0.9,
                color=colour,
                label=f"{label} ({len(heights)} classes)",
            )
            axes.hlines(100 * values.mean().item(), start - 0.5, start + len(heights) - 0.5, color="black", linewidth=1.2, linestyle="--")
            start += len(heights) + 2
    axes.set(ylabel="test accuracy [%]", ylim=(0, 100), xticks=[], xlabel="classes, best first; dashed: mean")
    axes.set_title(f"{dataset.name}:  " + "   ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items()), fontsize=11)
    axes.legend(loc="lower left", frameon=True, fontsize=9)
    _save(figure, axes, path)


def training_curves(path: Path, history: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Draw one small panel per term over epochs."""
    columns = min(4, len(history))
    rows = -(-len(history) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(2.9 * columns, 2.1 * rows), layout="constrained", squeeze=False)
    for panel in panels.flat[len(history) :]:
        panel.set_axis_off()
    for panel, (name, points) in zip(panels.flat, history.items(), strict=False):
        panel.plot(*zip(*points, strict=True), color=SEEN, linewidth=1.3, marker="." if len(points) < 3 else None)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", fontsize=9)
    _save(figure, None, path)


def variant_bars(path: Path, spreads: Mapping[str, Mapping[str, Spread]]) -> None:
    """Draw S, U, H, T1 and AUSUC of every variant as bars, with one standard deviation over seeds each way."""
    names = [name for name in ("S", "U", "H", "T1", "AUSUC") if all(name in row for row in spreads.values())]
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    width = 0.8 / len(spreads)
    for place, (variant, row) in enumerate(spreads.items()):
        positions = [column + (place - (len(spreads) - 1) / 2) * width for column in range(len(names))]
        means, errors = zip(*((100 * row[name].mean, 100 * row[name].deviation) for name in names), strict=True)
        colour = plt.get_cmap("viridis")(place / max(1, len(spreads) - 1) * 0.9)
        axes.bar(positions, means, width, yerr=errors, capsize=2, color=colour, label=variant, error_kw={"linewidth": 0.9})
    axes.set(ylabel="test score [%]", xticks=range(len(names)), xticklabels=names)
    axes.legend(frameon=False, fontsize=8, ncols=len(spreads), loc="upper center", bbox_to_anchor=(0.5, 1.14))
    _save(figure, axes, path)


def seen_unseen(path: Path, curve: SeenUnseenCurve, scores: Mapping[str, float]) -> None:
    """Draw S over U for every bias, with the plain and the calibrated scores on it."""
    figure, axes = plt.subplots(figsize=(4, 3.6), layout="constrained")
    unseen, seen = (100 * curve.unseen).tolist(), (100 * curve.seen).tolist()
    axes.plot(unseen, seen, color=SEEN, linewidth=1.6)
    axes.fill_between(unseen, seen, color=SEEN, alpha=0.15, linewidth=0)
    for prefix, mark, label in (("", "o", "as it is"), ("calibrated_", "D", f"gamma {scores['gamma']:.2f}")):
        axes.plot(100 * scores[f"{prefix}U"], 100 * scores[f"{prefix}S"], mark, color=UNSEEN, label=label)
    axes.set(xlabel="U [%]", ylabel="S [%]", xlim=(0, None), ylim=(0, None), title=f"AUSUC {100 * scores['AUSUC']:.1f} %")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, axes, path)


def imagined_numbers(
    path: Path,
    imagined: Float[Tensor, "classes samples features"],
    dataset: GzslDataset,
    classes: Sequence[int],
    image_shape: tuple[int, int],
) -> None:
    """Draw features of unseen classes as the images they are: one real test row above several imagined ones.

    Args:
        path: of the picture.
        imagined: synthetic features, per class several.
        dataset: gives the real rows and the names.
        classes: label of each column.
        image_shape: height and width of one of the two images side by side.
    """
    height, width = image_shape
    samples = imagined.shape[1]
    figure, panels = plt.subplots(samples + 1, len(classes), figsize=(0.62 * len(classes) + 0.9, 0.4 * (samples + 1) + 0.7))
    figure.subplots_adjust(left=0.09, right=0.995, top=0.82, bottom=0.02, wspace=0.12, hspace=0.12)
    for column, label in enumerate(classes):
        real = dataset.features[dataset.test_unseen[dataset.labels[dataset.test_unseen] == label][0]]
        for row, features in enumerate([real, *imagined[column]]):
            halves = features.reshape(2, height, width)
            panel = panels[row, column]
            panel.imshow(torch.cat([halves[0], halves[1]], dim=1).numpy(), cmap="gray_r", vmin=0, vmax=1, aspect="auto")
            panel.set(xticks=[], yticks=[])
            for spine in panel.spines.values():
                spine.set(color=GREY if row == 0 else UNSEEN, linewidth=1.2 if row == 0 else 0.6)
        panels[0, column].set_title(dataset.class_names[label], fontsize=9, color=GREY)
    panels[0, 0].set_ylabel("real", rotation=0, ha="right", va="center", fontsize=9, color=GREY)
    panels[1, 0].set_ylabel("imagined", rotation=0, ha="right", va="center", fontsize=9, color=UNSEEN)
    figure.suptitle("Numbers the GAN never saw: a real test row, and what it imagines from tens and units alone", fontsize=10)
    _save(figure, None, path)


def search_history(path: Path, trials: Sequence[Trial], objective: str) -> None:
    """Draw the objective of every trial in turn, and the best so far."""
    figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for state, colour, mark in (("COMPLETE", SEEN, "o"), ("PRUNED", GREY, "x")):
        found = in_state(trials, state)
        heights = [100 * (trial.value or 0) for trial in found]
        axes.scatter([trial.number for trial in found], heights, s=28, color=colour, marker=mark, label=state.lower())
    complete = in_state(trials, "COMPLETE")
    best = list(accumulate((100 * (trial.value or 0) for trial in complete), max))
    axes.step([trial.number for trial in complete], best, color=UNSEEN, linewidth=1.3, where="post", label="best so far")
    axes.set(xlabel="trial", ylabel=f"{objective} on validation classes [%]")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, axes, path)


def search_importances(path: Path, shares: Mapping[str, float], objective: str) -> None:
    """Draw how much of what moves the objective each parameter accounts for."""
    figure, axes = plt.subplots(figsize=(6.5, 0.9 + 0.45 * len(shares)), layout="constrained")
    bars = axes.barh(list(shares), [100 * share for share in shares.values()], color=SEEN)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel=f"share of what moves {objective} [%]", xlim=(0, 112))
    _save(figure, axes, path)


def search_slices(path: Path, trials: Sequence[Trial], space: Space, objective: str) -> None:
    """Draw the objective over each parameter, one panel a parameter; later trials are darker, pruned ones are crosses."""
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.9 * rows), layout="constrained", squeeze=False, sharey=True)
    for panel in panels.flat[len(space) :]:
        panel.set_axis_off()
    for panel, (name, entry) in zip(panels.flat, space.items(), strict=False):
        for state, style in (("PRUNED", {"color": GREY, "marker": "x"}), ("COMPLETE", {"cmap": "Blues", "edgecolors": GREY})):
            found = in_state(trials, state)
            values = [str(trial.point[name]) if isinstance(entry, Choices) else trial.point[name] for trial in found]
            shade = {"c": [trial.number for trial in found], "vmin": -len(trials) / 2} if state == "COMPLETE" else {}
            panel.scatter(values, [100 * (trial.value or 0) for trial in found], s=30, linewidths=0.8, **style, **shade)
        if isinstance(entry, Range):
            _span(panel, "x", entry)
        panel.set_xlabel(name, fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supylabel(f"{objective} on validation classes [%]", fontsize=9)
    _save(figure, None, path)


def search_surface(path: Path, trials: Sequence[Trial], space: Space, names: tuple[str, str], objective: str) -> None:
    """Draw the objective over two numeric parameters: completed trials as dots with the space between them filled in, pruned
    ones, whose values are of an early epoch, as crosses."""
    found, pruned = in_state(trials, "COMPLETE"), in_state(trials, "PRUNED")
    across, up = ([float(trial.point[name]) for trial in found] for name in names)
    heights = [100 * (trial.value or 0) for trial in found]
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    ranges = [entry for name in names if isinstance(entry := space[name], Range)]
    _span(axes, "x", ranges[0])
    _span(axes, "y", ranges[1])
    with suppress(ValueError, RuntimeError):  # fewer than three dots, or all on one line: there is no surface
        even = [[math.log(value) if entry.log else value for value in side] for side, entry in zip((across, up), ranges, strict=True)]
        surface = Triangulation(across, up, Triangulation(*even).triangles)
        axes.tricontourf(surface, heights, levels=12, cmap="viridis", alpha=0.6)
    dots = axes.scatter(across, up, s=45, c=heights, cmap="viridis", edgecolors="black", linewidths=0.6)
    beside, above = ([float(trial.point[name]) for trial in pruned] for name in names)
    axes.scatter(beside, above, s=25, color=GREY, marker="x", label="pruned")
    best = heights.index(max(heights))
    label = f"best: {heights[best]:.1f} %"
    axes.scatter(across[best], up[best], s=190, marker="*", color=UNSEEN, edgecolors="black", linewidths=0.8, label=label)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.legend(frameon=True, fontsize=9)
    figure.colorbar(dots, label=f"{objective} on validation classes [%]")
    _save(figure, axes, path)


def _span(axes: plt.Axes, which: Literal["x", "y"], entry: Range) -> None:
    """Let an axis show all of a range, on a logarithmic scale where the range has one, with plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    limits: tuple[float, float]
    if entry.log:
        margin = (entry.high / entry.low) ** 0.04
        limits = entry.low / margin, entry.high * margin
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 3) if entry.high / entry.low < 1000 else (1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    else:
        margin = 0.04 * (entry.high - entry.low)
        limits = entry.low - margin, entry.high + margin
    axes.set(**{f"{which}lim": limits})


def _save(figure: plt.Figure, axes: plt.Axes | None, path: Path) -> None:
    if axes is not None:
        axes.spines[["top", "right"]].set_visible(False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", facecolor="white")
    plt.close(figure)
