"""What the pictures say: read off the drawn figures, not off their pixels."""

import math
from pathlib import Path

import pytest
import torch
from make_data import CLASS_NAMES, tiny_dataset
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from cwgan.scoring.calibration import SeenUnseenCurve
from cwgan.scoring.confusion import ConfusedPair
from cwgan.scoring.diagnostics import project
from cwgan.scoring.evaluation import Evaluation
from cwgan.scoring.selection import choose
from cwgan.stages.class_figures import (
    Difference,
    draw_classes,
    draw_comparison,
    draw_confused_pairs,
    draw_confusion,
    draw_map,
)
from cwgan.stages.classify import MapRows
from cwgan.stages.figures import draw_curves, draw_seen_unseen, draw_selection
from cwgan.stages.results import ClassRow
from cwgan.stages.train import list_references


def names_of(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title() == title)


def test_the_worst_fifteen_classes_are_named_worst_first(tmp_path: Path) -> None:
    rows = [ClassRow(f"class {place}", "seen", 10, place / 20, None) for place in range(20)]
    rows += [
        ClassRow("far", "unseen", 10, 0.01, 0.5),
        ClassRow("a name that is far too long", "unseen", 4, 0.0, 1.0),
    ]
    above, below = draw_classes(tmp_path / "classes.png", rows, "tiny").axes
    named = ["class 0", "a name that is far to…", "far", *(f"class {place}" for place in range(1, 13))]
    assert names_of(below) == named
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        "20 seen, mean 47.5 %",
        "2 unseen, mean 0.5 %",
    ]
    assert (tmp_path / "classes.png").read_bytes()[1:4] == b"PNG"


def test_confused_pairs_are_named_with_their_rows(tmp_path: Path) -> None:
    pairs = [ConfusedPair(4, 0, 3, 0.6), ConfusedPair(1, 2, 1, 0.5)]
    (axes,) = draw_confused_pairs(tmp_path / "pairs.png", pairs, tiny_dataset()).axes
    assert names_of(axes) == ["elk → ant", "bee → cat"]
    assert [text.get_text().strip() for text in axes.texts] == ["3 of 5", "1 of 2"]


def test_a_confusion_map_says_how_much_each_side_loses_to_the_other(tmp_path: Path) -> None:
    labels, answers = torch.tensor([0, 0, 1, 3, 4, 4]), torch.tensor([0, 5, 1, 3, 0, 1])
    nothing = torch.empty(0, dtype=torch.float64)
    result = Evaluation({}, nothing, nothing, nothing, labels, labels, answers, answers)
    axes = draw_confusion(tmp_path / "confusion.png", result, tiny_dataset()).axes[0]
    assert axes.get_title() == "seen as unseen 16.7 %, unseen as seen 100.0 %"
    assert names_of(axes) == ["3 seen", "1 unseen"]
    assert axes.images[0].get_array().shape == (4, len(CLASS_NAMES))


def test_a_map_names_its_classes_where_their_real_rows_lie(tmp_path: Path, rng: torch.Generator) -> None:
    rows = [
        MapRows(name, torch.randn(9, 4, generator=rng) + shift, torch.randn(5, 4, generator=rng))
        for name, shift in (("elk", 50), ("fox", -50))
    ]
    (axes,) = draw_map(tmp_path / "map.png", rows, "pca").axes
    for text, points in zip(axes.texts, axes.collections[1::2], strict=True):
        assert text.get_position() == pytest.approx(points.get_offsets().mean(axis=0), rel=1e-4)
    assert [text.get_text() for text in axes.texts] == ["elk", "fox"]


def test_the_plane_is_that_of_the_principal_components_of_the_real_rows(rng: torch.Generator) -> None:
    real, made = torch.randn(30, 6, generator=rng) * torch.arange(1, 7), torch.randn(9, 6, generator=rng)
    points, others, kept = project(real, made, "pca")
    fitted = PCA(2).fit(real.numpy())
    assert kept == pytest.approx(fitted.explained_variance_ratio_.sum(), rel=1e-4)
    for found, rows in ((points, real), (others, made)):
        assert found.abs().numpy() == pytest.approx(abs(fitted.transform(rows.numpy())), abs=1e-3)
    laid, beside, none = project(real, made, "tsne")
    assert (laid.shape, beside.shape, none) == ((30, 2), (9, 2), None)


def test_the_choice_is_marked_on_the_mean_over_the_divisions(tmp_path: Path) -> None:
    names = ("val_S", "val_U", "val_H", "val_T1", "val_AUSUC", "val_gamma")
    histories = [{name: [(0, low), (2, 0.5), (4, 0.4)] for name in names} for low in (0.1, 0.3)]
    (axes,) = draw_selection(tmp_path / "selection.png", histories, choose(histories, 25)).axes
    assert axes.get_title() == "validation classes choose 50 steps: H 50.0 %"
    mean = next(line for line in axes.lines if line.get_label() == "H")
    assert list(mean.get_xdata()) == [0, 50, 100]
    assert mean.get_ydata() == pytest.approx([20, 50, 40])


def test_training_curves_have_lines_to_compare_them_with(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    names = ["monitor/loss", "monitor/val_loss", "monitor/val_accuracy"]
    names += ["gan/monitor_accuracy", "gan/wasserstein"]
    curves = {name: [(1, 0.25), (2, 0.75)] for name in names}
    figure = draw_curves(tmp_path / "curves.png", curves, list_references(dataset, curves, "squared"))
    titles = ["monitor: loss", "monitor: accuracy", "gan: monitor accuracy", "gan: wasserstein"]
    assert [axes.get_title() for axes in figure.axes if axes.axison] == titles
    assert [line.get_label() for line in panel(figure, titles[0]).lines] == ["training", "held out", "chance"]
    for title, level in zip(titles, (math.log(4), None, 0.75, 0), strict=True):
        ends = panel(figure, title).lines[-1].get_ydata()
        assert list(ends) == ([0.25, 0.75] if level is None else [level, level])


def test_the_chosen_bias_is_marked_on_the_seen_unseen_curve(tmp_path: Path) -> None:
    points = torch.tensor([0.0, 0.5, 1.0]).double()
    curve = SeenUnseenCurve(points, points.flip(0), points)
    scores = {"S": 0.5, "U": 0.5, "H": 0.5, "gamma": 0.25, "AUSUC": 0.5}
    scores |= {"raw_S": 1.0, "raw_U": 0.0, "raw_H": 0.0}
    (axes,) = draw_seen_unseen(tmp_path / "curve.png", curve, scores).axes
    assert axes.get_title() == "AUSUC 50.0 %, H 50.0 %"
    marked = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert marked["bias 0.25: H 50.0 %"] == [[50, 50]]
    assert marked["bias 0: H 0.0 %"] == [[0, 100]]


def test_a_comparison_names_the_classes_that_differ_most(tmp_path: Path) -> None:
    found = [Difference(f"class {place}", "seen", place - 10.5) for place in range(20)]
    scores = {"A one": {"S": 0.5, "H": 0.4}, "B two": {"S": 0.6}}
    differences = {"B two": [*found, Difference("same", "unseen", 0.0), Difference("far", "unseen", 90.0)]}
    above, below = draw_comparison(tmp_path / "comparison.png", scores, differences).axes
    assert names_of(below) == [
        "far",
        *(f"class {place}" for place in (*range(19, 13, -1), *range(7, -1, -1))),
    ]
    assert [line.get_label() for line in above.lines] == ["A one", "B two"]
