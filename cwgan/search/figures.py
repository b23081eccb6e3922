"""Pictures of a search: how it went, and what its parameters are worth."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.tri import Triangulation

from cwgan.search.space import Choices, Range, Space
from cwgan.search.trials import Trial, in_state
from cwgan.stages.figures import GREY, SEEN, UNSEEN, save


def search_history(path: Path, trials: Sequence[Trial], objective: str) -> None:
    """Draw the objective of every trial in turn, and the best so far."""
    figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for state, colour, mark in (("COMPLETE", SEEN, "o"), ("PRUNED", GREY, "x")):
        found = in_state(trials, state)
        heights = [100 * (trial.value or 0) for trial in found]
        axes.scatter(
            [trial.number for trial in found], heights, s=28, color=colour, marker=mark, label=state.lower()
        )
    complete = in_state(trials, "COMPLETE")
    best = list(accumulate((100 * (trial.value or 0) for trial in complete), max))
    axes.step(
        [trial.number for trial in complete],
        best,
        color=UNSEEN,
        linewidth=1.3,
        where="post",
        label="best so far",
    )
    axes.set(xlabel="trial", ylabel=f"{objective} on validation classes [%]")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)
    save(figure, axes, path)


def search_importances(path: Path, shares: Mapping[str, float], objective: str) -> None:
    """Draw how much of what moves the objective each parameter accounts for."""
    figure, axes = plt.subplots(figsize=(6.5, 0.9 + 0.45 * len(shares)), layout="constrained")
    bars = axes.barh(list(shares), [100 * share for share in shares.values()], color=SEEN)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel=f"share of what moves {objective} [%]", xlim=(0, 112))
    save(figure, axes, path)


def search_slices(path: Path, trials: Sequence[Trial], space: Space, objective: str) -> None:
    """Draw the objective over each parameter, one panel a parameter; later trials are darker, pruned ones are crosses."""
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.9 * rows), layout="constrained", squeeze=False, sharey=True
    )
    for panel in panels.flat[len(space) :]:
        panel.set_axis_off()
    for panel, (name, entry) in zip(panels.flat, space.items(), strict=False):
        for state, style in (
            ("PRUNED", {"color": GREY, "marker": "x"}),
            ("COMPLETE", {"cmap": "Blues", "edgecolors": GREY}),
        ):
            found = in_state(trials, state)
            values = [
                str(trial.point[name]) if isinstance(entry, Choices) else trial.point[name] for trial in found
            ]
            shade = (
                {"c": [trial.number for trial in found], "vmin": -len(trials) / 2}
                if state == "COMPLETE"
                else {}
            )
            panel.scatter(
                values, [100 * (trial.value or 0) for trial in found], s=30, linewidths=0.8, **style, **shade
            )
        if isinstance(entry, Range):
            _span(panel, "x", entry)
        panel.set_xlabel(name, fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supylabel(f"{objective} on validation classes [%]", fontsize=9)
    save(figure, None, path)


def search_surface(
    path: Path, trials: Sequence[Trial], space: Space, names: tuple[str, str], objective: str
) -> None:
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
        even = [
            [math.log(value) if entry.log else value for value in side]
            for side, entry in zip((across, up), ranges, strict=True)
        ]
        surface = Triangulation(across, up, Triangulation(*even).triangles)
        axes.tricontourf(surface, heights, levels=12, cmap="viridis", alpha=0.6)
    dots = axes.scatter(across, up, s=45, c=heights, cmap="viridis", edgecolors="black", linewidths=0.6)
    beside, above = ([float(trial.point[name]) for trial in pruned] for name in names)
    axes.scatter(beside, above, s=25, color=GREY, marker="x", label="pruned")
    best = heights.index(max(heights))
    label = f"best: {heights[best]:.1f} %"
    axes.scatter(
        across[best],
        up[best],
        s=190,
        marker="*",
        color=UNSEEN,
        edgecolors="black",
        linewidths=0.8,
        label=label,
    )
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.legend(frameon=True, fontsize=9)
    figure.colorbar(dots, label=f"{objective} on validation classes [%]")
    save(figure, axes, path)


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
