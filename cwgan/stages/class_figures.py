"""Pictures that show classes: which are lost, which are taken for which, and where their rows lie."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cwgan.data.dataset import GzslDataset
from cwgan.scoring.confusion import ConfusedPair, share_answers
from cwgan.scoring.diagnostics import project
from cwgan.scoring.evaluation import Evaluation
from cwgan.stages.classify import MapRows
from cwgan.stages.figures import GREEN, GREY, MARKS, ORANGE, PINK, SEEN, SKY, UNSEEN, save, styled
from cwgan.stages.results import ClassRow

NAMED = 15  # classes or pairs of a picture that are named
NAME_LENGTH = 22
MOST_CLASSES = 1000  # of a confusion map: with more, no cell could be seen
RUN_COLOURS = ("black", GREEN, PINK, ORANGE, SKY)
CLASS_COLOURS = (SEEN, UNSEEN, GREEN, PINK, ORANGE, SKY)
KINDS = {"seen": SEEN, "unseen": UNSEEN}


class Difference(NamedTuple):
    """By how many points of accuracy a class, "seen" or "unseen", is better than in another run."""

    name: str
    kind: str
    points: float


@styled
def draw_classes(path: Path, rows: Sequence[ClassRow], title: str) -> Figure:
    """Draw the accuracy of every class, best first, seen and unseen apart, and name the worst ones."""
    worst = sorted(rows, key=lambda row: row.shown)[:NAMED]
    lower = 0.18 * len(worst) + 0.1
    figure = Figure(figsize=(4.6, 2.4 + lower), layout="constrained")
    above, below = figure.subplots(2, height_ratios=[1.5, lower])
    start = 0
    for kind, colour in KINDS.items():
        values = sorted((100 * row.shown for row in rows if row.kind == kind), reverse=True)
        if values:
            stop, mean = start + len(values), sum(values) / len(values)
            label = f"{len(values)} {kind}, mean {mean:.1f} %"
            above.bar(range(start, stop), values, width=1, color=colour, label=label)
            above.hlines(mean, start - 0.5, stop - 0.5, color="black", linewidth=1.2, linestyle="--")
            start = stop + 1 + len(rows) // 50
    above.set(ylabel="accuracy [%]", ylim=(0, 100), xlim=(-1, start), xticks=[], title=title)
    above.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.02))
    values, colours = [100 * row.shown for row in worst], [KINDS[row.kind] for row in worst]
    notes = [f"{round(row.shown * row.rows)} of {row.rows}" for row in worst]
    _draw_bars(below, [shorten(row.name) for row in worst], values, colours, notes)
    below.set(xlabel="accuracy [%]", title=f"the worst {len(worst)} of {len(rows)} classes")
    return save(figure, path)


@styled
def draw_confused_pairs(path: Path, pairs: Sequence[ConfusedPair], dataset: GzslDataset) -> Figure:
    """Draw the most confused pairs of classes as bars, in the colours of the true class's side."""
    pairs, names, seen = pairs[:NAMED], dataset.class_names, {*dataset.seen_classes.tolist()}
    figure = Figure(figsize=(4.6, 1 + 0.2 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    sides = [["unseen", "seen"][pair.label in seen] for pair in pairs]
    labels = [f"{shorten(names[pair.label])} → {shorten(names[pair.answer])}" for pair in pairs]
    notes = [f"{pair.rows} of {round(pair.rows / pair.share)}" for pair in pairs]
    _draw_bars(axes, labels, [100 * pair.share for pair in pairs], [KINDS[side] for side in sides], notes)
    axes.set(xlabel="share of the class's test rows [%]", title="most confused: class → answer")
    _explain_colours(axes, {*sides})
    return save(figure, path)


@styled
def draw_confusion(path: Path, result: Evaluation, dataset: GzslDataset) -> Figure:
    """Draw the share of each class's test rows that were answered as each class, seen classes first."""
    everything, tested = torch.cat([dataset.seen_classes, dataset.unseen_classes]), result.labels.unique()
    classes = everything[torch.isin(everything, tested)]
    shares = share_answers(result.labels, result.predictions, dataset.class_count)
    shown = 100 * shares[classes][:, everything]
    figure = Figure(figsize=(4.6, 4), layout="constrained")
    axes = figure.subplots()
    scale = PowerNorm(0.5, 0, 100)  # so that a few rows in a hundred can be seen
    image = axes.imshow(shown.numpy(), cmap="Blues", norm=scale, aspect="auto", interpolation="nearest")
    label = "share of the class's test rows [%]"
    figure.colorbar(image, label=label, ticks=[0, 5, 20, 50, 100], pad=0.02, aspect=30)
    rows, columns = (torch.isin(each, dataset.unseen_classes) for each in (classes, everything))
    strays = {"seen as unseen": shown[~rows][:, columns], "unseen as seen": shown[rows][:, ~columns]}
    leaks = [f"{name} {block.sum(1).mean():.1f} %" for name, block in strays.items() if len(block)]
    axes.set(xlabel="answer", ylabel="class", title=", ".join(leaks))
    for axis, draw_line, is_unseen in ((axes.yaxis, axes.axhline, rows), (axes.xaxis, axes.axvline, columns)):
        total, seen = len(is_unseen), int((~is_unseen).sum())
        middles = [(seen - 1) / 2, (seen + total - 1) / 2]
        axis.set_ticks(middles, [f"{seen} seen", f"{total - seen} unseen"])
        draw_line(seen - 0.5, color="black", linewidth=0.8)
    return save(figure, path)


@styled
def draw_map(path: Path, rows: Sequence[MapRows], method: str) -> Figure:
    """Draw real and synthetic rows of a few classes on a plane; see `cwgan.scoring.diagnostics.project`."""
    real, made = (torch.cat(parts) for parts in zip(*((each.real, each.made) for each in rows), strict=True))
    points, others, kept = project(real, made, method)
    figure = Figure(figsize=(4.6, 4.3), layout="constrained")
    axes = figure.subplots()
    starts = [0, 0]
    for each, colour in zip(rows, CLASS_COLOURS, strict=False):
        counts = len(each.real), len(each.made)
        ours, theirs = points[starts[0] :][: counts[0]], others[starts[1] :][: counts[1]]
        starts = [start + count for start, count in zip(starts, counts, strict=True)]
        axes.scatter(theirs[:, 0], theirs[:, 1], s=16, marker="x", color=colour, linewidth=0.8, alpha=0.7)
        axes.scatter(ours[:, 0], ours[:, 1], s=18, color=colour, edgecolor="white", linewidth=0.4)
        box = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.5, "pad": 1.5, "alpha": 0.9}
        x, y = ours.mean(0).tolist()
        axes.text(x, y, shorten(each.name), ha="center", va="center", bbox=box)
    marks = {"real test rows": "o", "synthetic rows": "x"}
    handles = [Line2D([], [], color=GREY, marker=marks[name], linestyle="", label=name) for name in marks]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    how = "t-SNE" if kept is None else f"PCA of the real rows, {100 * kept:.0f} % of their variance"
    axes.set(xticks=[], yticks=[], title=f"{len(rows)} unseen classes: {how}")
    return save(figure, path)


@styled
def draw_comparison(
    path: Path, scores: Mapping[str, Mapping[str, float]], differences: Mapping[str, Sequence[Difference]]
) -> Figure:
    """Draw the scores of runs by title, and of all but the first the classes that differ most from it."""
    names = [name for name in MARKS if any(name in each for each in scores.values())]
    named = {title: _find_extremes(found) for title, found in differences.items()}
    heights = [1.7, *(0.45 + 0.18 * max(1, len(found)) for found in named.values())]
    figure = Figure(figsize=(4.8, sum(heights) + 0.6), layout="constrained")
    above, *panels = figure.subplots(1 + len(named), height_ratios=heights)
    for place, (title, each) in enumerate(scores.items()):
        colour, mark = RUN_COLOURS[place % len(RUN_COLOURS)], "osD^v"[place % 5]
        values = [100 * each[name] if name in each else float("nan") for name in names]
        above.plot(names, values, mark, color=colour, markersize=7, alpha=0.8, label=title)
    above.set(ylabel="score [%]", xlim=(-0.5, len(names) - 0.5))
    above.grid(axis="y", color="0.9")
    figure.legend(loc="outside upper left")
    for panel, (title, found) in zip(panels, named.items(), strict=True):
        colours, notes = [KINDS[each.kind] for each in found], [f"{each.points:+.0f}" for each in found]
        _draw_bars(
            panel, [shorten(each.name) for each in found], [each.points for each in found], colours, notes
        )
        reach = 1.25 * max((abs(each.points) for each in found), default=1)
        panel.set(xlim=(-reach, reach), xlabel="points of accuracy")
        _explain_colours(panel, {each.kind for each in found})
        panel.set_title(f"{title.split()[0]} against A, {len(found)} of {len(differences[title])} classes")
        panel.axvline(0, color="black", linewidth=0.8)
    return save(figure, path)


def _find_extremes(found: Sequence[Difference]) -> list[Difference]:
    """Return the classes that differ most, the one that gained most first."""
    most = sorted((each for each in found if each.points), key=lambda each: -abs(each.points))[:NAMED]
    return sorted(most, key=lambda each: -each.points)


def shorten(name: str) -> str:
    """Return a class name that fits beside a bar."""
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _draw_bars(
    axes: Axes, names: Sequence[str], values: Sequence[float], colours: Sequence[str], notes: Sequence[str]
) -> None:
    """Draw named bars from the top down, values in percent, with a note at the end of each."""
    places = range(len(values))
    axes.barh(places, values, height=0.8, color=colours)
    for place, value, note in zip(places, values, notes, strict=True):
        side = "left" if value >= 0 else "right"
        axes.text(value, place, f" {note} ", fontsize=8, ha=side, va="center")
    axes.set_yticks(places, names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(max(1, len(values)) - 0.5, -0.5), xlim=(0, min(125, 1.3 * max(values, default=1) + 5)))


def _explain_colours(axes: Axes, kinds: Set[str]) -> None:
    handles = [Patch(color=KINDS[kind], label=f"{kind} class") for kind in KINDS if kind in kinds]
    axes.legend(handles=handles, loc="lower right")
