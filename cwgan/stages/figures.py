"""Pictures of results, in one style, and small, so that they can be read as thumbnails in MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cwgan.data.dataset import GzslDataset
from cwgan.files import written_whole
from cwgan.gan.shapes import AllFeatures
from cwgan.scoring.calibration import SeenUnseenCurve
from cwgan.scoring.comparison import Spread
from cwgan.scoring.selection import Choice, History

# From Okabe and Ito's colours, which people of every colour vision can tell apart.
SEEN, UNSEEN, GREEN, PINK, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
GREY = "#777777"
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
}
styled = plt.style.context(["default", STYLE])
"""Every function that draws is wrapped in it, as Optuna's pictures change the style of whatever follows."""

MARKS = {"S": ("o", SEEN), "U": ("s", UNSEEN), "H": ("D", "black"), "T1": ("^", GREEN), "AUSUC": ("v", PINK)}
PANELS = {
    "monitor: loss": {"monitor/loss": "training", "monitor/val_loss": "held out"},
    "monitor: accuracy": {"monitor/accuracy": "training", "monitor/val_accuracy": "held out"},
    "regressor: loss": {"regressor/loss": "training", "regressor/val_loss": "held out"},
    "validation scores": {f"val_{name}": name for name in MARKS},
    "the same, bias 0": {f"val_raw_{name}": name for name in ("S", "U", "H")},
    "leaks": {"val_leak_seen_to_unseen": "seen to unseen", "val_leak_unseen_to_seen": "unseen to seen"},
    "gan: generator": {
        "gan/generator": "all terms",
        "gan/adversarial": "adversarial",
        "gan/val_generator": "all terms, held out",
    },
    "gan: cycle error": {"gan/cycle_error_seen": "seen", "gan/cycle_error_unseen": "unseen"},
}
"""Curves of a training that share a panel, with their labels there; every other curve has its own."""

Curves = Mapping[str, Sequence[tuple[int, float]]]


@styled
def draw_curves(path: Path, curves: Curves, references: Mapping[str, tuple[float, str]]) -> Figure:
    """Draw the terms of a training over its epochs; a reference is a level and what it means, by term."""
    shared = {name for names in PANELS.values() for name in names}
    panels = {
        title: {name: names[name] for name in names if name in curves} for title, names in PANELS.items()
    }
    for name in curves:
        if name not in shared and not name.startswith("gan/val_"):
            held = name.replace("gan/", "gan/val_")
            labels = {name: ""} | ({held: "held out"} if held in curves and held != name else {})
            panels[name.replace("/", ": ").replace("_", " ")] = labels
    panels = {title: names for title, names in panels.items() if names}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width, height = 2.3 * columns, 1.75 * rows + 0.15
    figure = Figure(figsize=(width, height))
    # In inches. A constrained layout looks the same, and takes as long as a short training.
    figure.subplots_adjust(0.5 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height, 0.27, 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    for panel, (title, names) in zip(axes, panels.items(), strict=False):
        for (name, label), colour in zip(names.items(), (SEEN, UNSEEN, "black", GREEN, PINK), strict=False):
            line = {"color": colour, "linewidth": 1.3, "marker": "." if len(curves[name]) < 8 else None}
            panel.plot(*zip(*curves[name], strict=True), label=label, **line)
        for level, meaning in (references[name] for name in names if name in references):
            panel.axhline(level, color=GREY, linewidth=1, linestyle="--", label=meaning)
        panel.set_title(title, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.xaxis.get_major_locator().set_params(integer=True)
        if any(panel.get_legend_handles_labels()[1]):
            panel.legend(fontsize=7.5, handlelength=1.5, borderpad=0.2, labelspacing=0.2)
    figure.supxlabel("epoch", fontsize=9, y=0.08 / height)
    return save(figure, path)


@styled
def draw_selection(path: Path, histories: Sequence[History], choice: Choice) -> Figure:
    """Draw scores on validation classes over generator steps: means, single divisions thinly, the choice."""
    figure = Figure(figsize=(4.6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, (mark, colour) in MARKS.items():
        curves = [dict(each.get(f"val_{name}", [])) for each in histories]
        steps = [epoch * choice.epoch_steps for epoch in curves[0]]
        for curve in curves:
            values = [100 * value for value in curve.values()]
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
        means = [100 * mean(curve[epoch] for curve in curves) for epoch in curves[0]]
        width = 2.2 if name == "H" else 1.3
        axes.plot(steps, means, color=colour, linewidth=width, marker=mark, markersize=4, label=name)
    chosen, height = choice.epoch * choice.epoch_steps, 100 * choice.scores["val_H"]
    axes.axvline(chosen, color=GREY, linewidth=1, linestyle="--", zorder=0)
    axes.plot(chosen, height, "o", color="black", markersize=12, fillstyle="none", markeredgewidth=1.5)
    what = f"{chosen} steps" if chosen else "no GAN"
    axes.set_title(f"validation classes choose {what}: H {height:.1f} %")
    thin = f"; thin: {len(histories)} divisions" if len(histories) > 1 else ""
    without = " (0: no GAN)" if 0 in steps else ""
    axes.set(xlabel=f"generator steps{without}{thin}", ylabel="score [%]")
    figure.legend(loc="outside right center", handlelength=1.5)
    return save(figure, path)


@styled
def draw_variants(path: Path, spreads: Mapping[str, Mapping[str, Spread]]) -> Figure:
    """Draw S, U, H, T1 and AUSUC of every variant as bars, with a standard deviation, if any, each way."""
    names = [name for name in MARKS if all(name in row for row in spreads.values())]
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    width, last = 0.84 / len(spreads), max(1, len(spreads) - 1)
    for place, (variant, row) in enumerate(spreads.items()):
        positions = [column + (place - (len(spreads) - 1) / 2) * width for column in range(len(names))]
        means = [100 * row[name].mean for name in names]
        deviations = [row[name].deviation for name in names]
        errors = [100 * each for each in deviations if each is not None] or None
        colour, lines = plt.get_cmap("viridis")(place / last * 0.9), {"linewidth": 0.9}
        axes.bar(positions, means, width, yerr=errors, capsize=2, color=colour, label=variant, error_kw=lines)
    axes.set(ylabel="test score [%]", xticks=range(len(names)), xticklabels=names)
    figure.legend(loc="outside upper center", ncols=3)
    return save(figure, path)


@styled
def draw_seen_unseen(path: Path, curve: SeenUnseenCurve, scores: Mapping[str, float]) -> Figure:
    """Draw S over U for every bias, over lines of equal H, with the chosen bias and a bias of 0 on it."""
    figure = Figure(figsize=(4, 3.9), layout="constrained")
    axes = figure.subplots()
    for level in (20, 40, 60, 80):
        right = np.linspace(level / 2 + 0.1, 100, 200)
        axes.plot(right, level * right / (2 * right - level), color="0.85", linewidth=0.8)
        axes.text(level, level, f"H {level}", color="0.6", fontsize=7, ha="center", va="center")
    unseen, seen = (100 * curve.unseen).tolist(), (100 * curve.seen).tolist()
    axes.plot(unseen, seen, color=SEEN, linewidth=2)
    axes.fill_between(unseen, seen, color=SEEN, alpha=0.12, linewidth=0)
    points = {"": ("D", UNSEEN, f"bias {scores['gamma']:.2f}")}
    if scores["gamma"]:
        points["raw_"] = ("o", "white", "bias 0")
    for prefix, (mark, fill, label) in points.items():
        shown = f"{label}: H {100 * scores[f'{prefix}H']:.1f} %"
        place = 100 * scores[f"{prefix}U"], 100 * scores[f"{prefix}S"]
        axes.plot(*place, mark, color=UNSEEN, markerfacecolor=fill, markersize=8, label=shown)
    axes.set(xlabel="U [%]: unseen classes", ylabel="S [%]: seen classes", xlim=(0, 100), ylim=(0, 101))
    axes.set_title(f"AUSUC {100 * scores['AUSUC']:.1f} %, H {100 * scores['H']:.1f} %")
    axes.legend(loc="lower left")
    return save(figure, path)


@styled
def draw_imagined(path: Path, rows: AllFeatures, dataset: GzslDataset, height: int, width: int) -> Figure:
    """Draw rows of unseen classes, as many of each, below a real test row if any; a row holds two images."""
    classes, labels = dataset.unseen_classes.tolist(), dataset.labels[dataset.test_unseen]
    samples, across = len(rows) // len(classes), 10
    blocks = -(-len(classes) // across)
    figure = Figure(figsize=(0.56 * across + 0.8, blocks * (0.38 * (samples + 1) + 0.3) + 0.35))
    figure.subplots_adjust(0.13, 0.02, 0.99, 1 - 0.55 / figure.get_figheight(), hspace=0.16)
    for place, axes in enumerate(figure.subplots(blocks, squeeze=False).flat):
        shown = classes[place * across :][:across]
        for column, label in enumerate(shown):
            made = rows[(place * across + column) * samples :][:samples]
            real = dataset.features[dataset.test_unseen[labels == label][:1]]
            pixels_of = dataset.in_file_units(torch.cat([real, made]))
            for row, pixels in enumerate(pixels_of, start=1 - len(real)):  # an added class has no real row
                image = torch.cat([*pixels.reshape(2, height, width)], dim=1).numpy()
                left, top, side = column + 0.06, row + 0.06, 0.88
                extent = (left, left + side, top + side, top)
                axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, aspect="auto", extent=extent)
                colour, line = (GREY, 1.2) if row == 0 else (UNSEEN, 0.6)
                axes.add_patch(Rectangle((left, top), side, side, fill=False, color=colour, linewidth=line))
        axes.set(xlim=(0, across), ylim=(samples + 1, 0))
        names = [dataset.class_names[label] for label in shown]
        axes.set_xticks([column + 0.5 for column in range(len(shown))], names, color=GREY)
        axes.set_yticks([0.5, 1.5], ["real", "imagined"])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        for text, colour in zip(axes.get_yticklabels(), (GREY, UNSEEN), strict=True):
            text.set_color(colour)
        axes.spines[:].set_visible(False)
    figure.suptitle("numbers the GAN never saw, imagined from tens and units", fontsize=10)
    return save(figure, path)


def save(figure: Figure, path: Path) -> Figure:
    """Write a picture, and close and return it."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", facecolor="white")
    plt.close(figure)
    return figure
